"""OpenAI's Responses API where the provider speaks it itself: all of it passes through, a tap reads what must be known.

Wire facts: https://platform.openai.com/docs/api-reference/responses-streaming. A stream ends with
`response.completed` or `response.incomplete`, which hold the usage; `response.failed` and `error` are failures.
"""

import re
from dataclasses import replace
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.providers.base import Adapter, Completion, Failure, FailureKind, StreamDecoder
from gateway.providers.openai_errors import event_failure
from gateway.providers.tapped_stream import TappedStream
from gateway.schema import Endpoint, ModelRequest


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Response(msgspec.Struct):
    status: str
    usage: _Usage | None = None
    error: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    response: _Response | None = None
    error: Any = None
    message: str | None = None
    code: str | None = None


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_ENDS = ("response.completed", "response.incomplete")
# Of events that may be more than content the type stands in the data, whatever else does.
_SPECIAL = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"|"error"\s*:\s*[^n\s]')
_TEXT = re.compile(rb'"delta"\s*:\s*"((?:[^"\\]|\\.)*)"')


def with_responses(adapter: Adapter) -> Adapter:
    """Return the adapter of a family that speaks the Responses API as well."""

    def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
        return _parse(body) if request.endpoint is Endpoint.RESPONSES else adapter.parse_response(request, body)

    def stream_decoder(request: ModelRequest) -> StreamDecoder:
        return ResponsesStream() if request.endpoint is Endpoint.RESPONSES else adapter.stream_decoder(request)

    return replace(
        adapter,
        parse_response=parse_response,
        stream_decoder=stream_decoder,
        speaks=adapter.speaks | {Endpoint.RESPONSES},
    )


def _parse(body: bytes) -> Completion | Failure:
    try:
        response = _decode_response(body)
    except (msgspec.DecodeError, RecursionError):
        return Failure(FailureKind.PROTOCOL, "The provider answered 200 with a body that is not a response.")
    if response.status == "failed":
        return event_failure(response.error)
    return Completion(body, _usage(response.usage))


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    read, written = usage.input_tokens_details, usage.output_tokens_details
    return Usage(
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cached_tokens=(read.cached_tokens if read else 0) or 0,
        cache_write_tokens=(read.cache_write_tokens if read else 0) or 0,
        reasoning_tokens=(written.reasoning_tokens if written else 0) or 0,
    )


class ResponsesStream(TappedStream):
    """The tap on a stream of typed events."""

    def is_content(self, block: bytes) -> bool:
        if _SPECIAL.search(block) is not None:
            return False
        self._count(block)
        return True

    def take(self, event: bytes) -> bool:
        data = sse.data_of(event)
        if not data:
            return True
        try:
            told = _decode_event(data)
        except (msgspec.DecodeError, RecursionError):
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that its API does not describe.")
            return False
        if told.type == "error" or told.error:
            self.failure = event_failure(told.error or {"message": told.message, "code": told.code})
            return False
        if told.type == "response.failed":
            self.failure = event_failure(told.response.error if told.response else None)
            return False
        if told.type in _ENDS:
            self.usage = _usage(told.response.usage) if told.response else None
            self.committed = self.finished = True
        elif told.type.endswith(".delta"):
            self.committed = True
            self._count(data)
        return True

    def _count(self, block: bytes) -> None:
        self.content_bytes += sum(map(len, _TEXT.findall(block)))
