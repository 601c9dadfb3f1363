"""The OpenAI family: requests, answers and streams pass through byte for byte; a tap reads what the gateway must know.

Wire facts: https://platform.openai.com/docs/api-reference (chat, completions, embeddings, errors, streaming).
"""

import re
from collections import deque
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
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
from gateway.providers.headers import bearer_headers, json_headers
from gateway.providers.openai_errors import Complaint, event_failure, failure_in, parse_error
from gateway.providers.tapped_stream import HOLD_BYTES
from gateway.schema import Endpoint, ModelRequest

_LAST_BLOCKS = 8  # kept for a second look for the finish, the end of each: a fast stream comes in large ones
_LAST_BYTES = 8 * 1024


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = 0


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's word for cached_tokens


class _Answer(msgspec.Struct):
    """A chat completion or a completion, as far as the gateway reads it."""

    choices: list[msgspec.Raw]
    usage: _Usage | None = None


class _Embeddings(msgspec.Struct):
    data: list[msgspec.Raw]
    usage: _Usage | None = None


class _Choice(msgspec.Struct):
    delta: dict[str, Any] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Groq(msgspec.Struct):
    """What Groq adds to a chunk: usage without being asked, and errors in the midst of a stream."""

    usage: _Usage | None = None
    error: Any = None


class _Chunk(Complaint):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    x_groq: _Groq | None = None

    @property
    def failed(self) -> Any:
        """The error that the chunk is, or carries."""
        if self.error or self.object == "error":
            return self.told
        return self.x_groq.error if self.x_groq else None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning|arguments|refusal)"\s*:\s*"((?:[^"\\]|\\.)*)"')


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the upstream request: the client's body under our credential."""
    known = (request.endpoint, request.stream)
    if known not in target.memo:
        path = f"{target.base_path}/{request.endpoint.value}".encode()
        target.memo[known] = (path, json_headers(_identity(target), stream=request.stream))
    path, headers = target.memo[known]
    return UpstreamRequest(path, headers, request.body_for(target.upstream_model))


def _identity(target: Target) -> Headers:
    """Return the headers that every request to the provider has, its credential among them."""
    options = (("organization", b"openai-organization"), ("project", b"openai-project"))
    named = [(name, str(target.options[option]).encode()) for option, name in options if target.options.get(option)]
    return (*bearer_headers(target), *named)


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the answer with its usage; a failure for a 200 that is not an answer."""
    decode = _decode_embeddings if request.endpoint is Endpoint.EMBEDDINGS else _decode_answer
    try:
        answer: _Answer | _Embeddings = decode(body)
    except (msgspec.DecodeError, RecursionError):
        return failure_in(body) or Failure(
            FailureKind.PROTOCOL, "The provider answered 200 with a body that is not an OpenAI answer."
        )
    return Completion(body, _usage(answer.usage))


class OpenAIStream:
    """The tap on an OpenAI stream. It holds events until the first content, then passes them on as they come.

    After the first content only an event that may say more than content is decoded; of the others the bytes are
    searched and counted.
    """

    __slots__ = (
        "_envelope_bytes", "_events", "_finish_seen", "_held", "_keep_usage", "_last_blocks", "_passed_bytes",
        "_splitter", "committed", "failure", "finished", "usage",
    )  # fmt: skip

    def __init__(self, *, keep_usage: bool) -> None:
        self._splitter = sse.EventSplitter()
        self._held = b""
        self._keep_usage = keep_usage
        self._finish_seen = False
        self._last_blocks: deque[bytes] = deque(maxlen=_LAST_BLOCKS)
        self._passed_bytes = 0
        self._events = 0
        self._envelope_bytes = 0  # of an event, around its text
        self.committed = False
        self.finished = False
        self.failure: Failure | None = None
        self.usage: Usage | None = None

    @property
    def content_bytes(self) -> int:
        """About how much text has come: all events of a stream wear the same envelope, so one is measured."""
        return max(0, self._passed_bytes - self._events * self._envelope_bytes)

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes; return the bytes for the client."""
        if self.finished or self.failure is not None:
            return b""
        try:
            block = self._splitter.feed(data)
        except sse.EventTooLarge:
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that is too large.")
            return b""
        if not block:
            return b""
        if self.committed and not _is_special(block):
            self._count(block)
            return block
        return self._walk(block)

    def end(self) -> Failure | None:
        """Say what is wrong with a body that ended here."""
        if self.failure is not None or self.finished:
            return self.failure
        what = "in mid-answer" if self.committed else "before any content"
        return Failure(FailureKind.TRUNCATED, f"The provider's stream ended {what}, without its end marker.")

    def _walk(self, block: bytes) -> bytes:
        """Look at each event: before the first content all of them, after it those that may be more than content."""
        out = []
        for event in sse.events(block):
            if self.committed and not _is_special(event):
                self._count(event)
                out.append(event)
                continue
            if self._take(event):
                out.append(event)
            if self.finished or self.failure is not None:
                break
        passed = b"".join(out)
        if not self.committed:
            self._held += passed
            if len(self._held) < HOLD_BYTES or self.failure is not None:
                return b""
            self.committed = True
            passed = b""
        held, self._held = self._held, b""
        return held + passed

    def _take(self, event: bytes) -> bool:
        """Note what an event says; return whether the client shall have it."""
        data = sse.data_of(event)
        if not data:
            return True
        if data == sse.DONE:
            return self._end_marker()
        try:
            chunk = _decode_chunk(data)
        except (msgspec.DecodeError, RecursionError):
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that is not a completion chunk.")
            return False
        if chunk.failed:
            self.failure = event_failure(chunk.failed)
            return False
        if chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self.usage = _usage(chunk.x_groq.usage)
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
            if not chunk.choices:
                return self._keep_usage
        self._finish_seen = self._finish_seen or any(choice.finish_reason for choice in chunk.choices or ())
        if not self.committed and any(map(_is_content, chunk.choices or ())):
            self.committed = True
            self._envelope_bytes = len(event) - sum(map(len, _TEXT.findall(event)))
        if self.committed:
            self._count(event)
        return True

    def _end_marker(self) -> bool:
        if not self._finish_seen and not _FINISH.search(b"".join(self._last_blocks)):
            self.failure = self.end()
            return False
        self.finished = True
        return True

    def _count(self, block: bytes) -> None:
        self._passed_bytes += len(block)
        self._events += block.count(b"data:")
        if not self._finish_seen:
            self._last_blocks.append(block[-_LAST_BYTES:])
            # In the spelling that all known servers use; any other is looked for once, when the end marker comes.
            self._finish_seen = b'"finish_reason":"' in block or b'"finish_reason": "' in block


def stream_decoder(request: ModelRequest) -> OpenAIStream:
    """Return the tap for one stream; it takes the usage event out unless the client asked for it."""
    return OpenAIStream(keep_usage=request.include_usage)


def _is_special(block: bytes) -> bool:
    """Whether a block may hold more than content: the end marker, usage or an error.

    Byte search is enough to say no: inside a JSON string the quotes of `"usage"` would be escaped. A stream that is
    asked for usage has a null in the place of it in every other event.
    """
    if sse.DONE in block or b'"error"' in block:
        return True
    usages = block.count(b'"usage"')
    return usages > 0 and usages > block.count(b'"usage":null') and _USAGE.search(block) is not None


def _is_content(choice: _Choice) -> bool:
    """Whether a choice commits the stream. A role alone does not; a finish does: the answer is then known."""
    if choice.text or choice.finish_reason:
        return True
    return any(value for name, value in (choice.delta or {}).items() if name != "role")


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (prompt.cached_tokens if prompt else usage.prompt_cache_hit_tokens) or 0
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=cached,
        reasoning_tokens=(completion.reasoning_tokens if completion else 0) or 0,
    )


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_decode_models = msgspec.json.Decoder(_Models).decode


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the list of models that the key may use."""
    headers = ((b"accept", b"application/json"), *_identity(target))
    return ModelsRequest(f"{target.base_path}/models".encode(), headers)


def parse_models(body: bytes) -> list[str]:
    """Return the names in a list of models. Raises ValueError."""
    try:
        return [model.id for model in _decode_models(body).data]
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


OPENAI = Adapter(
    "openai",
    "https://api.openai.com/v1",
    build_request,
    parse_response,
    stream_decoder,
    parse_error,
    models_request,
    parse_models,
)
