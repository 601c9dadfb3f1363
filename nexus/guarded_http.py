"""uvicorn's HTTP/1.1 protocol with the limits that it lacks: how long a client may take, and how much it may send.

uvicorn closes a connection that is idle between requests, and nothing else: a request whose head never ends, or whose
body comes a byte a minute, would hold its connection for ever. Here one sweep a second looks at every connection, so
that a request pays for these limits with a few attribute writes and no timer.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, cast, override

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nexus.errors import (
    BadRequestHead,
    BodyTooLarge,
    HeadTooLarge,
    MethodNotAllowed,
    NexusError,
    RequestTimeout,
    ServiceStopping,
    UnsupportedEncoding,
)
from nexus.ids import uuid7_text

SWEEP_SECONDS = 1.0
LINGER_SECONDS = 2.0
QUIET_SECONDS = 2.0  # without a request, after which a stopping process closes a connection
MAX_DISCARDED_BYTES = 32 * 1024 * 1024
FRAMING_PER_BODY_BYTE = 8  # a chunk of one byte needs six around it
PLAIN_ENCODINGS = frozenset((b"", b"identity"))
_WATCHED = frozenset((b"host", b"content-encoding", b"content-length", b"transfer-encoding"))


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How long a client may take, and how much it may send."""

    body_bytes: int
    seconds: float = 15.0  # for a head from its first moment, and for a body beside what the slowest line takes
    body_bytes_per_second: int = 16 * 1024  # the slowest acceptable line
    head_bytes: int = 64 * 1024
    headers: int = 200


class Phase(IntEnum):
    """What a connection waits for."""

    HEAD = 0  # the request's head, its first byte included where the connection is new
    BODY = 1
    ANSWER = 2  # ours to end
    IDLE = 3  # between requests


class GuardedHttpProtocol(HttpToolsProtocol):
    """Serves one connection. Answers of its own are errors, after which the connection closes."""

    _sweep_timer: ClassVar[asyncio.TimerHandle | None] = None

    def __init__(self, limits: ClientLimits, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._limits = limits
        self._phase = Phase.HEAD
        self._since = self.loop.time()
        self._head_bytes = 0  # received that may belong to a head
        self._body_bytes = 0
        self._framing_bytes = 0  # received since the head, the body included
        self._in_head = False
        self._deaf = False  # what comes in is no request any more
        self._discarded_bytes = 0
        self._drained_at: float | None = None

    # --- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if GuardedHttpProtocol._sweep_timer is None:
            GuardedHttpProtocol._sweep_timer = self.loop.call_later(SWEEP_SECONDS, _sweep, self.loop, self.connections)

    @override
    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discard(data)
            return
        phase = self._phase
        if phase is Phase.BODY:
            self._framing_bytes += len(data)
            self._parse(data)
            self._check_framing()
            return
        if phase is Phase.IDLE:
            self._phase, self._since, self._head_bytes = Phase.HEAD, self.loop.time(), 0
        # While an answer is under way, what comes is the head of a request that waits for its turn.
        self._head_bytes += len(data)
        self._parse(data)
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self.refuse(HeadTooLarge(self._limits.head_bytes))

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.refuse(BadRequestHead("The request is not valid HTTP/1.1."))
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])

    def _without_upgrade(self, rest: bytes) -> None:
        """Read a request as if it had not asked for an upgrade, as RFC 9110, section 7.8 allows.

        The parser takes what follows such a head for another protocol. It is a body or the next request.
        """
        if self.parser.get_method() == b"CONNECT":
            self.refuse(MethodNotAllowed("This is no proxy.", headers={"allow": "GET, HEAD, POST"}))
            return
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] not in (b"upgrade", b"connection")]
        version = self.parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(lines))
        self.parser = httptools.HttpRequestParser(self)
        self._parse(head + rest)

    def _check_framing(self) -> None:
        """Refuse a body that is hardly more than chunk extensions or trailers, which nothing else bounds."""
        if self._phase is Phase.BODY:
            most = self._body_bytes * (FRAMING_PER_BODY_BYTE + 1) + self._limits.head_bytes
            if self._framing_bytes > most:
                self.refuse(BadRequestHead("The chunks of the body carry far more framing than content."))

    # --- called by the parser

    @override
    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nobody here reads one, and it must not pass for a header
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect":
            self.expect_100_continue = value.strip().lower() == b"100-continue"

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf or self.parser.should_upgrade():
            return  # the latter comes again, without the wish for an upgrade
        fault = self.head_fault()
        if fault is None:
            super().on_headers_complete()
            self.head_is_complete()
            if self._drained_at is not None:
                self.cycle.keep_alive = False
        else:
            self.refuse(fault)

    def head_is_complete(self) -> None:
        """From now on the connection waits for a body."""
        self._phase, self._since, self._body_bytes, self._framing_bytes = Phase.BODY, self.loop.time(), 0, 0

    def head_fault(self) -> NexusError | None:
        """Return what is wrong with the head, None for a good one."""
        limits, version, hosts = self._limits, self.parser.get_http_version(), 0
        if len(self.headers) > limits.headers:
            return HeadTooLarge(limits.head_bytes, f"The request has more than {limits.headers} headers.")
        if self._head_bytes > limits.head_bytes and self._size_of_head() > limits.head_bytes:
            return HeadTooLarge(limits.head_bytes)
        for name, value in self.headers:
            if name not in _WATCHED:
                continue
            if name == b"host":
                hosts += 1
            elif name == b"content-encoding":
                if value.strip().lower() not in PLAIN_ENCODINGS:
                    return UnsupportedEncoding(value)
            elif name == b"content-length":
                if int(value) > limits.body_bytes:
                    return BodyTooLarge(limits.body_bytes)
            elif value.strip().lower() != b"chunked" or version != "1.1":
                return BadRequestHead("The transfer encoding must be `chunked`, in HTTP/1.1.")
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return BadRequestHead("A request has exactly one Host header.")
        return None if version in ("1.1", "1.0") else BadRequestHead("The request is not HTTP/1.1.")

    def _size_of_head(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])

    @override
    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self.refuse(BodyTooLarge(self._limits.body_bytes))
        else:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self._deaf and not self.parser.should_upgrade():
            self._phase, self._head_bytes = Phase.ANSWER, 0
            super().on_message_complete()

    # --- called by the response

    @override
    def on_response_complete(self) -> None:
        waiting = bool(self.pipeline)  # a request that came while this one was answered: its turn has come
        if not waiting and (self._deaf or self._phase is Phase.BODY):
            self.close_gently()  # answered before its body was whole: the rest would be taken for a request
        if not waiting:
            self._phase = Phase.IDLE
        self._since = self.loop.time()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the sweep closes idle connections

    def refuse(self, error: NexusError) -> None:
        """Answer with an error and close: what follows on this connection is not read any more.

        While the answer to an earlier request is under way, that one is finished, and nothing is said in between.
        """
        if self._deaf or self.transport.is_closing():
            return
        if self._answering():
            self._deaf = True
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # whatever the application would still say
            self.cycle.message_event.set()
        body = json.dumps(error.body(uuid7_text())).encode()
        phrase = HTTPStatus(error.status).phrase
        head = f"HTTP/1.1 {error.status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        head += "".join([f"{name}: {value}\r\n" for name, value in error.headers.items()])
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.close_gently()

    def _answering(self) -> bool:
        """Whether an answer is under way that must not be spoilt. Forgets a waiting request that is not whole."""
        cycle = self.cycle
        if self.pipeline:
            if cycle.more_body:
                self.pipeline.popleft()
            return True
        unfinished = cycle is not None and not cycle.response_complete
        return unfinished and (cycle.response_started or not cycle.more_body)

    def close_gently(self) -> None:
        """Close after an answer that came before the end of its request.

        A socket that is closed with bytes unread is reset, which can take the answer from a client that is still
        sending. So our side ends, and what the client sends is dropped for a moment.
        """
        self._deaf = True
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _discard(self, data: bytes) -> None:
        self._discarded_bytes += len(data)
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.transport.abort()

    # --- time limits

    def overdue(self, now: float) -> bool:
        """Whether the client has taken longer than it may for what the connection waits for."""
        waited = now - self._since
        if self._deaf:
            return False
        if self._phase is Phase.HEAD:
            return waited > self._limits.seconds
        if self._phase is Phase.BODY:
            seconds = self._limits.seconds + self._body_bytes / self._limits.body_bytes_per_second
            return waited > seconds and not self.pipeline  # one that waits for its turn is not read meanwhile
        return self._phase is Phase.IDLE and waited > self.timeout_keep_alive

    # --- the end of the process

    def drain(self, now: float) -> None:
        """Called by a stopping server, again and again: what runs is the last, and a quiet connection is closed.

        Quiet is not closed at once: a request may be on its way, and a client in the middle of its work will send one
        soon, whose answer tells it to go elsewhere.
        """
        if self._drained_at is None:
            self._drained_at = now
            self.make_last()
        elif self.waits_for_request and now - max(self._since, self._drained_at) > QUIET_SECONDS:
            self.close_gently()

    @property
    def waits_for_request(self) -> bool:
        """Whether not a byte of a request has come since the last answer."""
        return not self._deaf and (self._phase is Phase.IDLE or (self._phase is Phase.HEAD and self._head_bytes == 0))

    def make_last(self) -> None:
        """Close the connection after the answer to what runs now."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def give_notice(self) -> None:
        """Answer a request that is not here to its end by the end of the process."""
        if self.waits_for_request:
            self.close_gently()
        elif self._phase in (Phase.HEAD, Phase.BODY):
            self.refuse(ServiceStopping())

    def give_up(self) -> None:
        """End a connection that is overdue."""
        if self._phase is Phase.IDLE or self._head_bytes == 0:
            self.transport.close()  # nobody waits for an answer
        else:
            self.refuse(RequestTimeout("The request did not arrive in time. Send it again, without pauses."))


def _sweep(loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
    now = loop.time()
    for connection in [each for each in connections if each.overdue(now)]:
        connection.give_up()
    GuardedHttpProtocol._sweep_timer = loop.call_later(SWEEP_SECONDS, _sweep, loop, connections)


def guarded_protocol(limits: ClientLimits) -> Callable[..., GuardedHttpProtocol]:
    """Return what uvicorn calls for each connection."""
    return partial(GuardedHttpProtocol, limits)
