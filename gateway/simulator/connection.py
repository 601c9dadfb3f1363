"""One client connection: HTTP/1.1 requests in, steps out, and the moment at which the client leaves."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterator
from typing import Protocol, cast
from urllib.parse import unquote

import httptools

from gateway.simulator.dialect import Request
from gateway.simulator.ledger import Entry, Fate
from gateway.simulator.playback import Close, Reset, Stall, Step, Wait, Write, head

MAX_REQUEST_BYTES = 64 * 1024 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Desk(Protocol):
    """What a connection asks the simulator."""

    def arrived(self, connection: "Connection") -> None: ...

    def left(self, connection: "Connection") -> None: ...

    def begin(self, connection: "Connection", request: Request, *, keep_alive: bool) -> Iterator[Step]: ...

    def end(self, entry: Entry, fate: Fate) -> None: ...


class Connection(asyncio.Protocol):
    """Performs the steps of one answer after the other. There are no tasks: timers and flow control move it on."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._desk = desk
        self._loop = loop
        self._wire: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()  # pipelined behind the one that is being answered
        self._steps: Iterator[Step] | None = None
        self._timer: asyncio.Handle | None = None
        self._blocked: Write | None = None  # written, and not yet all in the system's hands
        self.entry: Entry | None = None  # of the answer that is under way; None for the control API
        self.counted = True  # the control API's connections are not

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class.
        self._wire = cast("asyncio.Transport", transport)
        # Nothing may wait in our own buffer unnoticed: what the log calls sent is the system's.
        self._wire.set_write_buffer_limits(high=0)
        self._desk.arrived(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(501, "Protocol upgrades are not simulated.")
        except httptools.HttpParserError as error:
            self._refuse(400, f"Not an HTTP request: {error}")

    def eof_received(self) -> bool:
        if self._steps is not None:
            self.abort()  # no SDK half-closes: a client that says no more has hung up
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire = None
        self._finish("client_gone")
        self._waiting.clear()
        self._desk.left(self)

    def pause_writing(self) -> None:
        """Told during a write that did not go out at once; `_advance` looks at the buffer itself."""

    def resume_writing(self) -> None:
        if self._blocked is not None:
            self._sent(self._blocked)
            self._blocked = None
            self._advance()

    # --- httptools

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._wire is not None:
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_REQUEST_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._body_bytes > MAX_REQUEST_BYTES:
            self._refuse(413, "The request is too large.")
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode()
        request = Request(method, unquote(path), query, self._headers, b"".join(self._body), path)
        self._waiting.append((request, self._parser.should_keep_alive()))
        if self._steps is None:
            self._next()

    # --- the answer

    def abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    def _next(self) -> None:
        while self._waiting and self._steps is None and self._wire is not None:
            request, keep_alive = self._waiting.popleft()
            self._steps = self._desk.begin(self, request, keep_alive=keep_alive)
            self._advance()

    def _advance(self) -> None:
        """Perform steps until one has to be waited for, or none is left."""
        self._timer = None
        steps, wire = self._steps, self._wire
        if steps is None or wire is None:
            return
        for step in steps:
            if isinstance(step, Write):
                wire.write(step.data)
                if wire.get_write_buffer_size():
                    self._blocked = step
                    return
                self._sent(step)
            elif isinstance(step, Wait):
                self._timer = (
                    self._loop.call_later(step.seconds, self._advance)
                    if step.seconds
                    else self._loop.call_soon(self._advance)
                )
                return
            elif isinstance(step, Stall):
                return
            else:
                self._hang_up(step)
                return
        self._finish("completed")
        self._loop.call_soon(self._next)

    def _sent(self, step: Write) -> None:
        if self.entry is not None:
            self.entry.bytes_sent += len(step.data)
            self.entry.events += step.events

    def _hang_up(self, step: Close | Reset) -> None:
        wire = self._wire
        self._finish("completed")
        if wire is None:
            return
        if isinstance(step, Close):
            wire.close()
            return
        link: socket.socket = wire.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        wire.abort()

    def _finish(self, fate: Fate) -> None:
        entry, self.entry, self._steps, self._blocked = self.entry, None, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if entry is not None:
            self._desk.end(entry, fate)

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is not a request that any dialect could read, and close."""
        if self._wire is not None and self._steps is None:
            self._wire.write(head(status, "text/plain", len(message), (), keep_alive=False) + message.encode())
            self._wire.close()
        else:
            self.abort()
