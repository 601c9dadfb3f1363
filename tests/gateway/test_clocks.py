"""Machines whose clocks are wrong: circuits go by one clock, and no request is lost, however far off its time is."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import httpx
import pytest

from gateway.models import CircuitEvent
from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.outages import BODY
from tests.gateway.totals import log_totals, rollup_totals
from tests.stack import Server, eventually, stop_together
from tests.upstream import Upstream

BEHIND, AHEAD = -600, 30 * 86_400  # seconds; so far ahead there are no partitions


@pytest.fixture(scope="module")
def machines(servers: Servers) -> Iterator[list[Server]]:
    """Two runtimes whose clocks are wrong, and one whose clock is right."""
    astray = servers.stack.serve_astray(BEHIND, AHEAD)
    yield [*astray, servers.door]
    stop_together(astray)


def ask(server: Server, client: Client) -> httpx.Response:
    return httpx.post(f"{server.base_url}/v1/chat/completions", json=BODY, headers=client.headers, timeout=30)


def test_every_request_has_its_row_though_clocks_are_wrong(
    client: Client, upstream: Upstream, machines: list[Server]
) -> None:
    client.add_provider(upstream, name="primary")
    in_force(*machines)
    for server in machines:
        for _ in range(4):
            assert ask(server, client).status_code == 200
    eventually(lambda: len(client.rows()) == 12, what="the rows")
    assert upstream.stats()["requests"] == 12
    assert log_totals([client.tenant.id]) == rollup_totals([client.tenant.id])
    ages = sorted((datetime.now(UTC) - row.created_at).total_seconds() for row in client.rows())
    # Those of the clock ahead lie on the last day that there is, none lies 30 days ahead.
    assert -10 * 86_400 < ages[0] < 0
    assert ages[0:4] == pytest.approx([ages[0]] * 4, abs=120)
    assert ages[-1] == pytest.approx(-BEHIND, abs=120)


def test_a_circuit_is_open_for_thirty_seconds_whatever_a_machine_takes_the_time_for(
    client: Client, upstream: Upstream, machines: list[Server]
) -> None:
    client.tenant.max_attempts = 1
    client.tenant.save()
    provider = client.add_provider(upstream, name="primary")
    in_force(*machines)
    upstream.script("status=500", repeat=True)
    for number in range(5):
        assert ask(machines[number % len(machines)], client).status_code == 502
    for server in machines:
        refused = eventually(partial(is_refused, server, client), what="the open circuit in every process")
        assert 20 <= int(refused.headers["retry-after"]) <= 30
    seen = upstream.stats()["requests"]
    assert 5 <= seen < 5 + len(machines)  # one that the push had yet to reach may have asked once more
    for server in machines:
        assert ask(server, client).status_code == 503
    assert upstream.stats()["requests"] == seen
    event = eventually(lambda: CircuitEvent.objects.filter(provider_id=provider.id).first(), what="the event")
    # Its time is that of Redis, and not of whichever machine saw it.
    assert abs((datetime.now(UTC) - event.created_at).total_seconds()) < 120


def is_refused(server: Server, client: Client) -> httpx.Response | None:
    answer = ask(server, client)
    return answer if answer.status_code == 503 else None
