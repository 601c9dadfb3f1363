"""The Cohere family, version 2 of its API: content in parts, plans before calls, named events, units of its own.

Wire facts: https://docs.cohere.com/v2/reference (chat, embed, models, errors) and the types of Cohere's own SDK.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.answers import FinishReason, Said, completion
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
from gateway.providers.cohere_request import chat_body, embed_body
from gateway.providers.embeddings import embeddings_answer
from gateway.providers.failures import by_status, retry_after_seconds
from gateway.providers.headers import bearer_headers, json_headers
from gateway.providers.translated_stream import EventStream
from gateway.schema import Endpoint, ModelRequest

_FINISHES: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
_FAILED = {"ERROR": FailureKind.SERVER, "TIMEOUT": FailureKind.TIMEOUT}
_NO_ANSWER = "The provider answered 200 with a body that is not a Cohere answer."
_GAVE_UP = "The provider ended its answer with an error."
_MOST_MODELS = 1000  # on a page of the list


class _BilledUnits(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(msgspec.Struct):
    billed_units: _BilledUnits | None = None
    tokens: _BilledUnits | None = None
    cached_tokens: float | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    id: str = ""
    function: _Function | None = None


class _Logprob(msgspec.Struct):
    text: str | None = None
    logprobs: list[float] | None = None


class _Message(msgspec.Struct):
    content: list[_Part] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None


class _Answer(msgspec.Struct):
    message: _Message
    finish_reason: str
    id: str = ""
    usage: _Usage | None = None
    logprobs: list[_Logprob] | None = None


class _MessageDelta(msgspec.Struct):
    """What an event adds to the message: one part or one call. `message-start` has lists of them, which are empty."""

    content: _Part | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[Any] | None = None


class _Delta(msgspec.Struct):
    message: _MessageDelta | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None
    error: str | None = None


class _Event(msgspec.Struct):
    type: str
    id: str = ""
    index: int = 0
    delta: _Delta | None = None
    logprobs: _Logprob | None = None


class _Vectors(msgspec.Struct):
    float: list[list[Any]] | None = None
    base64: list[str] | None = None


class _Meta(msgspec.Struct):
    billed_units: _BilledUnits | None = None


class _Embedded(msgspec.Struct):
    embeddings: _Vectors
    meta: _Meta | None = None


class _Model(msgspec.Struct):
    name: str | None = None
    is_deprecated: bool | None = None


class _Models(msgspec.Struct):
    models: list[_Model]


class _Complaint(msgspec.Struct):
    message: str | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_embedded = msgspec.json.Decoder(_Embedded).decode
_decode_models = msgspec.json.Decoder(_Models).decode
_decode_complaint = msgspec.json.Decoder(_Complaint).decode


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the upstream request. Raises InvalidRequest, and Unsupported."""
    drop = target.options.get("drop_unsupported") is True
    if request.endpoint is Endpoint.EMBEDDINGS:
        body, dropped = embed_body(request.payload, drop=drop)
        operation = "embed"
    else:
        body, dropped = chat_body(chat_of(request), drop=drop)
        operation = "chat"
    body["model"] = target.upstream_model
    if request.stream:
        body["stream"] = True
    known = (operation, request.stream)
    if known not in target.memo:
        headers = json_headers(bearer_headers(target), stream=request.stream)
        target.memo[known] = (f"{_root(target)}/v2/{operation}".encode(), headers)
    path, headers = target.memo[known]
    return UpstreamRequest(path, headers, msgspec.json.encode(body), dropped)


def _root(target: Target) -> str:
    return target.base_path.removesuffix("/v1").removesuffix("/v2")


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the answer in OpenAI's shape; a failure for a 200 that is not one."""
    try:
        if request.endpoint is Endpoint.EMBEDDINGS:
            return _embeddings(request, _decode_embedded(body))
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        message = _message_in(body)
        if message:
            return Failure(FailureKind.SERVER, message, status=200)
        return Failure(FailureKind.PROTOCOL, _NO_ANSWER)
    if answer.finish_reason in _FAILED:
        return Failure(_FAILED[answer.finish_reason], _GAVE_UP, status=200)
    usage = _usage(answer.usage)
    return Completion(completion(request, answer.id, "", [_said(answer)], usage), usage)


def _said(answer: _Answer) -> Said:
    message, parts = answer.message, answer.message.content or []
    thoughts = [part.thinking or "" for part in parts if part.type == "thinking"]
    return Said(
        _FINISHES.get(answer.finish_reason, "stop"),
        text="".join(part.text or "" for part in parts if part.type == "text"),
        reasoning="".join([*thoughts, message.tool_plan or ""]),
        tool_calls=[
            ToolCall(call.id, call.function.name or "", call.function.arguments or "")
            for call in message.tool_calls or ()
            if call.function is not None
        ],
        logprobs={"content": [_logprob(item) for item in answer.logprobs], "refusal": None}
        if answer.logprobs
        else None,
    )


def _logprob(item: _Logprob) -> dict[str, Any]:
    """Return a piece of text with its probability. Cohere tells one per token, and the text of several together."""
    text = item.text or ""
    return {
        "token": text,
        "logprob": sum(item.logprobs or ()),
        "bytes": list(text.encode()),
        "top_logprobs": [],
    }


def _usage(native: _Usage | None) -> Usage | None:
    """Return what is billed. `tokens` counts Cohere's own preamble too, and is the second best."""
    known = None if native is None else native.billed_units or native.tokens
    if native is None or known is None:
        return None
    input_tokens = int(known.input_tokens or 0)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=int(known.output_tokens or 0),
        cached_tokens=min(int(native.cached_tokens or 0), input_tokens),
    )


def _embeddings(request: ModelRequest, embedded: _Embedded) -> Completion | Failure:
    vectors: Sequence[Any] | None = embedded.embeddings.float or embedded.embeddings.base64
    if vectors is None:
        return Failure(FailureKind.PROTOCOL, _NO_ANSWER)
    billed = embedded.meta.billed_units if embedded.meta else None
    return embeddings_answer(request, vectors, Usage(int(billed.input_tokens or 0), 0) if billed else None)


class CohereStream(EventStream):
    """The decoder of one stream. `message-end` ends it, whatever comes behind."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__(request)
        self._call_at: dict[int, int] = {}  # Cohere's index of a call -> the client's

    def decode(self, data: bytes) -> Any:
        return _decode_event(data)

    def take(self, frame: _Event) -> None:
        delta = frame.delta or _Delta()
        message = delta.message or _MessageDelta()
        match frame.type:
            case "message-start":
                self.start(frame.id, "")
            case "content-start" | "content-delta" if isinstance(message.content, _Part):
                self.reasoning(message.content.thinking or "")
                self.text(message.content.text or "", logprobs=_streamed_logprobs(frame.logprobs))
            case "tool-plan-delta":
                self.reasoning(message.tool_plan or "")
            case "tool-call-start" if isinstance(message.tool_calls, _Call):
                function = message.tool_calls.function or _Function()
                index = self.tool_call(message.tool_calls.id, function.name or "", function.arguments or "")
                self._call_at[frame.index] = index
            case "tool-call-delta" if isinstance(message.tool_calls, _Call) and frame.index in self._call_at:
                function = message.tool_calls.function or _Function()
                self.arguments(self._call_at[frame.index], function.arguments or "")
            case "message-end":
                self._end(delta)

    def _end(self, delta: _Delta) -> None:
        self.usage = _usage(delta.usage)
        reason = delta.finish_reason or ""
        if reason in _FAILED or delta.error:
            self.fail(_FAILED.get(reason, FailureKind.SERVER), delta.error or _GAVE_UP, status=200)
            return
        if reason:
            self.finish(_FINISHES.get(reason, "stop"))
        self.done()


def _streamed_logprobs(item: _Logprob | None) -> dict[str, Any] | None:
    return None if item is None else {"content": [_logprob(item)], "refusal": None}


def parse_error(status: int, headers: Headers, body: bytes) -> Failure:
    """Classify an answer with an error status: by the status, and by Cohere's words where they say more."""
    message = _message_in(body)
    return Failure(
        _kind(status, message.casefold()),
        message or f"The provider answered {status}.",
        status=status,
        retry_after_seconds=retry_after_seconds(headers),
    )


def _kind(status: int, words: str) -> FailureKind:
    if status == 429 and "month" in words:
        return FailureKind.QUOTA  # of a trial key, until the next month
    if status == 498:  # an invalid token, or a text that is blocked
        return FailureKind.AUTH if "token" in words else FailureKind.REQUEST
    if status == 499:
        return FailureKind.RATE_LIMIT  # given up on their side, while we were still there
    return by_status(status)


def _message_in(body: bytes) -> str:
    try:
        return _decode_complaint(body).message or ""
    except (msgspec.DecodeError, RecursionError):
        return ""


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the list of models. It is version 1's, as in Cohere's own SDK."""
    path = f"{_root(target)}/v1/models?page_size={_MOST_MODELS}".encode()
    return ModelsRequest(path, ((b"accept", b"application/json"), *bearer_headers(target)))


def parse_models(body: bytes) -> list[str]:
    """Return the names in a list of models, without those that are to go. Raises ValueError."""
    try:
        models = _decode_models(body).models
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return [model.name for model in models if model.name and not model.is_deprecated]


COHERE = Adapter(
    "cohere",
    "https://api.cohere.com",
    build_request,
    parse_response,
    CohereStream,
    parse_error,
    models_request,
    parse_models,
)
