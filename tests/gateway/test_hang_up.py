"""A client that hangs up, in five places: the upstream is cancelled within a second and exactly one row is left."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.models import RequestLog
from tests.gateway.conftest import EVERY_DOOR, Client
from tests.stack import eventually
from tests.upstream import Upstream

pytestmark = EVERY_DOOR


@contextmanager
def connection(base_url: str, client: Client, *, stream: bool, content: str = "Hello") -> Iterator[socket.socket]:
    """Send one request over a socket of our own."""
    host = urlsplit(base_url)
    body = json.dumps(
        {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": content}]}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host.netloc}\r\nauthorization: Bearer {client.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=10) as link:
        link.sendall(head.encode() + body)
        yield link


def hang_up(link: socket.socket) -> float:
    """Close with a reset, as a killed process does; return when."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    return time.monotonic()


def read_until(link: socket.socket, marker: bytes) -> bytes:
    data = b""
    while marker not in data:
        piece = link.recv(65536)
        assert piece, f"the connection ended before {marker!r}: {data!r}"
        data += piece
    return data


def the_one_row(client: Client) -> RequestLog:
    """Return the tenant's only row, after giving a second one the time to appear."""
    eventually(client.rows, seconds=20, what="the row")
    time.sleep(0.8)  # the absence of a second row can only be waited for: two rounds of the shipper
    rows = client.rows()
    assert len(rows) == 1
    return rows[0]


def cancelled_within_a_second(upstream: Upstream, since: float) -> dict[str, Any]:
    def gone() -> bool:
        return upstream.stats()["in_flight"] == 0

    eventually(gone, seconds=6, what="the cancelling of the upstream call")
    assert time.monotonic() - since < 1.0
    entry: dict[str, Any] = upstream.log()[-1]
    return entry


@pytest.mark.parametrize("stream", [False, True])
def test_while_waiting_for_the_provider(base_url: str, routed: Client, upstream: Upstream, stream: bool) -> None:
    upstream.script("hang")
    with connection(base_url, routed, stream=stream) as link:
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        since = hang_up(link)
    entry = cancelled_within_a_second(upstream, since)
    assert entry["fate"] == "client_gone"
    row = the_one_row(routed)
    assert (row.status, row.error_class) == (499, "client_gone")
    assert row.usage_estimated
    assert (row.input_tokens or 0) > 0
    assert [attempt["fate"] for attempt in row.attempts] == ["client_gone"]


def test_at_the_start_of_the_answer(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("stall@3")
    with connection(base_url, routed, stream=True) as link:
        read_until(link, b"\r\n\r\n")
        since = hang_up(link)
    assert cancelled_within_a_second(upstream, since)["fate"] == "client_gone"
    assert the_one_row(routed).status == 499


def test_in_mid_stream(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("drip=20")
    with connection(base_url, routed, stream=True, content="many words " * 200) as link:
        read_until(link, b"words")
        since = hang_up(link)
    assert cancelled_within_a_second(upstream, since)["fate"] == "client_gone"
    row = the_one_row(routed)
    assert row.status == 499
    assert row.usage_estimated
    assert (row.output_tokens or 0) > 0
    assert row.cost_usd is not None


def test_while_the_answer_is_being_sent(base_url: str, routed: Client, upstream: Upstream) -> None:
    """A reader that stopped reading: the gateway waits to send, the upstream is held back, then the client goes."""
    upstream.script("giant")
    with connection(base_url, routed, stream=True) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        eventually(lambda: upstream.stats()["requests"], what="the upstream call")
        time.sleep(0.3)  # let the socket's buffers fill
        hang_up(link)
    row = the_one_row(routed)
    assert row.status in (200, 499)
    eventually(lambda: upstream.stats()["in_flight"] == 0, seconds=6, what="the end of the upstream call")


@pytest.mark.parametrize("stream", [False, True])
def test_after_the_end(base_url: str, routed: Client, stream: bool) -> None:
    with connection(base_url, routed, stream=stream) as link:
        read_until(link, b"0\r\n\r\n" if stream else b'"usage"')
        hang_up(link)
    row = the_one_row(routed)
    assert row.status == 200
    assert not row.usage_estimated


def test_a_half_sent_request_leaves_no_upstream_call(base_url: str, routed: Client, upstream: Upstream) -> None:
    host = urlsplit(base_url)
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=10) as link:
        link.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {routed.key}\r\n"
            "content-length: 1000\r\n\r\n{".encode()
        )
        time.sleep(0.2)
        hang_up(link)
    time.sleep(0.5)
    assert upstream.stats()["requests"] == 0
    assert len(routed.rows()) <= 1
