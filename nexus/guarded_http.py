"""uvicorn's HTTP/1.1 protocol with the limits that it lacks: how long a client may take, and how much it may send.

uvicorn closes a connection that is idle between requests, and nothing else: a request whose head never ends, or whose
body comes a byte a minute, would hold its connection for ever. Here one sweep a second looks at every connection, so
that a request pays for these limits with a few attribute writes and no timer.
"""

import asyncio
import json
from enum import IntEnum
from http import HTTPStatus
from typing import Any, ClassVar, cast, override

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from nexus.errors import BadRequestHead, NexusError, RequestTimeout, UnsupportedEncoding
from nexus.ids import uuid7_text

HEAD_SECONDS = 15.0  # from a connection's or request's first moment to the end of its head
BODY_SECONDS = 15.0  # for a body, beside the time that the slowest acceptable line takes
BODY_BYTES_PER_SECOND = 16 * 1024  # the slowest acceptable line
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
SWEEP_SECONDS = 1.0
LINGER_SECONDS = 2.0
MAX_DISCARDED_BYTES = 32 * 1024 * 1024
PLAIN_ENCODINGS = frozenset((b"", b"identity"))


class Phase(IntEnum):
    """What a connection waits for."""

    HEAD = 0  # the request's head, its first byte included where the connection is new
    BODY = 1
    ANSWER = 2  # ours to end
    IDLE = 3  # between requests


class GuardedHttpProtocol(HttpToolsProtocol):
    """Serves one connection. Answers of its own are errors, after which the connection closes."""

    _sweep_timer: ClassVar[asyncio.TimerHandle | None] = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._phase = Phase.HEAD
        self._since = self.loop.time()
        self._head_bytes = 0
        self._body_bytes = 0
        self._deaf = False  # what comes in is no request any more
        self._discarded_bytes = 0

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
        if self._phase is Phase.IDLE:
            self._phase, self._since, self._head_bytes = Phase.HEAD, self.loop.time(), 0
        if self._phase is Phase.HEAD:
            self._head_bytes += len(data)
            self._parse(data)
            if self._phase is Phase.HEAD and self._head_bytes > MAX_HEAD_BYTES:
                self.refuse(BadRequestHead("The head of the request is larger than 64 KiB."))
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.refuse(BadRequestHead("The request is not valid HTTP/1.1."))
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as if no upgrade had been asked for, as RFC 9110, section 7.8 allows

    # --- called by the parser

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect":
            self.expect_100_continue = value.strip().lower() == b"100-continue"

    @override
    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        self.head_is_complete()
        fault = self.head_fault()
        if fault is None:
            super().on_headers_complete()
        else:
            self.refuse(fault)

    def head_is_complete(self) -> None:
        """From now on the connection waits for a body."""
        self._phase, self._since, self._body_bytes = Phase.BODY, self.loop.time(), 0

    def head_fault(self) -> NexusError | None:
        """Return what is wrong with the headers, None for good ones."""
        if len(self.headers) > MAX_HEADERS:
            return BadRequestHead(f"The request has more than {MAX_HEADERS} headers.")
        for name, value in self.headers:
            if name == b"content-encoding" and value.strip().lower() not in PLAIN_ENCODINGS:
                return UnsupportedEncoding(value)
        return None

    @override
    def on_body(self, body: bytes) -> None:
        if not self._deaf:
            self._body_bytes += len(body)
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self._deaf:
            self._phase = Phase.ANSWER
            super().on_message_complete()

    # --- called by the response

    @override
    def on_response_complete(self) -> None:
        if self._phase is Phase.BODY:
            self.close_gently()  # answered before its body was whole: the rest would be taken for a request
        self._phase, self._since = Phase.IDLE, self.loop.time()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the sweep closes idle connections

    def refuse(self, error: NexusError) -> None:
        """Answer with an error and close: what follows on this connection is not read any more."""
        if self._deaf or self.transport.is_closing():
            return
        body = json.dumps(error.body(uuid7_text())).encode()
        phrase = HTTPStatus(error.status).phrase
        head = f"HTTP/1.1 {error.status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.close_gently()

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
            return waited > HEAD_SECONDS
        if self._phase is Phase.BODY:
            return waited > BODY_SECONDS + self._body_bytes / BODY_BYTES_PER_SECOND
        return self._phase is Phase.IDLE and waited > self.timeout_keep_alive

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
