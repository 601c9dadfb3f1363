"""The Gemini family: Google's AI Studio, and by the same bodies Vertex AI, under other addresses and credentials.

Wire facts: https://ai.google.dev/api/generate-content (requests, answers, streams), https://ai.google.dev/api/models,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference, and google.rpc.Status for errors.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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
from gateway.providers.gemini_embeddings import embed_request, parse_embeddings
from gateway.providers.gemini_errors import failure_in, failure_of
from gateway.providers.gemini_request import FORMAT, generate_content
from gateway.providers.headers import bearer_headers, json_headers, key_headers
from gateway.providers.translated_stream import EventStream
from gateway.schema import Endpoint, ModelRequest
from nexus.ids import uuid7_text

AI_STUDIO = "https://generativelanguage.googleapis.com"
_FINISHES: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
            *("ESCALATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        ),
        "content_filter",
    ),
}
_VERSION = re.compile(r"/v[0-9]+(?:alpha|beta)?[0-9]*\Z")
_MOST_MODELS = 1000  # on a page of the list, the API's own most


class _FunctionCall(msgspec.Struct):
    name: str
    id: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _Part(msgspec.Struct, rename="camel"):
    text: str = ""
    thought: bool = False
    thought_signature: str = ""
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Token(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _TopTokens(msgspec.Struct):
    candidates: list[_Token] = []


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] = []
    top_candidates: list[_TopTokens] = []


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs_result: _Logprobs | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0


class _Answer(msgspec.Struct, rename="camel"):
    """A generateContent answer, or an event of a stream, which has the same shape or is an error."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: dict[str, Any] | None = None
    usage_metadata: _Usage | None = None
    model_version: str = ""
    response_id: str = ""
    error: dict[str, Any] | None = None


class _Named(msgspec.Struct):
    name: str


class _Models(msgspec.Struct, rename="camel"):
    models: list[_Named] | None = None
    publisher_models: list[_Named] | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_models = msgspec.json.Decoder(_Models).decode


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the upstream request: method and model in the path. Raises InvalidRequest, and Unsupported."""
    drop = target.options.get("drop_unsupported") is True
    if request.endpoint is Endpoint.EMBEDDINGS:
        vertex = bool(target.options.get("vertex"))
        method, body, dropped = embed_request(request.payload, target.upstream_model, vertex=vertex, drop=drop)
    else:
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        body, dropped = generate_content(chat_of(request), target.upstream_model, drop=drop)
    if method not in target.memo:
        headers = json_headers(_identity(target), stream=request.stream)
        target.memo[method] = (f"{_model_path(target)}:{method}".encode(), headers)
    path, headers = target.memo[method]
    return UpstreamRequest(path, headers, msgspec.json.encode(body), dropped)


def own_base_url(options: Mapping[str, Any]) -> str:
    """Return Google's own address: AI Studio's, or Vertex AI's of a location."""
    vertex = options.get("vertex")
    if not vertex:
        return AI_STUDIO
    location = vertex["location"]
    return f"https://{'' if location == 'global' else f'{location}-'}aiplatform.googleapis.com"


def _model_path(target: Target) -> str:
    """Return the path of the model; a name with a collection in it (`tunedModels/…`, `endpoints/…`) is left whole."""
    model, vertex = quote(target.upstream_model, safe="/!@=;"), target.options.get("vertex")
    if not vertex:
        return f"{_root(target, 'v1beta')}/{model if '/' in model else f'models/{model}'}"
    whole = model if "/" in model else f"publishers/google/models/{model}"
    return f"{_root(target, 'v1')}/projects/{vertex['project']}/locations/{vertex['location']}/{whole}"


def _root(target: Target, version: str) -> str:
    return target.base_path if _VERSION.search(target.base_path) else f"{target.base_path}/{version}"


def _identity(target: Target) -> Headers:
    """Return the headers that every request has. A key never goes into the URL, which proxies write to their logs."""
    return bearer_headers(target) if target.options.get("vertex") else key_headers(target, b"x-goog-api-key")


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the answer in OpenAI's shape; a failure for a 200 that is not one."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return parse_embeddings(request, body)
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        return Failure(FailureKind.PROTOCOL, "The provider answered 200 with a body that is not a Gemini answer.")
    if answer.error is not None:
        return failure_in(answer.error)
    usage = _usage(answer.usage_metadata)
    if not answer.candidates:
        if answer.candidates is None and answer.prompt_feedback is None:
            return Failure(FailureKind.PROTOCOL, "The provider answered 200 without a candidate, and did not say why.")
        said = [Said("content_filter")]
    else:
        said = []
        for candidate in sorted(answer.candidates, key=lambda candidate: candidate.index):
            reason = _finish_reason(candidate.finish_reason)
            if reason is None:
                return _unfinished(candidate.finish_reason)
            said.append(_said(candidate, reason, answer.response_id))
    return Completion(completion(request, answer.response_id, answer.model_version, said, usage), usage)


def _said(candidate: _Candidate, reason: FinishReason, answer_id: str) -> Said:
    said = Said(reason, reasoning_details=[], tool_calls=[], logprobs=_logprobs(candidate.logprobs_result))
    for part in candidate.content.parts if candidate.content else ():
        if part.function_call is not None:
            said.tool_calls.append(_call(part, part.function_call, answer_id, candidate.index, len(said.tool_calls)))
        elif part.thought:
            said.reasoning += part.text
        else:
            said.text += part.text
            if part.thought_signature:
                said.reasoning_details.append(_sealed(part.thought_signature))
    if said.tool_calls and reason == "stop":
        said.finish_reason = "tool_calls"
    return said


def _call(part: _Part, call: _FunctionCall, answer_id: str, choice: int, number: int) -> ToolCall:
    """Return a call with its signature where Google's own OpenAI-compatible API has it; older models give no ids."""
    signature = part.thought_signature
    extra = {"google": {"thought_signature": signature}} if signature else None
    call_id = call.id or f"call_{answer_id or uuid7_text()}_{choice}_{number}"
    return ToolCall(call_id, call.name, bytes(call.args).decode(), extra)


def _sealed(signature: str) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": signature, "format": FORMAT, "index": 0}


def _finish_reason(native: str | None) -> FinishReason | None:
    """Return the reason in OpenAI's words; None for one that means that there is no answer."""
    return _FINISHES.get(native or "")


def _unfinished(native: str | None) -> Failure:
    if native is None:
        return Failure(FailureKind.TRUNCATED, "The provider's answer has no finish reason.")
    return Failure(FailureKind.SERVER, f"The model gave up its answer: {native}.", status=200, code=native)


def _logprobs(native: _Logprobs | None) -> dict[str, Any] | None:
    if native is None:
        return None
    tops = [top.candidates for top in native.top_candidates]
    content = [
        {**_logprob(token), "top_logprobs": [_logprob(one) for one in tops[at]] if at < len(tops) else []}
        for at, token in enumerate(native.chosen_candidates)
    ]
    return {"content": content, "refusal": None}


def _logprob(token: _Token) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def _usage(native: _Usage | None) -> Usage | None:
    if native is None:
        return None
    return Usage(
        input_tokens=native.prompt_token_count + native.tool_use_prompt_token_count,
        output_tokens=native.candidates_token_count + native.thoughts_token_count,
        cached_tokens=native.cached_content_token_count,
        reasoning_tokens=native.thoughts_token_count,
    )


class GeminiStream(EventStream):
    """A stream of answers, each of which goes on where the last one ended.

    There is no end marker but the finish reason of each candidate. Usage comes with every event; the last holds.
    """

    def __init__(self, request: ModelRequest) -> None:
        super().__init__(request)
        wanted = request.payload.get("n")
        self._candidates = wanted if isinstance(wanted, int) and wanted > 1 else 1
        self._ended: set[int] = set()
        self._called: dict[int, int] = {}  # candidate -> calls so far

    def decode(self, data: bytes) -> _Answer:
        return _decode_answer(data)

    def take(self, frame: _Answer) -> None:
        if frame.error is not None:
            self.failure = failure_in(frame.error)
            return
        if frame.response_id or frame.model_version:
            self.start(frame.response_id, frame.model_version)
        if frame.usage_metadata is not None:
            self.usage = _usage(frame.usage_metadata)
        for candidate in frame.candidates or ():
            self._take(candidate, frame.response_id)
            if self.failure is not None:
                return
        if not frame.candidates and frame.prompt_feedback is not None:
            self.finish("content_filter")
            self._ended.update(range(self._candidates))
        if len(self._ended) >= self._candidates:
            self.done()

    def _take(self, candidate: _Candidate, answer_id: str) -> None:
        choice = candidate.index
        logprobs = _logprobs(candidate.logprobs_result)  # of all the text in this event
        for part in candidate.content.parts if candidate.content else ():
            if part.function_call is not None:
                number = self._called.get(choice, 0)
                self._called[choice] = number + 1
                call = _call(part, part.function_call, answer_id, choice, number)
                self.tool_call(call.id, call.name, call.arguments, call.extra, choice)
            elif part.thought:
                self.reasoning(part.text, choice)
            else:
                self.text(part.text, choice, logprobs)
                logprobs = None if part.text else logprobs
                if part.thought_signature:
                    self.reasoning_detail(_sealed(part.thought_signature), choice)
        if candidate.finish_reason is None:
            return
        reason = _finish_reason(candidate.finish_reason)
        if reason is None:
            self.failure = _unfinished(candidate.finish_reason)
            return
        self._ended.add(choice)
        self.finish("tool_calls" if reason == "stop" and choice in self._called else reason, choice)


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the list of models that the credential may see."""
    headers = ((b"accept", b"application/json"), *_identity(target))
    if target.options.get("vertex"):  # whose list has not left the beta
        root = _VERSION.sub("", target.base_path)
        path = f"{root}/v1beta1/publishers/google/models?pageSize={_MOST_MODELS}"
    else:
        path = f"{_root(target, 'v1beta')}/models?pageSize={_MOST_MODELS}"
    return ModelsRequest(path.encode(), headers)


def parse_models(body: bytes) -> list[str]:
    """Return the names in a list of models. Raises ValueError."""
    try:
        listed = _decode_models(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    models = listed.models if listed.models is not None else listed.publisher_models
    if models is None:
        raise ValueError("There is no list of models.")
    return [model.name.rpartition("/")[2] for model in models]


GEMINI = Adapter(
    "gemini",
    AI_STUDIO,
    build_request,
    parse_response,
    GeminiStream,
    failure_of,
    models_request,
    parse_models,
    own_base_url=own_base_url,
)
