"""Fixtures for what only shows between transactions."""

import secrets

import pytest

from accounts.models import Tenant
from tests.factories import make_tenant


@pytest.fixture
def tenant(committed: None) -> Tenant:
    """A tenant of the test's own, committed."""
    return make_tenant(f"t{secrets.token_hex(6)}")
