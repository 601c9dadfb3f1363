"""The cast: acme with ada (admin), dev (developer), vera (viewer); globex with gus, without access to acme's things."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connections
from django.test import Client as Browser
from django.test.utils import setup_databases, teardown_databases

from accounts.models import Role, Tenant, User
from tests.factories import make_key, make_member, make_tenant


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """Make the test database whatever tests were chosen: those with server processes use it without pytest-django's
    mark."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
    yield
    with django_db_blocker.unblock():
        connections.close_all()  # the database belongs to the owner's connection, and goes when nobody is in it
        teardown_databases(made, verbosity=0)


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let a test commit. Nothing is rolled back, and nothing can be: the audit log refuses TRUNCATE."""
    with django_db_blocker.unblock():
        yield


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
