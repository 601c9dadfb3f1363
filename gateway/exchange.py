"""The response to one request, fed by the bytes of its connection.

All of a response's state, its parser included, lives here and none in the connection: what one request left behind
cannot reach the next. `Response.close` decides whether the connection may serve again, and it may only when the whole
message was received, nothing followed it, and nothing went wrong.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httptools

from gateway.transport_errors import BadResponse, ConnectionBroken, TransportError

if TYPE_CHECKING:
    from gateway.connection import Connection

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_INTERIM_RESPONSES = 16
PAUSE_ABOVE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Pipe:
    """Where a body goes as it comes, and how long it may take. `by` is in loop time."""

    sink: Callable[[bytes], bool]
    idle_seconds: float
    by: float
    loop: asyncio.AbstractEventLoop

    def deadline(self) -> float:
        return min(self.loop.time() + self.idle_seconds, self.by)


class Response:
    """The answer to one request: status and headers, then the body as it comes. Always `close()` it."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_connection",
        "_discard_limit",
        "_error",
        "_framed",
        "_has_head",
        "_head_only",
        "_held",
        "_interim",
        "_keep_alive",
        "_parser",
        "_paused",
        "_pipe",
        "_raw_headers",
        "_released",
        "_silent_bytes",
        "_started",
        "_waiter",
        "ended",
        "headers",
        "status",
    )

    def __init__(self, connection: "Connection", *, head_only: bool) -> None:
        self.status = 0
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        # The message has arrived in full and cleanly (chunk() may still have some of it to hand out).
        self.ended = False
        self._connection: Connection | None = connection
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: TransportError | None = None
        self._head_only = head_only
        self._held = False
        self._has_head = False
        self._started = False
        self._keep_alive = False
        self._framed = False
        self._paused = False
        self._pipe: _Pipe | None = None
        self._released = False
        self._interim = 0
        self._silent_bytes = 0
        self._buffered = 0
        self._discard_limit = -1

    # --- for the caller

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def chunk(self, *, by: float) -> bytes:
        """All body bytes that have arrived, at least one; b"" at the clean end of the body.

        `by` is in loop time. Raises ReadTimedOut, ConnectionBroken or BadResponse, after handing out what had arrived
        before the failure. A cancelled wait closes the connection.
        """
        if not self._chunks and not self.ended and self._error is None:
            await self._arrival(by)
        chunks = self._chunks
        if chunks:
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            self._buffered = 0
            if self._paused:
                self._resume()
            return body
        if self._error is not None:
            raise self._error
        return b""

    def whole(self) -> bytes | None:
        """The body, if all of it is here at once, as small ones are: None has to be waited for with chunk()."""
        if not self.ended or self._error is not None or len(self._chunks) != 1:
            return None
        return self._chunks.pop()

    async def pipe(self, sink: Callable[[bytes], bool], *, idle_seconds: float, by: float) -> None:
        """Give the body to `sink` as it arrives, within the callback that brings it, until the sink returns True.

        A stream of many small pieces costs no future and no switch of tasks for each. Returns at the clean end of the
        body too. `by` is in loop time, `idle_seconds` the longest silence. Raises what chunk() raises.
        """
        pipe = self._pipe = _Pipe(sink, idle_seconds, by, asyncio.get_running_loop())
        if self._chunks:
            self._pour()
        if self._paused:  # more had come than chunk() was asked for
            self._resume()
        if self._pipe is not None and not self.ended and self._error is None:
            if self._held:
                self.hold()
            await self._arrival(pipe.by if self._held else pipe.deadline())
        enough, self._pipe = self._pipe is None, None
        if self._error is not None and not enough:
            raise self._error

    def hold(self) -> None:
        """Let the upstream wait: whoever the body is for does not keep up. Silence is nobody's fault meanwhile."""
        self._held = True
        if self._connection is not None and self._pipe is not None:
            self._connection.pause()
            self._connection.expire_at(self._pipe.by)

    def go_on(self) -> None:
        """End a hold()."""
        self._held = False
        if self._connection is not None and self._pipe is not None:
            self._connection.resume()
            self._connection.expire_at(self._pipe.deadline())

    def _pour(self) -> None:
        """Give what has arrived to the pipe. A sink that has enough ends it."""
        pipe, chunks = self._pipe, self._chunks
        assert pipe is not None
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        if pipe.sink(body):
            self._pipe = None
            self._wake()
        elif self._connection is not None:
            self._connection.expire_at(pipe.deadline())

    async def read(self, *, limit: int, by: float) -> bytes:
        """The whole body. Raises BadResponse above `limit` bytes, and what chunk() raises."""
        chunks: list[bytes] = []
        size = 0
        while piece := await self.chunk(by=by):
            chunks.append(piece)
            size += len(piece)
            if size > limit:
                # Not by fail(), to which a message that was received to its end is no failure.
                self._error = BadResponse("The response body is larger than the limit.")
                self._let_go_broken()
                raise self._error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Give the connection back if the message was received to its end, else close it at once. Idempotent."""
        if not self._released:
            self._let_go()

    def release_when_done(self, within_seconds: float, limit: int = 65536) -> None:
        """Let go of a stream whose terminal marker was seen but whose last bytes are still to come.

        They are read and dropped; the connection is pooled if the message ends within the time and `limit` bytes, else
        closed. A later close() changes nothing, so a `finally: response.close()` may stand around this call.
        """
        connection = self._connection
        if self._released or connection is None or self.ended or self._error is not None:
            self.close()
            return
        self._released = True
        self._discard_limit = limit
        self._chunks.clear()
        self._buffered = 0
        if self._paused or self._held:
            self._resume()
        asyncio.get_running_loop().call_later(within_seconds, self._let_go)

    # --- for the transport

    @property
    def waiting(self) -> bool:
        return self._waiter is not None

    @property
    def released(self) -> bool:
        return self._released

    async def exchange(self, message: bytes, *, by: float) -> "Response":
        """Send the request and wait for the response's headers."""
        connection = self._connection
        assert connection is not None
        if not connection.usable:
            connection.abort()
            raise ConnectionBroken("The connection ended before the request was sent.", response_started=False)
        connection.response = self
        connection.write(message)
        # What _arrival() does, without a coroutine of its own: every request comes this way.
        try:
            await self._expect(connection, by)
        except asyncio.CancelledError:
            self._given_up()
            raise
        if not self._has_head:
            assert self._error is not None
            raise self._error
        return self

    async def _arrival(self, by: float) -> None:
        """Wait until something has arrived, ended or failed."""
        connection = self._connection
        if connection is None:
            return
        try:
            await self._expect(connection, by)
        except asyncio.CancelledError:
            self._given_up()
            raise

    def _expect(self, connection: "Connection", by: float) -> asyncio.Future[None]:
        """Return what is done when something has arrived, ended or failed."""
        if self._waiter is not None:
            raise RuntimeError("Two tasks wait for the same response.")
        waiter = self._waiter = connection.future()
        connection.expire_at(by)
        return waiter

    def _given_up(self) -> None:
        """Whoever waited was cancelled."""
        self._waiter = None
        self._let_go_broken()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: TransportError) -> None:
        """End the exchange with an error; the connection is closed."""
        if self._error is None and not self.ended:
            self._error = error
        self._let_go_broken()

    def _let_go_broken(self) -> None:
        self._keep_alive = False
        self._let_go()

    def _let_go(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        # The parser holds our bound methods: dropping it here spares the garbage collector a cycle per request.
        self._parser = None
        if self.ended and self._keep_alive and self._error is None:
            if self._paused or self._held:
                connection.resume()
            connection.release()
        else:
            connection.abort()
            if not self.ended and self._error is None:
                self._error = ConnectionBroken(
                    "The response was closed before its end.", response_started=self._started
                )
        if self._waiter is not None:
            self._wake()

    def _resume(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def disconnected(self, *, clean: bool) -> None:
        """The peer has closed: the end of a body without a length, a failure for every other."""
        self._keep_alive = False
        if clean and self._has_head and not self._framed:
            self.ended = True
        if self.ended:
            self._wake()
            return
        self.fail(ConnectionBroken("The connection ended before the response did.", response_started=self._started))

    def feed(self, data: bytes) -> None:
        """Bytes from the wire."""
        self._started = True
        if self.ended or self._parser is None:
            self._keep_alive = False
            return
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # After the end this is something that followed the message, which only costs the connection.
            self._keep_alive = False
            self.fail(BadResponse("The upstream's answer is not valid HTTP/1.1."))
            return
        if self._pipe is not None and self._chunks:
            self._pour()
        if self.ended:
            if self._released:
                self._let_go()
            elif self._waiter is not None:
                self._wake()
        elif self._silent_bytes > MAX_HEAD_BYTES:
            # Header, trailer or chunk-extension bytes without end; the parser collects some of them in memory.
            self.fail(BadResponse("The response's headers are larger than 64 KiB."))
        elif self._chunks:
            self._wake()
            if self._buffered > PAUSE_ABOVE_BYTES and not self._paused and self._connection is not None:
                self._paused = True
                self._connection.pause()

    # --- called by the parser

    def on_message_begin(self) -> None:
        if self.ended:
            raise BadResponse("Bytes follow the end of the message.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # a trailer is of no use to us
            self._raw_headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:
            self._skip_interim(status)
            return
        if len(self._raw_headers) > MAX_HEADERS:
            self._reject("The response has more than 200 headers.")
        if self._silent_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._reject("The response's headers are larger than 64 KiB.")
        for name, value in self._raw_headers:
            if name == b"content-length":
                self._framed = True
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    self._reject("The response has a transfer encoding that was not asked for.")
                self._framed = True
            elif name == b"content-encoding" and value.lower() not in (b"", b"identity"):
                self._reject("The response is compressed, which was not asked for.")
        self.status = status
        self.headers = tuple(self._raw_headers)
        self._keep_alive = parser.should_keep_alive()
        self._has_head = True
        if self._head_only or status in (204, 304):
            # The parser would wait for the body that a HEAD's Content-Length announces.
            self.ended = self._framed = True
        self._wake()

    def _head_bytes(self) -> int:
        return sum(len(name) + len(value) + 4 for name, value in self._raw_headers)

    def _skip_interim(self, status: int) -> None:
        self._interim += 1
        if status == 101 or self._interim > MAX_INTERIM_RESPONSES:
            self._reject("The upstream sent interim responses that were not asked for.")
        self._raw_headers.clear()

    def on_body(self, body: bytes) -> None:
        if self.ended:
            self._keep_alive = False
            return
        self._silent_bytes = 0
        if self._released:
            self._discard_limit -= len(body)
            if self._discard_limit < 0:
                self._reject("The end of a released stream is larger than the limit.")
            return
        self._chunks.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self._has_head:
            self.ended = True

    def _reject(self, sentence: str) -> None:
        # The parser replaces what a callback raises, so the reason is kept here.
        self._error = BadResponse(sentence)
        raise self._error
