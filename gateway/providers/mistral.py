"""The Mistral family: near to OpenAI's wire, strict about members it does not know, with its own reasoning and errors.

Wire facts: https://docs.mistral.ai/api (chat, embeddings, models) and the schemas of Mistral's own SDK.
"""

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
from gateway.providers.failures import by_status, retry_after_seconds
from gateway.providers.headers import bearer_headers, json_headers
from gateway.providers.mistral_request import FORMAT, call_id, chat_body, embeddings_body
from gateway.providers.openai import parse_models
from gateway.providers.openai import parse_response as parse_openai_response
from gateway.providers.translated_stream import EventStream
from gateway.schema import Endpoint, ModelRequest

_FINISHES: dict[str, FinishReason] = {
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}
_CAPACITY = "3505"  # the tier's share of a model is used up, which no short wait cures
_NO_ANSWER = "The provider answered 200 with a body that is not a Mistral answer."
_GAVE_UP = "The provider ended its answer with an error."


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Text(msgspec.Struct):
    text: str | None = None


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None
    thinking: str | list[_Text] | None = None
    signature: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] = ""


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    """A completion, or a chunk of one."""

    choices: list[_Choice]
    id: str = ""
    model: str = ""
    usage: _Usage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the upstream request. Raises InvalidRequest, and Unsupported."""
    drop = target.options.get("drop_unsupported") is True
    if request.endpoint is Endpoint.EMBEDDINGS:
        body, dropped = embeddings_body(request.payload, drop=drop)
        operation = "embeddings"
    else:
        body, dropped = chat_body(chat_of(request), drop=drop)
        operation = "chat/completions"
    body["model"] = target.upstream_model
    if request.stream:
        body["stream"] = True
    known = (operation, request.stream)
    if known not in target.memo:
        headers = json_headers(bearer_headers(target), stream=request.stream)
        target.memo[known] = (f"{_root(target)}/{operation}".encode(), headers)
    path, headers = target.memo[known]
    return UpstreamRequest(path, headers, msgspec.json.encode(body), dropped)


def _root(target: Target) -> str:
    return target.base_path if target.base_path.endswith("/v1") else f"{target.base_path}/v1"


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the answer in OpenAI's shape; a failure for a 200 that is not one."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return parse_openai_response(request, body)
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        message, type_, param, code = _complaint(body)
        if message:
            return Failure(FailureKind.SERVER, message, status=200, type=type_, param=param, code=code)
        return Failure(FailureKind.PROTOCOL, _NO_ANSWER)
    if any(choice.finish_reason == "error" for choice in answer.choices):
        return Failure(FailureKind.SERVER, _GAVE_UP, status=200)
    usage = _usage(answer.usage)
    said = [_said(choice, answer.id) for choice in sorted(answer.choices, key=lambda choice: choice.index)]
    return Completion(completion(request, answer.id, answer.model, said, usage), usage)


def _said(choice: _Choice, answer_id: str) -> Said:
    message = choice.message or _Message()
    text, reasoning, details = _content(message.content)
    calls = [
        ToolCall(_id_of(call, answer_id, number), call.function.name, _arguments(call.function))
        for number, call in enumerate(message.tool_calls or ())
    ]
    return Said(
        _finish_reason(choice.finish_reason),
        text=text,
        reasoning=reasoning,
        reasoning_details=details,
        tool_calls=calls,
        logprobs=_logprobs(choice.logprobs),
    )


def _content(content: str | list[_Part] | None) -> tuple[str, str, list[dict[str, Any]]]:
    """Return the text of a content, what was thought, and the thoughts that are signed."""
    if not isinstance(content, list):
        return content or "", "", []
    texts, thoughts = [], []
    details: list[dict[str, Any]] = []
    for part in content:
        if part.type == "text":
            texts.append(part.text or "")
        elif part.type == "thinking":
            thought = part.thinking if isinstance(part.thinking, str) else _joined(part.thinking)
            thoughts.append(thought)
            if part.signature:
                signed = {"text": thought, "signature": part.signature, "format": FORMAT, "index": len(details)}
                details.append({"type": "reasoning.text", **signed})
    return "".join(texts), "".join(thoughts), details


def _joined(texts: list[_Text] | None) -> str:
    return "".join(piece.text or "" for piece in texts or ())


def _id_of(call: _Call, answer_id: str, number: int) -> str:
    """Return a call's id; one without, which Mistral's schema allows ("null"), gets one that fits."""
    return call.id if call.id not in (None, "", "null") else call_id(f"{answer_id}:{number}")


def _arguments(function: _Function) -> str:
    arguments = function.arguments
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _finish_reason(native: str | None) -> FinishReason:
    return _FINISHES.get(native or "", "stop")


def _logprobs(native: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if native is None else {"content": native.get("content"), "refusal": None}


def _usage(native: _Usage | None) -> Usage | None:
    if native is None or (native.prompt_tokens is None and native.completion_tokens is None):
        return None
    details = native.prompt_tokens_details
    return Usage(
        input_tokens=native.prompt_tokens or 0,
        output_tokens=native.completion_tokens or 0,
        cached_tokens=(details.cached_tokens if details else 0) or 0,
    )


class MistralStream(EventStream):
    """The decoder of one stream. Calls come whole; usage comes with the finish; `[DONE]` ends it."""

    def take(self, frame: Any) -> None:
        try:
            chunk = msgspec.convert(frame, _Answer)
        except msgspec.ValidationError:
            message, type_, param, code = _fields(frame)
            if message:
                self.fail(FailureKind.SERVER, message, status=200, type=type_, param=param, code=code)
            else:
                self.fail(FailureKind.PROTOCOL, "The provider sent an event that is not a completion chunk.")
            return
        self.start(chunk.id, chunk.model)
        for choice in chunk.choices:
            self._take_choice(choice, chunk.id)
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)

    def take_done(self) -> None:
        self.done()

    def _take_choice(self, choice: _Choice, answer_id: str) -> None:
        at = choice.index
        if choice.finish_reason == "error":
            self.fail(FailureKind.SERVER, _GAVE_UP, status=200)
            return
        delta = choice.delta or _Message()
        text, reasoning, details = _content(delta.content)
        self.reasoning(reasoning, at)
        for detail in details:
            self.reasoning_detail(detail, at)
        self.text(text, at, _logprobs(choice.logprobs))
        for number, call in enumerate(delta.tool_calls or ()):
            name, arguments = call.function.name, _arguments(call.function) or "{}"
            self.tool_call(_id_of(call, answer_id, number), name, arguments, choice=at)
        if choice.finish_reason:
            self.finish(_finish_reason(choice.finish_reason), at)


def parse_error(status: int, headers: Headers, body: bytes) -> Failure:
    """Classify an answer with an error status: by the status, and by Mistral's code where it says more."""
    message, type_, param, code = _complaint(body)
    kind = by_status(status)
    if kind is FailureKind.RATE_LIMIT and code == _CAPACITY:
        kind = FailureKind.QUOTA
    return Failure(
        kind,
        message or f"The provider answered {status}.",
        status=status,
        type=type_,
        param=param,
        code=code,
        retry_after_seconds=retry_after_seconds(headers),
    )


def _complaint(body: bytes) -> tuple[str, str | None, str | None, str | None]:
    try:
        return _fields(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return "", None, None, None


def _fields(error: Any) -> tuple[str, str | None, str | None, str | None]:
    """Return message, type, param and code of an error in any of the shapes that Mistral's servers use."""
    if not isinstance(error, dict):
        return "", None, None, None
    inner = error.get("error")
    if isinstance(inner, dict):
        error = inner
    said = error.get("message") or error.get("detail")
    if isinstance(said, dict):
        said = said.get("detail")
    param = error.get("param")
    if isinstance(said, list):
        said, param = _faults(said)
    type_, code = error.get("type"), error.get("code")
    return (
        said if isinstance(said, str) else "",
        type_ if isinstance(type_, str) else None,
        param if isinstance(param, str) else None,
        str(code) if isinstance(code, str | int) else None,
    )


def _faults(faults: list[Any]) -> tuple[str, str | None]:
    """Return what breaks the schema as a sentence each, and where the first of them does."""
    sentences, first = [], None
    for fault in faults:
        if not isinstance(fault, dict):
            continue
        where = fault.get("loc")
        path = ".".join(str(step) for step in where if step != "body") if isinstance(where, list) else ""
        first = first or path or None
        sentences.append(f"{path}: {fault.get('msg')}" if path else str(fault.get("msg")))
    return "; ".join(sentences), first


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the list of models that the key may use."""
    return ModelsRequest(
        f"{_root(target)}/models".encode(), ((b"accept", b"application/json"), *bearer_headers(target))
    )


MISTRAL = Adapter(
    "mistral",
    "https://api.mistral.ai",
    build_request,
    parse_response,
    MistralStream,
    parse_error,
    models_request,
    parse_models,
)
