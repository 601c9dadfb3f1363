"""Claims in a real PostgreSQL: one holder at a time, and statements that may be made twice."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from accounts.models import Tenant
from gateway.claim_store import ClaimStore, Found, Place
from gateway.models import IdempotencyClaim
from gateway.plane import connection_parameters
from nexus.ids import uuid7_text
from tests.gateway.conftest import make_client

LEASE_SECONDS = 30


@pytest.fixture
def tenant(committed: None) -> Iterator[Tenant]:
    tenant = make_client().tenant
    yield tenant
    IdempotencyClaim.objects.for_tenant(tenant).delete()


@pytest.fixture
def first(tenant: Tenant) -> Place:
    return Place(uuid7_text(), str(tenant.id), str(uuid4()), key_hash="k" * 64, fingerprint="f" * 64)


def another(place: Place, fingerprint: str = "f" * 64) -> Place:
    """Return a later request's place under the same key."""
    return replace(place, id=uuid7_text(), fingerprint=fingerprint)


def play[Value](story: Callable[[ClaimStore], Awaitable[Value]]) -> Value:
    async def acted() -> Value:
        store = ClaimStore(connection_parameters(), lease_seconds=LEASE_SECONDS)
        try:
            return await story(store)
        finally:
            await store.close()

    return asyncio.run(acted())


def end_lease(place: Place) -> None:
    """Let the holder be one that died long ago."""
    claim = IdempotencyClaim.objects.get(id=place.id)
    claim.leased_until = claim.claimed_at
    claim.save(update_fields=["leased_until"])


def test_of_many_that_claim_at_once_one_has_it(first: Place) -> None:
    places = [another(first) for _ in range(50)]

    async def story(store: ClaimStore) -> list[Found | None]:
        return await asyncio.gather(*(store.claim(place) for place in places))

    found = play(story)
    (winner,) = (place for place, other in zip(places, found, strict=True) if other is None)
    assert {other.id for other in found if other is not None} == {UUID(winner.id)}


def test_a_claim_whose_answer_was_lost_is_had_by_asking_again(first: Place) -> None:
    """A connection that breaks after the statement and before its answer makes the store say it once more."""

    async def story(store: ClaimStore) -> tuple[Found | None, bool, bool]:
        await store.claim(first)
        return await store.claim(first), await store.keep(first, 200, b"x"), await store.keep(first, 200, b"x")

    assert play(story) == (None, True, True)


def test_a_lease_that_ended_goes_to_the_next_and_its_holder_hears_so(first: Place) -> None:
    second = another(first)

    async def taken(store: ClaimStore) -> Found | None:
        await store.claim(first)
        await asyncio.to_thread(end_lease, first)
        return await store.claim(second)

    async def late(store: ClaimStore) -> tuple[bool, bool, bool]:
        await store.release(first)
        return await store.renew(first), await store.keep(first, 200, b"late"), await store.keep(second, 200, b"x")

    assert play(taken) is None
    assert play(late) == (False, False, True)
    assert bytes(IdempotencyClaim.objects.get(id=second.id).answer_sealed or b"") == b"x"


def test_an_ended_lease_is_not_for_another_body(first: Place) -> None:
    async def story(store: ClaimStore) -> Found | None:
        await store.claim(first)
        await asyncio.to_thread(end_lease, first)
        return await store.claim(another(first, fingerprint="g" * 64))

    found = play(story)
    assert found is not None
    assert (found.id, found.fingerprint) == (UUID(first.id), first.fingerprint)


def test_what_was_answered_is_not_released(first: Place) -> None:
    async def story(store: ClaimStore) -> Found | None:
        await store.claim(first)
        await store.keep(first, 200, b"x")
        await store.release(first)
        return await store.claim(another(first))

    found = play(story)
    assert found is not None
    assert (found.status, found.sealed) == (200, b"x")
