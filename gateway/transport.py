"""The data plane's HTTP/1.1 client: pooled connections, checked addresses, absolute deadlines.

It speaks to upstreams over TCP, TLS or a Unix socket, on callbacks and httptools alone: a request on a warm connection
costs no task, no timer and no stream object. It follows no redirects and knows no proxies, so that what
`gateway.egress` has checked is what gets dialled.

    response = await transport.send(origin, head, body, first_byte_by=loop.time() + 30)
    try:
        while piece := await response.chunk(by=loop.time() + 30): ...
    finally:
        response.close()
"""

import asyncio
import socket
import ssl

from gateway.connection import Connection
from gateway.egress import Allowance, resolve
from gateway.exchange import Response
from gateway.origin import Origin, encode_head, parse_base_url
from gateway.transport_errors import (
    AddressRefused,
    BadResponse,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimedOut,
    ReadTimedOut,
    TransportError,
)

__all__ = [
    "AddressRefused",
    "BadResponse",
    "ConnectFailed",
    "ConnectTimedOut",
    "ConnectionBroken",
    "Origin",
    "ReadTimedOut",
    "Response",
    "Transport",
    "TransportError",
    "encode_head",
    "parse_base_url",
]


class Transport:
    """Sends requests and keeps the connections. One per event loop; `max_idle` counts per origin."""

    def __init__(
        self,
        *,
        allowance: Allowance,
        connect_timeout_seconds: float = 5.0,
        idle_seconds: float = 30.0,
        max_idle: int = 1000,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allowance = allowance
        self._connect_timeout_seconds = connect_timeout_seconds
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._ssl_context = ssl_context
        # Dicts as ordered sets: the newest is taken, the oldest expires, any may vanish, all in constant time.
        self._idle: dict[Origin, dict[Connection, None]] = {}
        self._open: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def open_connections(self) -> int:
        """Connections in use and idle."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        return sum(map(len, self._idle.values()))

    async def send(self, origin: Origin, head: bytes, body: bytes, *, first_byte_by: float) -> Response:
        """Send a request whose complete head is `head` (see encode_head); return when the response's headers are here.

        `first_byte_by` is in loop time and covers connecting too. Raises TransportError. If the calling task is
        cancelled, the connection is closed.
        """
        if self._closed:
            raise RuntimeError("The transport is closed.")
        message = head + body if body else head
        head_only = head.startswith(b"HEAD ")
        connection = self._take(origin)
        if connection is not None:
            try:
                return await Response(connection, head_only=head_only).exchange(message, by=first_byte_by)
            except ConnectionBroken as broken:
                # A server may close an idle connection at the moment we send on it. Not one byte of an answer came, so
                # it most likely never read the request, and RFC 9112 section 9.3.1 allows another try. A connection
                # made for this very request was not idle: there the upstream saw it and died, which the caller counts.
                if broken.response_started:
                    raise
        connection = await self._connect(origin, first_byte_by)
        return await Response(connection, head_only=head_only).exchange(message, by=first_byte_by)

    async def close(self) -> None:
        """Close the idle connections; those in use close with their responses."""
        self._closed = True
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.abort()
        for connection in list(self._open):
            if connection.response is None or connection.response.released:
                connection.abort()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        await asyncio.sleep(0)  # lets the loop close the sockets before it may be closed itself

    # --- the pool

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        if not idle:
            return None
        too_old = asyncio.get_running_loop().time() - self._idle_seconds
        while idle:
            connection, _ = idle.popitem()
            if connection.usable and connection.idle_since > too_old:
                return connection
            connection.abort()
        return None

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next request; called by the connection when its response was read to the end."""
        loop = self._loop
        idle = self._idle.setdefault(connection.origin, {})
        if self._closed or loop is None or len(idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_since = loop.time()
        idle[connection] = None
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(self._idle_seconds, self._sweep)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed; called by the connection, maybe more than once."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None:
            idle.pop(connection, None)

    def _sweep(self) -> None:
        """Close what has been idle too long, and come back when the next is due."""
        assert self._loop is not None
        self._sweep_timer = None
        too_old = self._loop.time() - self._idle_seconds
        next_expiry = self._loop.time() + self._idle_seconds
        for origin, idle in list(self._idle.items()):
            for connection in list(idle):
                if connection.idle_since > too_old:
                    # Released in order: this is the oldest that stays.
                    next_expiry = min(next_expiry, connection.idle_since + self._idle_seconds)
                    break
                connection.abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            self._sweep_timer = self._loop.call_at(next_expiry, self._sweep)

    # --- dialling

    async def _connect(self, origin: Origin, by: float) -> Connection:
        loop = self._loop = asyncio.get_running_loop()
        deadline = min(loop.time() + self._connect_timeout_seconds, by)
        try:
            # Only on this cold path: asyncio.timeout is the one construct that also survives an outer cancellation.
            async with asyncio.timeout_at(deadline):
                if origin.scheme == "unix":
                    return await self._dial(origin, None, loop)
                addresses = await resolve(origin.host, origin.port, self._allowance)
                return await self._dial_in_turn(origin, addresses, deadline, loop)
        except TimeoutError:
            raise ConnectTimedOut("Connecting to the upstream took too long.") from None
        except ssl.SSLError as error:
            # Its text may name the host; the reason is a constant such as CERTIFICATE_VERIFY_FAILED.
            raise ConnectFailed(f"The TLS handshake failed: {error.reason}.") from error
        except (socket.gaierror, UnicodeError) as error:  # UnicodeError: not even the form of a name
            raise ConnectFailed("The upstream's name could not be resolved.") from error
        except OSError as error:
            raise ConnectFailed(f"The upstream took no connection: {type(error).__name__}.") from error

    async def _dial_in_turn(
        self, origin: Origin, addresses: list[str], deadline: float, loop: asyncio.AbstractEventLoop
    ) -> Connection:
        for position, address in enumerate(addresses[:-1]):
            # A black hole must leave time for those behind it.
            share = (deadline - loop.time()) / (len(addresses) - position)
            try:
                async with asyncio.timeout(share):
                    return await self._dial(origin, address, loop)
            except ssl.SSLError:
                raise
            except OSError:
                continue
        return await self._dial(origin, addresses[-1], loop)

    async def _dial(self, origin: Origin, address: str | None, loop: asyncio.AbstractEventLoop) -> Connection:
        connection = Connection(self, origin, loop)
        try:
            if address is None:
                await loop.create_unix_connection(lambda: connection, origin.host)
            elif origin.scheme == "https":
                await loop.create_connection(
                    lambda: connection, address, origin.port, ssl=self._tls(), server_hostname=origin.host
                )
            else:
                await loop.create_connection(lambda: connection, address, origin.port)
        except BaseException:
            # Whatever the loop had opened so far must not outlive a timeout or a cancelled request.
            connection.abort()
            raise
        self._open.add(connection)
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context
