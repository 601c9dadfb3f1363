"""A loopback upstream made of raw bytes: a test scripts what it writes, and its own counters are the oracle."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from gateway.egress import Allowance
from gateway.transport import Origin, Response, Transport, encode_head

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
ANYWHERE = Allowance(everything=True)


class ScriptedResolver(asyncio.SelectorEventLoop):
    """A real loop whose name server, like an attacker's, gives one scripted answer after the other."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        super().__init__()
        self.answers = list(answers)

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in answer]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, answer, strict=True)
        ]


class Wire:
    """One request as the upstream sees it, and the means to answer it."""

    def __init__(self, server: "WireServer", connection: int, turn: int, head: bytes, body: bytes) -> None:
        self.server = server
        self.connection = connection
        self.turn = turn
        self.head = head
        self.body = body
        self.reader, self.writer = server.streams[connection]

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError  # uvloop's own answer would be a RuntimeError
        self.writer.write(data)
        await self.writer.drain()

    async def hello(self, body: bytes = b"hello") -> None:
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing until the client goes away."""
        while await self.reader.read(65536):
            pass


class WireServer:
    """Reads requests and lets the script answer; `opened`, `requests` and `open_now` count what happened."""

    def __init__(self, script: Callable[[Wire], Awaitable[None]]) -> None:
        self.script = script
        self.opened = 0
        self.requests: list[tuple[int, bytes]] = []
        self.streams: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self.origin = Origin("http", "127.0.0.1", 0)

    @property
    def open_now(self) -> int:
        return len(self.streams)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        number = self.opened
        self.streams[number] = (reader, writer)
        turn = 0
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0)) if b"x-unread" not in head else b""
                turn += 1
                self.requests.append((number, body))
                await self.script(Wire(self, number, turn, head, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone: what many of the tests are about
        finally:
            del self.streams[number]
            writer.close()


@asynccontextmanager
async def wire_server(
    script: Callable[[Wire], Awaitable[None]], *, tls: ssl.SSLContext | None = None, path: str | None = None
) -> AsyncIterator[WireServer]:
    server = WireServer(script)
    if path is None:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
        port = listener.sockets[0].getsockname()[1]
        server.origin = Origin("https" if tls else "http", "localhost" if tls else "127.0.0.1", port)
    else:
        listener = await asyncio.start_unix_server(server.serve, path)
        server.origin = Origin("unix", path, 0)
    try:
        yield server
    finally:
        listener.close()
        for _, writer in list(server.streams.values()):
            writer.transport.abort()
        await until(lambda: server.open_now == 0)


@asynccontextmanager
async def transport(**options: Any) -> AsyncIterator[Transport]:
    opened = Transport(**{"allowance": ANYWHERE, **options})
    try:
        yield opened
    finally:
        await opened.close()


async def send(
    client: Transport,
    origin: Origin,
    body: bytes = b"",
    *,
    method: bytes = b"POST",
    within: float = 20.0,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Response:
    head = encode_head(method, b"/v1/x", origin, headers, len(body))
    return await client.send(origin, head, body, first_byte_by=soon(within))


async def ask(client: Transport, origin: Origin, body: bytes = b"", **options: Any) -> bytes:
    """A whole exchange: send, read, close."""
    response = await send(client, origin, body, **options)
    try:
        return await response.read(limit=1 << 30, by=soon(5))
    finally:
        response.close()


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.002)


def run_on(loop: str, main: Coroutine[Any, Any, None]) -> None:
    """Run a test; an error in a callback or in the upstream's script, which asyncio only logs, fails it too."""
    unseen: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: unseen.append(context))
        runner.run(main)
    assert unseen == []
