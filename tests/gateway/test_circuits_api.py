"""Circuits over REST: the state that all processes share, and what is told when it cannot be read."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client as Browser

from accounts.models import AuditEvent, Tenant
from gateway.circuit import Result
from gateway.circuit_store import CircuitBoard, Permit
from gateway.models import CircuitEvent, Provider
from nexus.ids import uuid7
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key

pytestmark = pytest.mark.django_db


def make_provider(tenant: Tenant, name: str, **fields: Any) -> Provider:
    provider: Provider = Provider.objects.create(
        tenant=tenant, name=name, family="openai", base_url="https://llm.example.com/v1", **fields
    )
    return provider


def make_event(provider: Provider, before: str, after: str, *, at: datetime) -> None:
    CircuitEvent.objects.create(
        id=uuid7(),
        tenant=provider.tenant,
        provider_id=provider.id,
        created_at=at,
        from_state=before,
        to_state=after,
        reason=f"to {after}",
    )


def fail(redis_url: str, provider: Provider, times: int) -> None:
    """Report failures as a runtime process does."""

    async def report() -> None:
        board = CircuitBoard(redis_url)
        await board.start()
        for _ in range(times):
            permit = await board.acquire(provider.id, lease_seconds=5)
            assert isinstance(permit, Permit)
            await board.report(provider.id, permit, Result.FAILURE, "503")
        await board.stop()

    asyncio.run(report())


def test_a_circuit_is_told_with_all_its_facts(ada: Person, acme: Tenant, settings: Any) -> None:
    failing, healthy = make_provider(acme, "a failing one"), make_provider(acme, "b healthy one")
    fail(settings.REDIS_URL, failing, 5)

    answer = ada.browser.get("/v1/circuits").json()

    assert answer["backend"] == "redis"
    assert answer["next_cursor"] is None
    first, second = answer["data"]
    opened = datetime.fromisoformat(first["opened_at"])
    assert abs(datetime.now(UTC) - opened) < timedelta(seconds=30)
    assert first == {
        "provider_id": str(failing.id),
        "name": "a failing one",
        "family": "openai",
        "state": "open",
        "consecutive_failures": 5,
        "opened_at": first["opened_at"],
        "half_open_at": (opened + timedelta(seconds=30)).isoformat().replace("+00:00", "Z"),
        "last_transition": {
            "at": first["opened_at"],
            "from": "closed",
            "to": "open",
            "reason": "5 consecutive failures, the last: 503",
        },
    }
    assert second == {
        "provider_id": str(healthy.id),
        "name": "b healthy one",
        "family": "openai",
        "state": "closed",
        "consecutive_failures": 0,
        "opened_at": None,
        "half_open_at": None,
        "last_transition": None,
    }


def test_failures_are_counted_before_anything_opens(ada: Person, acme: Tenant, settings: Any) -> None:
    fail(settings.REDIS_URL, make_provider(acme, "shaky"), 3)

    circuit = ada.browser.get("/v1/circuits").json()["data"][0]

    assert (circuit["state"], circuit["consecutive_failures"], circuit["last_transition"]) == ("closed", 3, None)


def test_a_transition_that_redis_has_forgotten_is_told_from_its_event(ada: Person, acme: Tenant) -> None:
    provider = make_provider(acme, "recovered")
    now = datetime.now(UTC).replace(microsecond=0)
    make_event(provider, "closed", "open", at=now - timedelta(minutes=9))
    make_event(provider, "half_open", "closed", at=now - timedelta(minutes=8))

    circuit = ada.browser.get("/v1/circuits").json()["data"][0]

    assert circuit["state"] == "closed"
    assert circuit["last_transition"]["at"] == (now - timedelta(minutes=8)).isoformat().replace("+00:00", "Z")


def test_without_redis_the_last_event_is_told_and_marked(ada: Person, acme: Tenant, settings: Any) -> None:
    quiet, tripped = make_provider(acme, "a quiet"), make_provider(acme, "b tripped")
    now = datetime.now(UTC)
    make_event(tripped, "half_open", "closed", at=now - timedelta(hours=1))
    make_event(tripped, "closed", "open", at=now)
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"

    answer = ada.browser.get("/v1/circuits")

    assert answer.status_code == 200
    assert answer.json()["backend"] == "local"
    assert [row["state"] for row in answer.json()["data"]] == ["closed", "open"]
    assert answer.json()["data"][1]["last_transition"]["reason"] == "to open"
    assert str(quiet.id) == answer.json()["data"][0]["provider_id"]


def test_every_role_sees_circuits_of_its_own_tenant_only(dev: Person, vera: Person, gus: Person, acme: Tenant) -> None:
    make_provider(acme, "ours")

    seen = [person.browser.get("/v1/circuits").json()["data"] for person in (dev, vera, gus)]

    assert [len(rows) for rows in seen] == [1, 1, 0]


def test_a_key_without_the_scope_is_refused(ada: Person) -> None:
    key = make_key(ada.tenant, ada.user, scopes=["providers:read"])

    response = Browser().get("/v1/circuits", headers={"authorization": f"Bearer {key}"})

    assert (response.status_code, response.json()["error"]["code"]) == (403, "SCOPE_REQUIRED")


def test_a_board_costs_the_same_for_one_and_for_ten(ada: Person, acme: Tenant, django_assert_num_queries: Any) -> None:
    make_provider(acme, "p0")
    with django_assert_num_queries(WALL + 5):  # session, user, membership; providers, latest events
        ada.browser.get("/v1/circuits")
    for number in range(1, 10):
        make_provider(acme, f"p{number}")
    with django_assert_num_queries(WALL + 5):
        assert len(ada.browser.get("/v1/circuits").json()["data"]) == 10


def force(person: Person, provider: Provider, state: str = "open", reason: str = "their status page") -> Any:
    body = {"state": state, "reason": reason}
    path = f"/v1/providers/{provider.id}/circuit"
    return person.browser.post(path, body, content_type="application/json")


def test_a_circuit_is_opened_and_closed_by_hand_with_a_reason_that_is_kept(ada: Person, acme: Tenant) -> None:
    provider = make_provider(acme, "one")

    opened = force(ada, provider)
    assert opened.status_code == 200
    assert opened.json() == ada.browser.get("/v1/circuits").json()["data"][0]
    assert (opened.json()["state"], opened.json()["last_transition"]["reason"]) == (
        "open",
        "opened by ada@acme.example: their status page",
    )
    assert force(ada, provider, "closed", "it is over").json()["state"] == "closed"
    rows = AuditEvent.objects.for_tenant(acme).order_by("created_at", "id").values_list("action", "changes")
    assert list(rows) == [
        ("provider.circuit_opened", {"reason": ["", "their status page"]}),
        ("provider.circuit_closed", {"reason": ["", "it is over"]}),
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"state": "half_open", "reason": "why not"}, "state"),
        ({"state": "open"}, "reason"),
        ({"state": "open", "reason": " "}, "reason"),
        ({"state": "open", "reason": "x" * 1000}, "reason"),
    ],
)
def test_a_circuit_is_not_changed_without_a_state_and_a_reason(
    ada: Person, acme: Tenant, body: dict[str, str], param: str
) -> None:
    provider = make_provider(acme, "one")
    answer = ada.browser.post(f"/v1/providers/{provider.id}/circuit", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert ada.browser.get("/v1/circuits").json()["data"][0]["state"] == "closed"
    assert not AuditEvent.objects.exists()


def test_a_circuit_is_changed_by_admins_of_its_tenant_alone(
    ada: Person, dev: Person, vera: Person, gus: Person, acme: Tenant
) -> None:
    provider = make_provider(acme, "one")
    assert [force(each, provider).status_code for each in (dev, vera, gus)] == [403, 403, 404]
    assert ada.browser.get("/v1/circuits").json()["data"][0]["state"] == "closed"


def test_without_redis_no_circuit_is_changed_and_nothing_is_written_down(
    ada: Person, acme: Tenant, settings: Any
) -> None:
    provider = make_provider(acme, "one")
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    answer = force(ada, provider)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "CIRCUITS_UNAVAILABLE")
    assert not AuditEvent.objects.exists()
