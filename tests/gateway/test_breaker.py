"""The circuit breaker as clients, providers and the log see it, over several processes."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from gateway.models import CircuitEvent
from tests.gateway.conftest import Client, Servers, in_force
from tests.stack import Server, eventually
from tests.upstream import Upstream

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def four(servers: Servers) -> Iterator[list[Server]]:
    """Four server processes besides the stack's own, on the same Redis."""
    with servers.stack.serving(*["all"] * 4) as started:
        yield started


@pytest.fixture
def known(client: Client, upstream: Upstream, backup: Upstream, servers: Servers, four: list[Server]) -> Client:
    client.tenant.max_attempts = 1  # one upstream call per request, so that the upstream's count is the breaker's
    client.tenant.save()
    client.add_provider(upstream, name="primary", weight=100)
    in_force(servers.door, *four)
    return client


def ask(url: str, client: Client) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=client.headers, timeout=30)


def ask_for(status: int, url: str, client: Client) -> httpx.Response | None:
    """Ask once; return the answer if it has the status."""
    answer = ask(url, client)
    return answer if answer.status_code == status else None


def test_five_failures_over_four_processes_open_it_for_all(
    known: Client, upstream: Upstream, four: list[Server]
) -> None:
    upstream.script("status=500", repeat=True)
    answers = [ask(four[n % 4].base_url, known) for n in range(5)]
    assert [answer.status_code for answer in answers] == [502] * 5
    for server in four:
        refused = eventually(
            partial(ask_for, 503, server.base_url, known), seconds=6, what="the open circuit in every process"
        )
        assert refused.json()["error"]["code"] == "NO_PROVIDER_AVAILABLE"
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["x-nexus-route"] == "openai=circuit_open"
    # A process that the push has yet to reach, within a millisecond or so, may send what came in meanwhile.
    seen = upstream.stats()["requests"]
    assert 5 <= seen <= 5 + 3
    assert {ask(four[n % 4].base_url, known).status_code for n in range(20)} == {503}
    assert upstream.stats()["requests"] == seen

    def event() -> CircuitEvent | None:
        return CircuitEvent.objects.for_tenant(known.tenant).first()

    opened = eventually(event, seconds=20, what="the transition in the log")
    assert (opened.from_state, opened.to_state) == ("closed", "open")
    assert "500" in opened.reason


def test_client_errors_never_open_it(known: Client, upstream: Upstream, four: list[Server]) -> None:
    for fault in ("status=400", "status=401", "status=404", "status=408", "status=422", "status=429;retry_after=60"):
        upstream.script(fault, repeat=True)
        for n in range(8):
            assert ask(four[n % 4].base_url, known).status_code != 503
    assert upstream.stats()["requests"] == 48


def test_a_client_error_between_failures_neither_counts_nor_resets(
    known: Client, upstream: Upstream, four: list[Server]
) -> None:
    upstream.script(*["status=500"] * 4, "status=400", "status=500")
    statuses = [ask(four[n % 4].base_url, known).status_code for n in range(6)]
    assert statuses == [502, 502, 502, 502, 400, 502]
    eventually(lambda: ask(four[0].base_url, known).status_code == 503, seconds=6, what="the open circuit")


def test_a_success_resets_the_count(known: Client, upstream: Upstream, four: list[Server]) -> None:
    upstream.script(*["status=500"] * 4)
    for n in range(4):
        ask(four[n].base_url, known)
    assert ask(four[0].base_url, known).status_code == 200
    upstream.script(*["status=500"] * 4)
    for n in range(4):
        ask(four[n].base_url, known)
    assert ask(four[1].base_url, known).status_code == 200


def test_an_open_first_circuit_makes_the_second_in_line_attempt_two(
    known: Client, upstream: Upstream, backup: Upstream, servers: Servers, four: list[Server]
) -> None:
    upstream.script("status=500", repeat=True)
    for n in range(5):
        ask(four[n % 4].base_url, known)
    known.add_provider(backup, name="backup", family="openai_compatible", weight=1)
    answer = eventually(partial(ask_for, 200, four[0].base_url, known), what="the second candidate")
    assert answer.headers["x-nexus-provider"] == "openai_compatible"
    assert answer.headers["x-nexus-attempt"] == "2"
    assert answer.headers["x-nexus-route"] == "openai=circuit_open;openai_compatible=200"
