"""Every wait for a provider ends: connecting, silence in a stream, a stream that never ends; each by its own setting.

The first content and the whole request have their limits by provider and tenant: see test_failover.py.
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.outages import BODY
from tests.stack import Server
from tests.upstream import Upstream

LIMITS = {
    "NEXUS_CONNECT_TIMEOUT_SECONDS": "1",
    "NEXUS_STREAM_IDLE_SECONDS": "2",
    "NEXUS_STREAM_TOTAL_SECONDS": "4",
}
PATIENCE_SECONDS = 15  # of the tests: far less than the limits that an installation has by default


@pytest.fixture(scope="module")
def impatient(servers: Servers) -> Iterator[Server]:
    with servers.stack.serving("all", environment=LIMITS) as (server,):
        yield server


def ask(server: Server, client: Client, **fields: object) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = httpx.post(
        f"{server.base_url}/v1/chat/completions", json={**BODY, **fields}, headers=client.headers, timeout=60
    )
    return answer, time.monotonic() - began


def interrupted(answer: httpx.Response) -> dict[str, object]:
    """Return the error event with which a stream ended."""
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    error: dict[str, object] = json.loads(answer.text.strip().rpartition("data: ")[2])["error"]
    assert error["code"] == "STREAM_INTERRUPTED"
    return error


def test_a_stream_that_falls_silent_ends(client: Client, upstream: Upstream, impatient: Server) -> None:
    client.add_provider(upstream, name="silent")
    in_force(impatient)
    upstream.script("stall@4")
    answer, seconds = ask(impatient, client, stream=True)
    assert "read_timeout" in str(interrupted(answer))
    assert 2 <= seconds < PATIENCE_SECONDS
    assert upstream.stats()["in_flight"] == 0
    row = client.row(answer.headers["x-request-id"])
    assert (row.status, row.error_class) == (502, "read_timeout")


def test_a_stream_that_goes_on_and_on_ends(client: Client, impatient: Server) -> None:
    with Upstream(family="openai", chunk_ms=1000) as endless:  # no silence is too long
        client.add_provider(endless, name="endless")
        in_force(impatient)
        answer, seconds = ask(impatient, client, stream=True)
        interrupted(answer)
        assert 4 <= seconds < PATIENCE_SECONDS
        assert answer.text.count("data: ") >= 3
        assert endless.stats()["in_flight"] == 0


@contextmanager
def black_hole() -> Iterator[str]:
    """Give the address of a listener whose queue is full: the kernel answers no further connection."""
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        time.sleep(0.1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_host_that_does_not_take_the_connection_is_left_for_the_next(
    client: Client, backup: Upstream, impatient: Server
) -> None:
    with black_hole() as url:
        client.add_provider(url, name="hole", weight=100)
        client.add_provider(backup, name="backup", family="openai_compatible", weight=1)
        in_force(impatient)
        answer, seconds = ask(impatient, client)
    assert answer.status_code == 200
    assert answer.headers["x-nexus-route"] == "openai=timeout;openai_compatible=200"
    assert 1 <= seconds < PATIENCE_SECONDS
