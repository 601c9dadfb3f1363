"""Fixtures for what only shows between transactions."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import Tenant
from tests.factories import make_tenant


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let a test commit. Nothing is rolled back, and nothing can be: the audit log refuses TRUNCATE."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def tenant(committed: None) -> Tenant:
    """A tenant of the test's own, committed."""
    return make_tenant(f"t{secrets.token_hex(6)}")
