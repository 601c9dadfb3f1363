"""The Anthropic family: Claude behind the Messages API, in either of its versions.

Wire facts: https://platform.claude.com/docs/en/api (messages, streaming, errors, versioning, models).
"""

from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.answers import FinishReason, Said, completion
from gateway.providers.anthropic_request import FORMAT, Translated
from gateway.providers.base import (
    Adapter,
    Completion,
    Failure,
    FailureKind,
    Headers,
    ModelsRequest,
    Target,
    UpstreamRequest,
)
from gateway.providers.chat import ToolCall, chat_of
from gateway.providers.failures import by_status, retry_after_seconds
from gateway.providers.headers import json_headers, key_headers
from gateway.providers.openai import parse_models
from gateway.providers.translated_stream import EventStream
from gateway.schema import ModelRequest

# The version whose parameters are all that any model takes; a connection may name another.
DEFAULT_VERSION = "2023-06-01"
_FINISHES: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_KINDS = {
    "invalid_request_error": FailureKind.REQUEST,
    "not_found_error": FailureKind.REQUEST,
    "request_too_large": FailureKind.REQUEST,
    "authentication_error": FailureKind.AUTH,
    "permission_error": FailureKind.AUTH,
    "billing_error": FailureKind.AUTH,
    "rate_limit_error": FailureKind.RATE_LIMIT,
    "timeout_error": FailureKind.TIMEOUT,
}
_MOST_MODELS = 1000  # on a page of the list, the API's own most


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct):
    type: str
    content: list[_Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Details(msgspec.Struct):
    error_code: str | None = None


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""
    details: _Details | None = None


class _Failed(msgspec.Struct):
    error: _Error


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


decode_message = msgspec.json.Decoder(_Message).decode
_decode_failed = msgspec.json.Decoder(_Failed).decode
decode_event = msgspec.json.Decoder(Event).decode


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the request for a message. Raises InvalidRequest, and Unsupported."""
    translated = Translated(
        chat_of(request),
        target.upstream_model,
        version=_version(target),
        drop=target.options.get("drop_unsupported") is True,
    )
    body, dropped = translated.build()
    if request.stream:
        body["stream"] = True
    headers = headers_for(target, stream=request.stream)
    return UpstreamRequest(messages_path(target), headers, msgspec.json.encode(body), dropped)


def messages_path(target: Target) -> bytes:
    return f"{_root(target)}/messages".encode()


def headers_for(target: Target, *, stream: bool) -> Headers:
    """Return the headers of a request for a message, made once for each connection."""
    if stream not in target.memo:
        target.memo[stream] = json_headers(_identity(target), stream=stream)
    headers: Headers = target.memo[stream]
    return headers


def _version(target: Target) -> str:
    return str(target.options.get("anthropic_version") or DEFAULT_VERSION)


def _root(target: Target) -> str:
    base = target.base_path
    return base if base.endswith("/v1") else f"{base}/v1"


def _identity(target: Target) -> Headers:
    return (*key_headers(target, b"x-api-key"), (b"anthropic-version", _version(target).encode()))


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the message as a completion; a failure for a 200 that is no message."""
    try:
        message = decode_message(body)
    except (msgspec.DecodeError, RecursionError):
        return failure_in(body) or no_message()
    reason = message.stop_reason
    if message.type != "message" or not reason:
        return no_message()
    said = Said(_finish(reason))
    for block in message.content:
        _add(said, block)
    usage = UsageCount().add(message.usage)
    return Completion(completion(request, message.id, message.model, [said], usage), usage)


def no_message() -> Failure:
    return Failure(FailureKind.PROTOCOL, "The provider answered 200 with a body that is not a message of Anthropic's.")


def _add(said: Said, block: _Block) -> None:
    """Add what a block holds. Those of tools that the vendor's own servers run are not for the client."""
    match block.type:
        case "text":
            said.text += block.text
        case "thinking":
            said.reasoning += block.thinking
            said.reasoning_details = [*said.reasoning_details, _thought(block, len(said.reasoning_details))]
        case "redacted_thinking":
            said.reasoning_details = [*said.reasoning_details, _sealed(block, len(said.reasoning_details))]
        case "tool_use":
            said.tool_calls = [*said.tool_calls, ToolCall(block.id, block.name, bytes(block.input).decode())]


def _thought(block: _Block, index: int) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": block.thinking, "signature": block.signature}
    return {**detail, "format": FORMAT, "index": index}


def _sealed(block: _Block, index: int) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": block.data, "format": FORMAT, "index": index}


def _finish(reason: str) -> FinishReason:
    return _FINISHES.get(reason, "stop")


def _tokens(usage: _Usage) -> Usage:
    """Return usage as the gateway counts: what came from the cache or went to it is input too."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    return Usage(
        input_tokens=(usage.input_tokens or 0) + read + written,
        output_tokens=usage.output_tokens or 0,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=(details.thinking_tokens if details else 0) or 0,
    )


class UsageCount:
    """The usage of one message. Counts are of all of it so far: the last one of each kind stands."""

    def __init__(self) -> None:
        self._counted = _Usage()
        self._told: Usage | None = None

    def add(self, usage: _Usage | None) -> Usage | None:
        """Take what an event or an answer tells, and return what is known by now."""
        if usage is not None:
            told = {name: value for name in _Usage.__struct_fields__ if (value := getattr(usage, name)) is not None}
            self._counted = msgspec.structs.replace(self._counted, **told)
            self._told = _tokens(self._counted)
        return self._told


def parse_error(status: int, headers: Headers, body: bytes) -> Failure:
    """Classify an answer with an error status: by the status first, by the words only where they say more."""
    try:
        error = _decode_failed(body).error
    except (msgspec.DecodeError, RecursionError):
        error = _Error()
    kind, code = by_status(status), error.details.error_code if error.details else None
    if kind is FailureKind.RATE_LIMIT and "spend_limit" in (code or ""):
        kind = FailureKind.QUOTA
    elif "credit balance is too low" in error.message:
        kind = FailureKind.AUTH
    elif kind is FailureKind.REQUEST and error.message.startswith("prompt is too long"):
        code = "context_length_exceeded"
    return Failure(
        kind,
        error.message or f"The provider answered {status}.",
        status=status,
        type=error.type or None,
        code=code,
        retry_after_seconds=retry_after_seconds(headers),
    )


def failure_in(body: bytes) -> Failure | None:
    """Return the failure that a 200 answer carries as its body, if it does."""
    try:
        return told_failure(_decode_failed(body).error)
    except (msgspec.DecodeError, RecursionError):
        return None


def told_failure(error: _Error | None) -> Failure:
    """Classify an error that came with status 200, where the words are all there is to go by."""
    error = error or _Error()
    code = error.details.error_code if error.details else None
    kind = FailureKind.QUOTA if "spend_limit" in (code or "") else _KINDS.get(error.type, FailureKind.SERVER)
    return Failure(
        kind,
        error.message or "The provider reported an error.",
        status=400 if kind is FailureKind.REQUEST else 200,
        type=error.type or None,
        code=code,
    )


class AnthropicStream(EventStream):
    """Reads the events of a message. Its end marker is `message_stop`."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__(request)
        self._count = UsageCount()
        self._blocks: dict[int, _Block] = {}  # those that are open
        self._thoughts: dict[int, list[str]] = {}  # block -> what was thought in it
        self._tools: dict[int, int] = {}  # block -> the call's index
        self._details = 0

    def decode(self, data: bytes) -> Event:
        return decode_event(data)

    def take(self, frame: Event) -> None:
        match frame.type:
            case "content_block_delta" if frame.delta is not None:
                self._more(frame.index, frame.delta)
            case "content_block_start" if frame.content_block is not None:
                self._open(frame.index, frame.content_block)
            case "content_block_stop":
                self._close(frame.index)
            case "message_start" if frame.message is not None:
                self.start(frame.message.id, frame.message.model)
                self.usage = self._count.add(frame.message.usage)
            case "message_delta":
                self.usage = self._count.add(frame.usage)
                if frame.delta is not None and frame.delta.stop_reason:
                    self.finish(_finish(frame.delta.stop_reason))
            case "message_stop":
                self.done()
            case "error":
                self.failure = told_failure(frame.error)

    def _open(self, index: int, block: _Block) -> None:
        self._blocks[index] = block
        match block.type:
            case "text":
                self.text(block.text)
            case "thinking":
                self.reasoning(block.thinking)
            case "redacted_thinking":
                self.reasoning_detail(_sealed(block, self._details))
                self._details += 1
            case "tool_use":
                self._tools[index] = self.tool_call(block.id, block.name)

    def _more(self, index: int, delta: _Delta) -> None:
        match delta.type:
            case "text_delta":
                self.text(delta.text)
            case "input_json_delta" if index in self._tools and delta.partial_json:
                self._blocks[index].input = msgspec.Raw(b"")  # it comes in pieces
                self.arguments(self._tools[index], delta.partial_json)
            case "thinking_delta":
                self.reasoning(delta.thinking)
                self._thoughts.setdefault(index, []).append(delta.thinking)
            case "signature_delta" if index in self._blocks:
                self._blocks[index].signature += delta.signature

    def _close(self, index: int) -> None:
        """A thought is whole with its signature; a call that got no arguments has those it began with."""
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.type == "thinking" and block.signature:
            block.thinking += "".join(self._thoughts.pop(index, ()))
            self.reasoning_detail(_thought(block, self._details))
            self._details += 1
        elif block.type == "tool_use":
            self.arguments(self._tools[index], bytes(block.input).decode())


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the list of models that the key may use."""
    path = f"{_root(target)}/models?limit={_MOST_MODELS}".encode()
    return ModelsRequest(path, ((b"accept", b"application/json"), *_identity(target)))


ANTHROPIC = Adapter(
    "anthropic",
    "https://api.anthropic.com",
    build_request,
    parse_response,
    AnthropicStream,
    parse_error,
    models_request,
    parse_models,
)
