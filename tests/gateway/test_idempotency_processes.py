"""Idempotency keys over processes that run side by side, die, and run for long."""

import json
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.outages import BODY
from tests.gateway.raw import connected, request
from tests.stack import Server, eventually, stop_together
from tests.upstream import Upstream

LEASE_SECONDS = 3
HASTE = {"NEXUS_IDEMPOTENCY_LEASE_SECONDS": str(LEASE_SECONDS), "NEXUS_IDEMPOTENCY_MAX_BYTES": "100000"}
COPIES = 20


def post(server: Server, client: Client, key: str, **more: object) -> httpx.Response:
    headers = {**client.headers, "idempotency-key": key}
    return httpx.post(f"{server.base_url}/v1/chat/completions", json={**BODY, **more}, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def hasty(servers: Servers) -> Iterator[list[Server]]:
    started = servers.stack.serve_together("all", "all", environment=HASTE)
    yield started
    stop_together(started)


@pytest.fixture
def pair(servers: Servers, routed: Client, hasty: list[Server]) -> list[Server]:
    """Two processes of our own server beside each other, with short leases."""
    for number, server in enumerate(hasty):
        if not server.running:  # the last test killed it
            hasty[number] = servers.stack.serve("all", environment=HASTE)
    in_force(*hasty)
    return hasty


@pytest.mark.parametrize("stream", [False, True])
def test_twenty_copies_over_two_processes_are_one_upstream_call(
    pair: list[Server], routed: Client, upstream: Upstream, stream: bool
) -> None:
    upstream.script("latency=500")
    key = secrets.token_hex(8)

    def until_answered(number: int) -> httpx.Response:
        def answered() -> httpx.Response | None:
            answer = post(pair[number % 2], routed, key, stream=stream)
            if answer.status_code == 409:
                assert answer.json()["error"]["code"] == "IDEMPOTENCY_IN_PROGRESS"
                return None
            return answer

        return eventually(answered, seconds=60, what="an answer")

    with ThreadPoolExecutor(COPIES) as pool:
        answers = list(pool.map(until_answered, range(COPIES)))
    assert upstream.stats()["requests"] == 1
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    routed.row(answers[0].headers["x-request-id"])
    assert [row.status for row in routed.rows() if row.status != 409] == [200]


def test_a_key_whose_process_was_killed_is_free_after_the_lease(
    pair: list[Server], routed: Client, upstream: Upstream
) -> None:
    upstream.script("hang")
    key, body = secrets.token_hex(8), json.dumps(BODY).encode()
    with connected(pair[0].base_url) as link:
        link.send(request(routed.key, body, f"idempotency-key: {key}"))
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        assert pair[0].stop(signal.SIGKILL) == -signal.SIGKILL
    headers = {**routed.headers, "idempotency-key": key, "content-type": "application/json"}

    def retry() -> httpx.Response:
        return httpx.post(f"{pair[1].base_url}/v1/chat/completions", content=body, headers=headers, timeout=30)

    assert retry().status_code == 409  # the lease still holds
    answer = eventually(lambda: a if (a := retry()).status_code != 409 else None, seconds=20, what="the retry")
    assert answer.status_code == 200
    assert "idempotency-replayed" not in answer.headers
    assert upstream.stats()["requests"] == 2
    assert retry().headers["idempotency-replayed"] == "true"
    assert upstream.stats()["requests"] == 2


@pytest.mark.parametrize(("stream", "fault"), [(False, "hang"), (True, "stall@3")])
def test_a_process_that_stops_frees_the_keys_of_what_it_cuts(
    servers: Servers, routed: Client, upstream: Upstream, stream: bool, fault: str
) -> None:
    """At once, not after the lease: it is alive to say so."""
    stopping = servers.stack.serve("all", environment={"NEXUS_DRAIN_SECONDS": "1"})
    in_force(stopping)
    upstream.script(fault)
    key = secrets.token_hex(8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, stopping, routed, key, stream=stream)
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        stopping.stop()
        told = first.result()
    assert told.status_code == (200 if stream else 503)
    assert ("STREAM_INTERRUPTED" if stream else "SERVICE_STOPPING") in told.text
    again = post(servers.door, routed, key, stream=stream)
    assert again.status_code == 200, again.text
    assert "idempotency-replayed" not in again.headers
    assert "error" not in again.text
    assert upstream.stats()["requests"] == 2


def test_a_request_that_runs_longer_than_its_lease_keeps_its_key(
    pair: list[Server], routed: Client, upstream: Upstream
) -> None:
    upstream.script(f"latency={(LEASE_SECONDS * 2 + 1) * 1000}")
    key = secrets.token_hex(8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, pair[0], routed, key)
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        twins = set()
        while not first.done():
            twins.add(post(pair[1], routed, key).status_code)
        assert first.result().status_code == 200
    assert 409 in twins
    assert twins <= {409, 200}
    assert upstream.stats()["requests"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_too_large_to_keep_is_not_asked_for_again(
    pair: list[Server], routed: Client, upstream: Upstream, stream: bool
) -> None:
    upstream.script("giant")
    key = secrets.token_hex(8)
    first = post(pair[0], routed, key, stream=stream)
    assert first.status_code == 200
    assert len(first.content) > 1_000_000
    second = post(pair[1], routed, key, stream=stream)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "IDEMPOTENCY_ANSWER_GONE")
    assert second.headers["x-should-retry"] == "false"
    assert second.json()["error"]["nexus"]["first_request_id"] == first.headers["x-request-id"]
    assert upstream.stats()["requests"] == 1
