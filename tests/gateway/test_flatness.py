"""A worker that has served much is no larger than one that has served a little, and holds no descriptor more."""

import os
from pathlib import Path

import pytest

from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.flood import flood, leave_in_mid_stream
from tests.reports import report
from tests.stack import Server, eventually
from tests.upstream import Upstream

WARM_UP = 500  # requests after which pools, caches and the allocator have found their size
CONNECTIONS = 16


def resident_mb(pid: int) -> float:
    """Return what the process holds of real memory, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1]) / 1024


def descriptors(pid: int) -> list[str]:
    """Return what the process has open, but for the segments of its spool, of which there are now two, now three."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue  # closed while we looked
        if "/spool/" not in target:
            found.append(target)
    return found


def settled(server: Server, upstream: Upstream, before: int) -> list[str]:
    """Return what is open once all clients are gone; the pool may keep a connection for each of them."""

    def few() -> bool:
        return upstream.stats()["in_flight"] == 0 and len(descriptors(server.pid)) <= before + CONNECTIONS

    eventually(few, what="the closing of the clients' connections")
    return descriptors(server.pid)


def play(client: Client, upstream: Upstream, servers: Servers, *, requests: int, aborted: int) -> dict[str, float]:
    """Serve, and return what the worker held after the warm-up, after the requests and after the aborted streams."""
    client.add_provider(upstream, name="primary")
    server = servers.stack.serve("runtime")
    in_force(server)
    before = len(descriptors(server.pid))
    assert flood(client, server, requests=WARM_UP, connections=CONNECTIONS).answered == WARM_UP
    leave_in_mid_stream(client, server, streams=20)
    open_at_first = len(settled(server, upstream, before))
    figures = {"warm_mb": resident_mb(server.pid), "warm_descriptors": float(open_at_first)}
    found = flood(client, server, requests=requests, connections=CONNECTIONS)
    assert (found.answered, found.wrong) == (requests, [])
    figures["after_requests_mb"] = resident_mb(server.pid)
    upstream.script("drip=20", repeat=True)
    leave_in_mid_stream(client, server, streams=aborted)
    settled(server, upstream, before)
    figures["after_aborted_streams_mb"] = resident_mb(server.pid)
    figures["descriptors"] = float(len(descriptors(server.pid)))
    assert figures["descriptors"] <= before + CONNECTIONS
    server.stop()
    assert "the handler is closed" not in server.log.read_text()  # as uvloop says of a write to who has gone
    return figures


def test_memory_and_descriptors_stay_level(client: Client, upstream: Upstream, servers: Servers) -> None:
    figures = play(client, upstream, servers, requests=1_000, aborted=40)
    assert figures["after_requests_mb"] - figures["warm_mb"] < 8
    assert figures["after_aborted_streams_mb"] - figures["warm_mb"] < 12


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_memory_and_descriptors_stay_level_for_long(client: Client, upstream: Upstream, servers: Servers) -> None:
    figures = play(client, upstream, servers, requests=200_000, aborted=2_000)
    report("flatness", requests=200_000, aborted_streams=2_000, **figures)
    assert figures["after_requests_mb"] - figures["warm_mb"] < 12
    assert figures["after_aborted_streams_mb"] - figures["warm_mb"] < 16
