"""The decision record: what the row tells of a request's routing is enough to come to the same routing again."""

import random
from typing import Any

import httpx
import msgspec
import pytest

from gateway.models import RequestLog
from gateway.providers.base import Failure, FailureKind
from gateway.records import Attempt, Decision
from gateway.routing import replayed
from tests.gateway.conftest import Client, Servers, in_force
from tests.upstream import Upstream

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
ENDED_BY_US = ("rejected", "deadline", "budget", "client_gone")


def replay(row: RequestLog) -> tuple[list[str], list[str], str]:
    """Return the way that the row tells, the way of a replay, and how it ended."""
    attempts = msgspec.convert(row.attempts, list[Attempt])
    decision = msgspec.convert(row.decision, Decision)
    fates = [(attempt.skipped, may_repeat(attempt)) for attempt in attempts]
    return [attempt.provider_id for attempt in attempts], replayed(decision, fates), decision.ended


def may_repeat(attempt: Attempt) -> bool:
    return attempt.kind is not None and Failure(FailureKind(attempt.kind), "").may_repeat


@pytest.mark.parametrize("strategy", ["priority", "weighted"])
def test_every_row_can_be_replayed(
    client: Client, upstream: Upstream, backup: Upstream, servers: Servers, strategy: str
) -> None:
    dice = random.Random(3)
    client.tenant.routing_strategy = strategy
    client.tenant.max_attempts = 5
    client.tenant.save()
    for n, server in enumerate((upstream, backup, upstream, backup)):
        client.add_provider(server, name=f"p{n}", weight=100 if n < 3 else 10)
    in_force(servers.door)
    faults = ["", "", "status=500", "status=429;retry_after=0", "status=401", "status=400", "badjson", "reset@0"]
    ids = []
    for _ in range(60):
        for server in (upstream, backup):
            server.script(*(dice.choice(faults) for _ in range(6)))
        answer = httpx.post(f"{servers.door.base_url}/v1/chat/completions", json=BODY, headers=client.headers)
        ids.append((answer.headers["x-request-id"], answer.status_code))
    lengths = set()
    for id_, status in ids:
        row = client.row(id_)
        way, again, ended = replay(row)
        lengths.add(len(way))
        if status == 200:
            assert ended == "answered"
            assert again[: len(way)] == way
        elif ended in ENDED_BY_US:
            assert again[: len(way)] == way
        else:
            assert again == way  # exhausted: the router has nobody left either
    assert len(lengths) > 2, "ways of one length only prove little"


def test_the_row_names_all_candidates_and_how_their_circuits_were_met(
    base_url: str, failing_over: Client, upstream: Upstream
) -> None:
    upstream.script("status=500")
    answer = httpx.post(f"{base_url}/v1/chat/completions", json=BODY, headers=failing_over.headers)
    row = failing_over.row(answer.headers["x-request-id"])
    decision = row.decision or {}
    assert [(c["provider"], c["weight"]) for c in decision["plan"]["candidates"]] == [
        ("openai", 100),
        ("openai_compatible", 10),
    ]
    assert [(a["fate"], a.get("kind")) for a in row.attempts] == [("500", "server_error"), ("200", None)]
    shown = httpx.get(f"{base_url}/v1/requests/{row.id}", headers=failing_over.headers).json()
    assert shown["decision"] == decision
