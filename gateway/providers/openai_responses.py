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
from gateway.providers.openai import HOLD_BYTES, event_failure
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


class ResponsesStream:
    """The tap on a stream of typed events. It holds them until the first content, then passes them on as they come."""

    def __init__(self) -> None:
        self._splitter = sse.EventSplitter()
        self._held = b""
        self.content_bytes = 0
        self.committed = False
        self.finished = False
        self.failure: Failure | None = None
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes; return the bytes for the client."""
        if self.finished or self.failure is not None:
            return b""
        try:
            block = self._splitter.feed(data)
        except sse.EventTooLarge:
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that is too large.")
            return b""
        if not self.committed or _SPECIAL.search(block) is not None:
            block = self._walk(block)
        elif block:
            self._count(block)
        if self.committed or self.failure is not None:
            held, self._held = self._held, b""
            return held + block if self.committed else b""
        self._held += block
        if len(self._held) >= HOLD_BYTES:
            self.committed = True
            held, self._held = self._held, b""
            return held
        return b""

    def end(self) -> Failure | None:
        """Say what is wrong with a body that ended here."""
        if self.failure is not None or self.finished:
            return self.failure
        what = "in mid-answer" if self.committed else "before any content"
        return Failure(FailureKind.TRUNCATED, f"The provider's stream ended {what}, without its end marker.")

    def _walk(self, block: bytes) -> bytes:
        passed = []
        for event in sse.events(block):
            if not self._take(sse.data_of(event)):
                break
            passed.append(event)
            if self.finished:
                break
        return b"".join(passed)

    def _take(self, data: bytes) -> bool:
        """Note what an event says; return whether the client shall have it."""
        if not data:
            return True
        try:
            event = _decode_event(data)
        except (msgspec.DecodeError, RecursionError):
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that its API does not describe.")
            return False
        if event.type == "error" or event.error:
            self.failure = event_failure(event.error or {"message": event.message, "code": event.code})
            return False
        if event.type == "response.failed":
            self.failure = event_failure(event.response.error if event.response else None)
            return False
        if event.type in _ENDS:
            self.usage = _usage(event.response.usage) if event.response else None
            self.committed = self.finished = True
        elif event.type.endswith(".delta"):
            self.committed = True
            self._count(data)
        return True

    def _count(self, block: bytes) -> None:
        self.content_bytes += sum(map(len, _TEXT.findall(block)))
