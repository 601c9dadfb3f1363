"""What a runtime process does with a path that is not the data plane's: hand it to the console process.

One port serves both roles on one machine. The console listens on a Unix socket (`NEXUS_CONSOLE_SOCKET`); a busy page, a
crash or a restart of the console never touches the gateway. Where no console is given, such paths are unknown.
"""

import asyncio

from gateway.door import ClientGone, Receive, Scope, Send, read_body
from gateway.origin import Origin
from gateway.transport import Response, Transport
from gateway.transport_errors import TransportError
from nexus.errors import BodyTooLarge

ANSWER_SECONDS = 60.0
MAX_BODY_BYTES = 12 * 1024 * 1024
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection", b"expect")
)
_DROPPED = _HOP_BY_HOP | {b"content-length", b"accept-encoding", b"x-forwarded-for", b"x-forwarded-host"}


class ConsoleFront:
    """ASGI application that forwards to the console and streams its answer back."""

    def __init__(self, socket_path: str, transport: Transport) -> None:
        self._origin = Origin("unix", socket_path, 0)
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, MAX_BODY_BYTES)
        except BodyTooLarge:
            await _plain(send, 413, b"The request is too large.\n")
            return
        except ClientGone:
            return
        head = _head(scope, len(body))
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            response = await self._transport.send(self._origin, head, body, first_byte_by=deadline)
        except TransportError:
            await _plain(send, 503, b"The console is starting or restarting. The gateway is not affected. Try again.\n")
            return
        try:
            await self._relay(response, send)
        finally:
            response.close()

    async def _relay(self, response: Response, send: Send) -> None:
        headers = [(name, value) for name, value in response.headers if name not in _HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        loop = asyncio.get_running_loop()
        while data := await response.chunk(by=loop.time() + ANSWER_SECONDS):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _head(scope: Scope, body_length: int) -> bytes:
    """Return the request's head for the console: the client's own Host and headers, parsed and so free of line breaks.

    X-Forwarded-For says who connected to us, and nothing that the client says of itself.
    """
    query = scope.get("query_string", b"")
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), path + b"?" + query if query else path)]
    lines += [name + b": " + value for name, value in scope["headers"] if name not in _DROPPED]
    if client := scope.get("client"):
        lines.append(b"x-forwarded-for: " + client[0].encode())
    lines.append(b"content-length: %d" % body_length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _plain(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
