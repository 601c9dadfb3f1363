"""The data plane as Django views: the runtime door's twin, for any host that serves Django over ASGI.

Same pipeline, same answers, same records; slower by Django's handler. One test suite runs over both doors.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from gateway.completions import Call
from gateway.door import header_pairs, metrics_answer, small_answer
from gateway.plane import data_plane
from gateway.relay import Reply
from gateway.request_head import RequestHead, read_head
from gateway.schema import Endpoint
from nexus.errors import BodyTooLarge
from nexus.http import client_ip


class EventStream(StreamingHttpResponse):
    """A streaming response that reads an AnswerStream and closes it on every way out.

    Django iterates what `__aiter__` returns and calls `close()` when the response is over, also when the client left
    while Django was sending; a generator's `finally` alone is not reached then.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(status=reply.status)
        self._reply = reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._blocks()

    async def _blocks(self) -> AsyncIterator[bytes]:
        stream = self._reply.stream
        assert stream is not None
        while block := await stream.next():
            yield block

    def close(self) -> None:
        self._reply.abandon()
        super().close()


def _headers(request: HttpRequest) -> list[tuple[bytes, bytes]]:
    if isinstance(request, ASGIRequest):
        return list(request.scope["headers"])  # one by one: Django makes one of those that came twice
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in request.headers.items()]


def _head(request: HttpRequest) -> RequestHead:
    return read_head(_headers(request), max_body_bytes=settings.NEXUS_MAX_BODY_BYTES)


async def _read_body(request: HttpRequest) -> bytes:
    # Django's ASGI handler has received it already; `request.body` would apply the limit of the console's forms.
    body: bytes = request.read(settings.NEXUS_MAX_BODY_BYTES + 1)
    if len(body) > settings.NEXUS_MAX_BODY_BYTES:
        raise BodyTooLarge(settings.NEXUS_MAX_BODY_BYTES)
    return body


@csrf_exempt
async def model_request(request: HttpRequest, endpoint: Endpoint) -> HttpResponseBase:
    """Answer a chat completion, completion or embedding. A client that leaves cancels this view."""
    plane = data_plane()
    await plane.start()
    head = _head(request)
    if request.method != "POST":
        return _whole(small_answer(plane, request.method or "", request.path, head.authorization))
    reply = await plane.pipeline.complete(Call(endpoint, head, partial(_read_body, request)))
    if reply.stream is not None:
        _abandon_at_the_end(reply)
    return _response(reply)


def _abandon_at_the_end(reply: Reply) -> None:
    """Close a reply's stream with the task that serves the request, whatever became of the response.

    Where a client leaves while the response is on its way through the middleware, Django forgets it and closes
    nothing: the provider would go on, unread, and no record be written. All our middleware is asynchronous, so the view
    runs in the task that sends the response too.
    """
    task = asyncio.current_task()
    assert task is not None
    task.add_done_callback(lambda _: reply.abandon())


@csrf_exempt
async def small_request(request: HttpRequest) -> HttpResponse:
    """Answer the model list and the probes."""
    plane = data_plane()
    await plane.start()
    return _whole(small_answer(plane, request.method or "GET", request.path, _head(request).authorization))


@csrf_exempt
async def metrics_request(request: HttpRequest) -> HttpResponse:
    """Answer /metrics."""
    if request.method not in ("GET", "HEAD"):
        return await small_request(request)
    plane = data_plane()
    await plane.start()
    return _whole(await metrics_answer(plane, _headers(request), client_ip(request)))


def _response(reply: Reply) -> HttpResponseBase:
    if reply.stream is None:
        if reply.outcome is not None:
            reply.outcome.close(reply.status)
        return _whole(reply)
    return _with_headers(EventStream(reply), reply)


def _whole(reply: Reply) -> HttpResponse:
    return _with_headers(HttpResponse(reply.body, status=reply.status), reply)


def _with_headers[Response: HttpResponseBase](response: Response, reply: Reply) -> Response:
    for name, value in header_pairs(reply.head):
        response.headers[name.decode()] = value.decode("latin-1")
    return response
