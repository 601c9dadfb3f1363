"""Any provider family answers in any client's API: the request goes to it as chat, and its chat comes back translated.

A family that speaks the API itself says so (`Adapter.speaks`), and is left alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.dialects.dialect import Dialect, StreamWriter
from gateway.providers.answers import FinishReason, Said
from gateway.providers.base import (
    Adapter,
    Completion,
    Failure,
    FailureKind,
    StreamDecoder,
    Target,
    UpstreamRequest,
)
from gateway.providers.chat import ToolCall
from gateway.schema import Endpoint, ModelRequest


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)
    extra_content: dict[str, Any] | None = None


class _Words(msgspec.Struct):
    """A message, or the part of one that a chunk brings."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # OpenRouter's and vLLM's word for it
    reasoning_details: list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Words | None = None
    delta: _Words | None = None
    finish_reason: str | None = None


class _Chat(msgspec.Struct):
    """A completion, or a chunk of one."""

    id: str = ""
    model: str = ""
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Chat).decode
_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def by_chat(adapter: Adapter, dialects: Mapping[Endpoint, Dialect]) -> Adapter:
    """Return the adapter with those dialects that its family does not speak itself."""
    foreign = {endpoint: dialect for endpoint, dialect in dialects.items() if endpoint not in adapter.speaks}

    def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
        dialect = foreign.get(request.endpoint)
        return adapter.build_request(_as_chat(request, dialect) if dialect else request, target)

    def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
        dialect = foreign.get(request.endpoint)
        if dialect is None:
            return adapter.parse_response(request, body)
        answer = adapter.parse_response(_as_chat(request, dialect), body)
        return answer if isinstance(answer, Failure) else _translated(request, dialect, answer)

    def stream_decoder(request: ModelRequest) -> StreamDecoder:
        dialect = foreign.get(request.endpoint)
        if dialect is None:
            return adapter.stream_decoder(request)
        return DialectStream(request, dialect, adapter.stream_decoder(_as_chat(request, dialect)))

    return replace(adapter, build_request=build_request, parse_response=parse_response, stream_decoder=stream_decoder)


def _as_chat(request: ModelRequest, dialect: Dialect) -> ModelRequest:
    payload = dialect.chat_payload(request.payload)
    return ModelRequest(
        endpoint=Endpoint.CHAT,
        model=request.model,
        stream=request.stream,
        include_usage=False,
        body=msgspec.json.encode(payload),
        payload=payload,
    )


def _translated(request: ModelRequest, dialect: Dialect, answer: Completion) -> Completion | Failure:
    try:
        chat = _decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return Failure(FailureKind.PROTOCOL, "The provider's answer is not a chat completion.")
    said = [_said(choice) for choice in chat.choices]
    return Completion(dialect.answer(request, chat.id, chat.model, said, answer.usage), answer.usage)


def _said(choice: _Choice) -> Said:
    words = choice.message or _Words()
    return Said(
        finish_reason=_REASONS.get(choice.finish_reason or "", "stop"),
        text=words.content or words.refusal or "",
        reasoning=words.reasoning_content or words.reasoning or "",
        reasoning_details=words.reasoning_details or [],
        tool_calls=[_tool_call(call) for call in words.tool_calls or ()],
    )


def _tool_call(call: _Call) -> ToolCall:
    return ToolCall(call.id or "", call.function.name or "", call.function.arguments or "", call.extra_content)


class DialectStream:
    """A stream of chat chunks on its way into another API's events. Whether it is whole, its family's decoder says."""

    def __init__(self, request: ModelRequest, dialect: Dialect, chunks: StreamDecoder) -> None:
        self._request = request
        self._dialect = dialect
        self._chunks = chunks
        self._writer: StreamWriter | None = None
        self._reasons: dict[int, FinishReason] = {}
        self._unreadable: Failure | None = None
        self.committed = False
        self.finished = False

    @property
    def failure(self) -> Failure | None:
        return self._unreadable or self._chunks.failure

    @property
    def usage(self) -> Usage | None:
        return self._chunks.usage

    @property
    def content_bytes(self) -> int:
        return self._chunks.content_bytes

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes; return the bytes for the client."""
        if self.finished or self.failure is not None:
            return b""
        told = []
        for event in sse.events(self._chunks.feed(data)):
            text = sse.data_of(event)
            if text and text != sse.DONE:
                try:
                    told += self._take(_decode(text))
                except (msgspec.DecodeError, RecursionError):
                    self._unreadable = Failure(FailureKind.PROTOCOL, "The provider sent an event that is no chunk.")
                    break
        if self._chunks.finished and self._unreadable is None:
            self.finished = True
            told.append(self._write(_Chat()).end(self._reasons or {0: "stop"}, self.usage))
        block = b"".join(told)
        self.committed = self.committed or bool(block)
        return block

    def end(self) -> Failure | None:
        """Say what is wrong with a body that ended here."""
        return self._unreadable or self._chunks.end()

    def _write(self, chat: _Chat) -> StreamWriter:
        if self._writer is None:
            self._writer = self._dialect.writer(self._request, chat.id, chat.model)
        return self._writer

    def _take(self, chat: _Chat) -> list[bytes]:
        writer = self._write(chat)
        told = []
        for choice in chat.choices:
            words = choice.delta or _Words()
            if text := words.reasoning_content or words.reasoning:
                told.append(writer.reasoning(choice.index, text))
            told += [writer.reasoning_detail(choice.index, detail) for detail in words.reasoning_details or ()]
            if text := words.content or words.refusal:
                told.append(writer.text(choice.index, text))
            for call in words.tool_calls or ():
                if call.id or call.function.name:
                    told.append(writer.tool_call(choice.index, call.index, _tool_call(call)))
                elif call.function.arguments:
                    told.append(writer.arguments(choice.index, call.index, call.function.arguments))
            if choice.finish_reason:
                self._reasons.setdefault(choice.index, _REASONS.get(choice.finish_reason, "stop"))
        return told
