"""The runtime door: a bare ASGI callable in front of Django for the data plane's paths.

Django's handler costs 800 µs and a thread per request; this costs a few. It speaks plain ASGI 3 and runs under any ASGI
server. It closes the upstream and leaves one record on every way out: end, error, client gone while waiting, while
sending, or before the first byte.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from typing import Any

from gateway.completions import Call, Pipeline, authenticate
from gateway.metrics_page import METRICS_PATH
from gateway.outcome import Outcome
from gateway.plane import DataPlane
from gateway.relay import Reply, error_reply, json_reply
from gateway.request_head import read_head
from gateway.schema import Endpoint
from gateway.served_models import list_models, show_model
from nexus.errors import BodyTooLarge, MethodNotAllowed, NexusError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WATCH_AFTER_SECONDS = 0.05
RECORD_FIRST_BYTES = 64 * 1024
ENDPOINTS = {f"/v1/{endpoint.value}": endpoint for endpoint in Endpoint}
_MODELS = "/v1/models"
_OPERATORS = ("/healthz", "/readyz", METRICS_PATH)
_FRESH = {"cache-control": "no-store"}


class ClientGone(asyncio.CancelledError):
    """The client hung up before its request was whole: nobody is left to answer."""


def is_data_plane(path: str) -> bool:
    """Whether the door answers a path itself."""
    return path in ENDPOINTS or path == _MODELS or path.startswith("/v1/models/") or path in _OPERATORS


def small_answer(plane: DataPlane, method: str, path: str, authorization: bytes) -> Reply:
    """Answer what needs no provider: the model list, the probes, and wrong methods."""
    outcome = Outcome("", plane.spool)
    try:
        if path in ENDPOINTS or method not in ("GET", "HEAD"):
            allowed = "POST" if path in ENDPOINTS else "GET, HEAD"
            raise MethodNotAllowed(f"This path answers {allowed} only.", headers={"allow": allowed})
        if path == "/healthz":
            return json_reply(200, {"status": "ok"}, outcome, _FRESH)
        if path == "/readyz":
            health = plane.health()
            ready = health["configuration"]["ok"] and not plane.draining
            body = {"status": "stopping" if plane.draining else "ready" if ready else "not ready", "checks": health}
            return json_reply(200 if ready else 503, body, outcome, _FRESH)
        caller = authenticate(plane.snapshots.current, authorization)
        if path == _MODELS:
            return json_reply(200, list_models(caller), outcome, _FRESH)
        return json_reply(200, show_model(caller, path[len(_MODELS) + 1 :]), outcome, _FRESH)
    except NexusError as error:
        return error_reply(error, outcome)


async def metrics_answer(plane: DataPlane, headers: Iterable[tuple[bytes, bytes]], client: str | None) -> Reply:
    """Answer /metrics."""
    outcome = Outcome("", plane.spool)
    try:
        content_type, body = await plane.metrics.render(headers, client)
    except NexusError as error:
        return error_reply(error, outcome)
    head = f"content-type: {content_type}\r\ncache-control: no-store\r\nx-request-id: {outcome.id}\r\n"
    return Reply(200, head.encode(), body)


class RuntimeDoor:
    """ASGI application for the data plane's paths."""

    def __init__(self, plane: DataPlane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._pipeline: Pipeline = plane.pipeline
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._plane.started:
            await self._plane.start()
        endpoint = ENDPOINTS.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST":
            await self._serve(endpoint, scope, receive, send)
            return
        if scope["path"] == METRICS_PATH and scope["method"] in ("GET", "HEAD"):
            client = scope.get("client")
            reply = await metrics_answer(self._plane, scope["headers"], client[0] if client else None)
            await _deliver(reply, send, head_only=scope["method"] == "HEAD")
            return
        head = read_head(scope["headers"], max_body_bytes=self._max_body_bytes)
        reply = small_answer(self._plane, scope["method"], scope["path"], head.authorization)
        await _deliver(reply, send, head_only=scope["method"] == "HEAD")

    async def _serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"], max_body_bytes=self._max_body_bytes)
        watch = _HangUpWatch(receive)
        call = Call(endpoint, head, partial(self._body, watch))
        reply: Reply | None = None
        try:
            reply = await self._pipeline.complete(call)
            await _deliver(reply, send)
        except asyncio.CancelledError:
            if not watch.hung_up:
                raise  # the server is stopping, not the client leaving
        finally:
            watch.stop()
            if reply is not None:
                reply.abandon()

    async def _body(self, watch: "_HangUpWatch") -> bytes:
        body = await read_body(watch.receive, self._max_body_bytes)
        watch.start()
        return body


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the whole request body. Raises BodyTooLarge past `limit` bytes, ClientGone if the client hung up."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body"):
            return part if len(parts) == 1 else b"".join(parts)


class _HangUpWatch:
    """Cancels the request's task when its client hangs up.

    The watch begins a moment after the body has come: most failures and short answers are over by then, and a hang-up
    is still noticed within a tenth of a second.
    """

    __slots__ = ("_receive", "_task", "_timer", "_watcher", "hung_up")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.hung_up = False

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self.hung_up = message["type"] == "http.disconnect"
        return message

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.hung_up = True
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()


async def _deliver(reply: Reply, send: Send, *, head_only: bool = False) -> None:
    """Send a reply, and see to it that its record is written before the client can hold the whole answer."""
    headers = header_pairs(reply.head)
    if reply.stream is None:
        if reply.outcome is not None and len(reply.body) <= RECORD_FIRST_BYTES:
            reply.outcome.close(reply.status)
        headers.append((b"content-length", b"%d" % len(reply.body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head_only else reply.body})
        if reply.outcome is not None:
            reply.outcome.close(reply.status)
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    stream = reply.stream
    while block := await stream.next():
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def header_pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return a reply's headers one by one, as ASGI and Django want them."""
    pairs = [line.partition(b": ") for line in head.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in pairs]
