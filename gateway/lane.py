"""The fast lane: the data plane's requests, answered where they are parsed.

In our own server a request for a model does not become an ASGI scope, two message queues and a cycle of events: the
parser's callbacks collect it, one task answers it through the pipeline, and the answer goes straight to the socket.
Everything else takes uvicorn's usual way to the ASGI application, whose runtime door (gateway/door.py) answers the same
requests in any other server. One test suite runs over both.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, override

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.answer_stream import ByteStream
from gateway.completions import Call
from gateway.door import ENDPOINTS, RECORD_FIRST_BYTES
from gateway.plane import DataPlane
from gateway.relay import Reply
from gateway.repeated_head import RepeatedHead, learnt
from gateway.request_head import RequestHead, read_head
from gateway.schema import Endpoint
from nexus.errors import BodyTooLarge, NexusError, RequestTimeout
from nexus.guarded_http import ClientLimits, GuardedHttpProtocol, Phase

_PATHS = {path.encode(): endpoint for path, endpoint in ENDPOINTS.items()}
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_TRUST_BYTES = 64 * 1024  # of a body, read before it is known who sends it


class Exchange:
    """One request on the lane."""

    __slots__ = ("endpoint", "head", "keep_alive", "parts", "size", "task")

    def __init__(self, endpoint: Endpoint, head: RequestHead, *, keep_alive: bool) -> None:
        self.endpoint = endpoint
        self.head = head
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.size = 0
        self.task: asyncio.Task[None] | None = None

    def body(self) -> bytes:
        parts = self.parts
        return parts[0] if len(parts) == 1 else b"".join(parts)


class LaneProtocol(GuardedHttpProtocol):
    """Serves one connection of the runtime."""

    def __init__(self, plane: DataPlane, limits: ClientLimits, **of_uvicorn: Any) -> None:
        super().__init__(limits, **of_uvicorn)
        self._plane = plane
        self._exchange: Exchange | None = None
        self._stream: ByteStream | None = None  # of the exchange, while it runs
        self._known_head: RepeatedHead | None = None  # of the last request, if the next may have the same
        self._date: list[tuple[bytes, bytes]] = []
        self._date_line = b""

    # --- called by the parser

    @override
    def on_message_begin(self) -> None:
        # uvicorn makes a scope here, which most requests do without.
        self._in_head = True
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf or self.parser.should_upgrade():
            return
        endpoint = _PATHS.get(self.url)
        if self._exchange is not None:
            # A second request before the first is answered: hardly any client does that, and those that do send it
            # again when the connection closes after an answer (RFC 9112, section 9.3.2).
            self._exchange.keep_alive = False
            self._deaf = True
        elif endpoint is None or not self._begin(endpoint):
            url, headers, waits = self.url, self.headers, self.expect_100_continue
            HttpToolsProtocol.on_message_begin(self)
            self.url, self.expect_100_continue = url, waits
            self.headers.extend(headers)  # the very list that the scope holds
            super().on_headers_complete()

    def _begin(self, endpoint: Endpoint) -> bool:
        """Take a request onto the lane; False for one that has to take the usual way."""
        parser = self.parser
        if (self.cycle is not None and not self.cycle.response_complete) or parser.get_method() != b"POST":
            return False
        if self.expect_100_continue:
            return False  # it waits to be told to go on, which uvicorn's cycle does
        head = read_head(self.headers, max_body_bytes=self._limits.body_bytes)
        exchange = self._exchange = Exchange(
            endpoint, head, keep_alive=self._drained_at is None and parser.should_keep_alive()
        )
        fault = self.head_fault() or head.fault
        self.head_is_complete()
        if fault is not None:
            self._refuse_exchange(exchange, fault)
        return True

    @override
    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
            return
        if self._deaf:
            return
        exchange.parts.append(body)
        exchange.size += len(body)
        self._body_bytes += len(body)
        if exchange.size > self._limits.body_bytes:
            self._refuse_exchange(exchange, BodyTooLarge(self._limits.body_bytes))
        elif exchange.size > _TRUST_BYTES and not self._known(exchange):
            self._start(exchange)  # a stranger: the pipeline says so, and the rest is not read

    @override
    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
        elif not self._deaf:
            self._phase = Phase.ANSWER
            self._start(exchange)

    # --- asyncio.Protocol

    @override
    def data_received(self, data: bytes) -> None:
        begins = self._phase is Phase.IDLE or (self._phase is Phase.HEAD and self._head_bytes == 0)
        if not begins or self._deaf:
            super().data_received(data)
            return
        known = self._known_head
        body = known.body_in(data) if known is not None else None
        if known is not None and body is not None and len(body) <= self._limits.body_bytes:
            self._serve_again(known, body)
            return
        super().data_received(data)
        exchange = self._exchange
        if exchange is not None and exchange.keep_alive and self._phase is Phase.ANSWER:
            self._known_head = learnt(data, exchange.size, exchange.endpoint, exchange.head)

    def _serve_again(self, known: RepeatedHead, body: bytes) -> None:
        """Serve a request whose head was read before: neither it nor the parser needs another look."""
        exchange = Exchange(known.endpoint, known.head, keep_alive=self._drained_at is None)
        exchange.parts.append(body)
        self._exchange, self._phase, self._head_bytes = exchange, Phase.ANSWER, 0
        self._start(exchange)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        self._stream = None
        super().connection_lost(exc)
        if exchange is not None and exchange.task is not None:
            exchange.task.cancel()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stream is not None:
            self._stream.hold()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stream is not None:
            self._stream.go_on()

    @override
    def make_last(self) -> None:
        if self._exchange is not None:
            self._exchange.keep_alive = False
        else:
            super().make_last()

    @override
    def refuse(self, error: NexusError) -> None:
        """A request on the lane is refused by the pipeline, which says so in the log too; an answered one is not."""
        exchange = self._exchange
        if exchange is None:
            super().refuse(error)
        elif exchange.task is None:
            self._refuse_exchange(exchange, error)
        else:
            exchange.keep_alive = False
            self._deaf = True

    @override
    def give_up(self) -> None:
        if self._exchange is not None:
            self._refuse_exchange(self._exchange, RequestTimeout("The request did not arrive in time. Send it again."))
        else:
            super().give_up()

    # --- the answer

    def _known(self, exchange: Exchange) -> bool:
        return self._plane.knows(exchange.head.authorization)

    def _refuse_exchange(self, exchange: Exchange, fault: NexusError) -> None:
        exchange.head.fault = fault
        self._start(exchange)

    def _start(self, exchange: Exchange) -> None:
        if exchange.task is not None:
            return
        if self._phase is not Phase.ANSWER:
            self._phase, self._deaf, exchange.keep_alive = Phase.ANSWER, True, False
        # It runs at once, up to its first wait: mostly that for the provider.
        exchange.task = asyncio.Task(self._answer(exchange), loop=self.loop, eager_start=True)

    async def _answer(self, exchange: Exchange) -> None:
        call = Call(exchange.endpoint, exchange.head, exchange.body())
        reply: Reply | None = None
        try:
            reply = await self._plane.pipeline.complete(call)
            if reply.stream is None:
                self._write_whole(exchange, reply)
            else:
                await self._write_stream(exchange, reply)
            self._finished(exchange)
        except asyncio.CancelledError:
            if self._exchange is exchange:
                raise  # the server is stopping, not the client leaving
        finally:
            if reply is not None:
                reply.abandon()
            if self._exchange is exchange:
                self.transport.close()  # an answer that could not be finished must not look finished

    def _write_whole(self, exchange: Exchange, reply: Reply) -> None:
        body, outcome = reply.body, reply.outcome
        if outcome is not None and len(body) <= RECORD_FIRST_BYTES:
            outcome.close(reply.status)
        head = self._head(exchange, reply)
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        if outcome is not None and not outcome.closed:
            outcome.close(reply.status)

    async def _write_stream(self, exchange: Exchange, reply: Reply) -> None:
        stream, transport = reply.stream, self.transport
        assert stream is not None
        self._stream = stream
        transport.write(self._head(exchange, reply) + b"transfer-encoding: chunked\r\n\r\n")
        last = await stream.pump(self._write_chunk)
        transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n")
        self._stream = None

    def _write_chunk(self, block: bytes) -> None:
        if self.transport.is_closing():
            return  # the client has gone, which this stream's task hears a moment later
        self.transport.write(b"%x\r\n%b\r\n" % (len(block), block))

    def _head(self, exchange: Exchange, reply: Reply) -> bytes:
        date = self.server_state.default_headers
        if date is not self._date:
            self._date = date
            self._date_line = b"".join([b"%b: %b\r\n" % header for header in date])
        connection = b"" if exchange.keep_alive else b"connection: close\r\n"
        return _STATUS_LINES[reply.status] + self._date_line + connection + reply.head

    def _finished(self, exchange: Exchange) -> None:
        self._exchange = None
        self.server_state.total_requests += 1
        if self._deaf:
            self.close_gently()
        elif exchange.keep_alive:
            self._phase, self._since = Phase.IDLE, self.loop.time()
        else:
            self.transport.close()


def lane_protocol(plane: DataPlane, limits: ClientLimits) -> Callable[..., LaneProtocol]:
    """Return what uvicorn calls for each connection."""
    return partial(LaneProtocol, plane, limits)
