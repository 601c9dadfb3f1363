"""The configuration's revision rises with every change that the runtime must know of, in the order of the commits."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection, transaction

from accounts.models import ApiKey, ConfigChange, ConfigRevision, Membership, Tenant, User
from accounts.revisions import CHANNEL, announce
from nexus.redis_clients import sync_client
from tests.factories import make_key, make_member, make_tenant


def revision() -> int:
    return ConfigRevision.objects.get().revision


def changed_since(start: int) -> list[UUID]:
    return list(
        ConfigChange.objects.filter(revision__gt=start).order_by("revision").values_list("tenant_id", flat=True)
    )


def of(model: Any, tenant: Tenant) -> Any:
    return model.objects.filter(tenant=tenant)


CHANGES: dict[str, Callable[[Tenant], Any]] = {
    "settings": lambda tenant: Tenant.objects.filter(id=tenant.id).update(max_attempts=2),
    "a role": lambda tenant: of(Membership, tenant).update(created_at=datetime.now(UTC)),
    "a revocation": lambda tenant: of(ApiKey, tenant).update(revoked_at=datetime.now(UTC)),
    "an expiry": lambda tenant: of(ApiKey, tenant).update(expires_at=datetime.now(UTC)),
    "a grace": lambda tenant: of(ApiKey, tenant).update(previous_hash="0" * 64, previous_expires_at=datetime.now(UTC)),
    "scopes": lambda tenant: of(ApiKey, tenant).update(scopes=[]),
    "a quota": lambda tenant: of(ApiKey, tenant).update(monthly_request_quota=7),
    "a rate": lambda tenant: of(ApiKey, tenant).update(rpm=7),
    "a deleted key": lambda tenant: of(ApiKey, tenant).delete(),
    "a person switched off": lambda tenant: User.objects.filter(memberships__tenant=tenant).update(is_active=False),
    "a deleted tenant": lambda tenant: tenant.delete(),
}


@pytest.fixture
def furnished(tenant: Tenant) -> Tenant:
    make_key(tenant, make_member(tenant, f"ada@{tenant.slug}.example"))
    return tenant


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_raises_the_revision(furnished: Tenant, what: str) -> None:
    identifier, before = furnished.id, revision()
    CHANGES[what](furnished)
    assert revision() > before
    assert set(changed_since(before)) == {identifier}


def test_the_use_of_a_key_is_no_change(furnished: Tenant) -> None:
    before = revision()
    of(ApiKey, furnished).update(last_used_at=datetime.now(UTC))
    assert revision() == before


def test_a_change_taken_back_leaves_the_revision(furnished: Tenant) -> None:
    before = revision()
    with transaction.atomic():
        CHANGES["settings"](furnished)
        transaction.set_rollback(True)
    assert (revision(), changed_since(before)) == (before, [])


def test_an_open_transaction_holds_nobody_up_and_numbers_follow_the_commits(tenant: Tenant) -> None:
    late = tenant
    early = make_tenant(f"{tenant.slug}-b")
    before = revision()

    def change_early() -> None:
        try:
            CHANGES["settings"](early)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        CHANGES["settings"](late)  # begun first, committed last
        pool.submit(change_early).result(timeout=10)
        assert changed_since(before) == [early.id]
    assert changed_since(before) == [early.id, late.id]


def pushes(act: Callable[[], None]) -> int:
    """Return how many pushes arrive while `act` runs, the mark that ends the waiting not counted."""
    client = sync_client(settings.REDIS_URL)
    with client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]  # redis-py
        subscription.subscribe(CHANNEL)
        deadline, seen = time.monotonic() + 10, 0
        while client.pubsub_numsub(CHANNEL)[0][1] == 0:
            assert time.monotonic() < deadline
        act()
        client.publish(CHANNEL, b"end")
        while time.monotonic() < deadline:
            message = subscription.get_message(timeout=0.05)
            if message and message["data"] == b"end":
                return seen
            seen += bool(message)
    pytest.fail("The mark never came.")


def test_a_commit_is_pushed_and_a_rollback_is_not(committed: None) -> None:
    def commit() -> None:
        with transaction.atomic():
            announce()

    def roll_back() -> None:
        with transaction.atomic():
            announce()
            transaction.set_rollback(True)

    assert pushes(commit) == 1
    assert pushes(roll_back) == 0


def test_a_push_that_fails_is_told_and_fails_nobody(
    committed: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"
    with caplog.at_level(logging.WARNING, logger="accounts.revisions"), transaction.atomic():
        announce()
    assert "The push of a configuration change failed" in caplog.text
