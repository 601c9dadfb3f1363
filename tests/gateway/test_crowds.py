"""Crowds of clients that misbehave, and what the others notice. Their short forms stand in the tests of each fault."""

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.models import RequestLog
from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.outages import BODY
from tests.gateway.raw import head, request
from tests.gateway.test_hang_up import hang_up
from tests.gateway.test_slow_reader import Flood
from tests.reports import report
from tests.stack import Server, eventually
from tests.upstream import Upstream

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
STREAM = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello"}]}'


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def milliseconds(ask: Callable[[], httpx.Response], *, while_: Callable[[], bool]) -> list[float]:
    """Ask again and again; return how long each answer took, in order of length."""
    took = []
    while while_():
        began = time.perf_counter()
        assert ask().status_code == 200
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)
    return sorted(took)


def share(took: list[float], of: float) -> float:
    return round(took[min(len(took) - 1, int(of * len(took)))], 1)


def for_seconds(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def test_two_thousand_slow_clients(routed: Client, servers: Servers) -> None:
    server = servers.stack.serve("all")
    in_force(server)
    with ExitStack() as stack, httpx.Client(headers=routed.headers, timeout=60) as http:

        def ask() -> httpx.Response:
            return http.post(f"{server.base_url}/v1/chat/completions", json=BODY)

        before = milliseconds(ask, while_=for_seconds(10))
        slow = [stack.enter_context(dial(server)) for _ in range(2000)]
        began = time.monotonic()
        half_a_head, no_body = b"POST /v1/chat/completions HTTP/1.1\r\n", head(routed.key, "content-length: 9")
        for number, link in enumerate(slow):
            link.sendall(half_a_head if number % 2 else no_body)
        during = milliseconds(ask, while_=for_seconds(10))
        for link in slow:
            assert link.recv(12) == b"HTTP/1.1 408"
        seconds = time.monotonic() - began
    report(
        "slow_clients", clients=len(slow), seconds_until_all_are_dropped=round(seconds, 1),
        base_p50_ms=share(before, 0.5), base_p99_ms=share(before, 0.99),
        p50_ms=share(during, 0.5), p99_ms=share(during, 0.99),
    )  # fmt: skip
    assert seconds < 30
    assert share(during, 0.5) <= 2 * share(before, 0.5)


def memory_mb(server: Server) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_two_hundred_readers_that_stall(client: Client, servers: Servers) -> None:
    server = servers.stack.serve("all")
    with Flood() as flood, ExitStack() as stack:
        client.add_provider(flood.base_url, name="flood")
        in_force(server)
        before = memory_mb(server)
        for _ in range(200):
            link = stack.enter_context(socket.socket())
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            link.connect(("127.0.0.1", server.port))
            link.sendall(request(client.key, STREAM))
        seen = [0, -1]

        def held_back() -> bool:
            time.sleep(1)
            seen[:] = [flood.sent, seen[0]]
            return seen[0] > 0 and seen[0] == seen[1]

        eventually(held_back, seconds=120, what="the provider held back")
        grown = memory_mb(server) - before
        pushed = flood.sent / 200 / 2**20
    report(
        "stalled_readers", readers=200, memory_grown_mb=round(grown, 1), pushed_by_the_provider_each_mb=round(pushed, 1)
    )
    assert grown <= 300
    assert pushed <= 16


def test_five_hundred_clients_that_hang_up(client: Client, servers: Servers) -> None:
    chance = random.Random(500)
    with Upstream(family="openai", latency_ms=100, chunk_ms=50) as upstream:
        client.add_provider(upstream, name="primary")
        in_force(servers.door)

        def leave(_: int) -> None:
            with dial(servers.door) as link:
                link.sendall(
                    request(client.key, STREAM if chance.random() < 0.5 else STREAM.replace(b"true", b"false"))
                )
                time.sleep(chance.uniform(0, 0.5))
                hang_up(link)

        with ThreadPoolExecutor(25) as pool:
            list(pool.map(leave, range(500)))
        since = time.monotonic()
        eventually(lambda: upstream.stats()["in_flight"] == 0, seconds=10, what="the end of all upstream calls")
        seconds = time.monotonic() - since
        stats = upstream.stats()
    rows = RequestLog.objects.for_tenant(client.tenant)
    eventually(lambda: rows.count() >= stats["requests"], what="the rows")
    gone = rows.filter(status=499).count()
    report(
        "hang_ups", clients=500, upstream_requests=stats["requests"], cancelled_upstream=stats["client_gone"],
        rows=rows.count(), rows_of_clients_that_left=gone, seconds_until_none_is_left=round(seconds, 2),
    )  # fmt: skip
    assert seconds < 1
    assert set(rows.values_list("status", flat=True)) <= {200, 499}
    assert gone >= stats["client_gone"] > 0


def test_thirty_large_streams_whose_clients_leave(client: Client, servers: Servers) -> None:
    server = servers.stack.serve("all")
    with Flood() as flood, ThreadPoolExecutor(30) as pool, httpx.Client(timeout=60) as http:
        client.add_provider(flood.base_url, name="flood")
        in_force(server)

        def ready() -> httpx.Response:
            return http.get(f"{server.base_url}/readyz")

        def leave(_: int) -> None:
            with dial(server) as link:
                link.sendall(request(client.key, STREAM))
                left = 5_000_000
                while left > 0:
                    left -= len(link.recv(1 << 16))
                hang_up(link)

        before = milliseconds(ready, while_=for_seconds(5))
        leaving = [pool.submit(leave, number) for number in range(30)]
        during = milliseconds(ready, while_=lambda: not all(each.done() for each in leaving))
        after = milliseconds(ready, while_=for_seconds(3))
        for each in leaving:
            each.result()
    eventually(lambda: len(client.rows()) == 30, what="the rows")
    assert {(row.status, row.usage_estimated) for row in client.rows()} == {(499, True)}
    assert all((row.output_tokens or 0) > 1_000_000 / 4 for row in client.rows())
    report(
        "large_streams_left", streams=30, base_p99_ms=share(before, 0.99), while_they_run_p99_ms=share(during, 0.99),
        afterwards_p99_ms=share(after, 0.99), afterwards_slowest_ms=share(after, 1),
    )  # fmt: skip
    assert share(after, 0.99) <= share(before, 0.99) + 50
