"""A client that stops reading: the provider waits, memory does not grow, and the whole answer comes in the end."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.gateway.conftest import Client, Servers, in_force
from tests.stack import eventually, free_port

EVENT = (
    b"data: "
    + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 4000}, "finish_reason": None}]}).encode()
    + b"\n\n"
)
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
EVENTS = 15_000  # 60 MB
MOST_AHEAD = 16 * 1024 * 1024  # what may lie in the sockets' and our own buffers


class Flood:
    """An upstream that sends as fast as it is read."""

    def __init__(self) -> None:
        self.port = free_port()
        self.sent = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Flood":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for _ in range(EVENTS):
            writer.write(EVENT)
            self.sent += len(EVENT)
            await writer.drain()
        writer.write(FINISH)
        writer.close()


@pytest.fixture
def flood() -> Iterator[Flood]:
    with Flood() as running:
        yield running


def test_the_provider_waits_for_a_reader_that_stalls(
    base_url: str, client: Client, flood: Flood, servers: Servers
) -> None:
    client.add_provider(flood.base_url, name="flood")
    in_force(servers.door, servers.twin)
    host = urlsplit(base_url)
    body = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"x"}]}'
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=30) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        link.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host.netloc}\r\nauthorization: Bearer {client.key}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        seen = [0, -1]

        def stalled() -> bool:
            seen[:] = [flood.sent, seen[0]]
            return seen[0] > 0 and seen[0] == seen[1]

        eventually(stalled, seconds=20, what="the upstream held back")
        assert flood.sent < MOST_AHEAD
        received = read_all(link)
    assert received.count(EVENT[:-2]) == EVENTS
    assert b"data: [DONE]" in received
    assert flood.sent == EVENTS * len(EVENT)


def read_all(link: socket.socket) -> bytes:
    """Return the body, its chunks joined."""
    data = bytearray()
    while piece := link.recv(1 << 20):
        data += piece
    out: list[bytes] = []
    body, at = bytes(data), data.index(b"\r\n\r\n") + 4
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if size == 0:
            return b"".join(out)
        out.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
