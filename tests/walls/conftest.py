"""Two tenants whose rows are committed, so that connections of any role can be held against them."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from accounts.models import Tenant
from nexus.database_roles import as_owner
from tests.database import Role, connect
from tests.factories import make_tenant

Connection = psycopg.Connection[Any]


@pytest.fixture
def tenant(committed: None) -> Iterator[Tenant]:
    made = make_tenant(f"t{secrets.token_hex(6)}")
    yield made
    remove(made)


@pytest.fixture
def stranger(committed: None) -> Iterator[Tenant]:
    made = make_tenant(f"s{secrets.token_hex(6)}")
    yield made
    remove(made)


def remove(tenant: Tenant) -> None:
    with as_owner():
        Tenant.objects.filter(id=tenant.id).delete()


class Roles(ExitStack):
    """Connections by role, closed with the test."""

    def __call__(self, role: Role) -> Connection:
        return self.enter_context(connect(role))


@pytest.fixture
def as_role(committed: None) -> Iterator[Roles]:
    with Roles() as roles:
        yield roles
