"""The cast: acme with ada (admin), dev (developer) and vera (viewer); globex with gus, who has no access to acme's things."""

from dataclasses import dataclass

import pytest
from django.test import Client as Browser

from accounts.models import Role, Tenant, User
from tests.factories import make_key, make_member, make_tenant


@dataclass(frozen=True)
class Person:
    """A user, where they belong, and a browser in which they are signed in."""

    user: User
    tenant: Tenant
    browser: Browser

    @property
    def key(self) -> str:
        """A key with everything the person's role allows."""
        return make_key(self.tenant, self.user)


def _person(tenant: Tenant, name: str, role: str) -> Person:
    user = make_member(tenant, f"{name}@{tenant.slug}.example", role)
    browser = Browser()
    browser.force_login(user)
    return Person(user, tenant, browser)


@pytest.fixture
def acme(db: None) -> Tenant:
    return make_tenant("acme")


@pytest.fixture
def globex(db: None) -> Tenant:
    return make_tenant("globex")


@pytest.fixture
def ada(acme: Tenant) -> Person:
    return _person(acme, "ada", Role.ADMIN)


@pytest.fixture
def dev(acme: Tenant, ada: Person) -> Person:
    return _person(acme, "dev", Role.DEVELOPER)


@pytest.fixture
def vera(acme: Tenant, ada: Person) -> Person:
    return _person(acme, "vera", Role.VIEWER)


@pytest.fixture
def gus(globex: Tenant) -> Person:
    return _person(globex, "gus", Role.ADMIN)
