"""Answers in OpenAI's shape, from parts: whole completions, and the chunks of a stream.

The shapes are those of https://platform.openai.com/docs/api-reference/chat; `reasoning_content` is DeepSeek's word,
which most clients read.
"""

import time
from typing import Any, Literal

import msgspec

from billing.pricing import Usage
from gateway.providers.chat import ToolCall
from gateway.schema import Endpoint, ModelRequest
from nexus.ids import uuid7_text

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
_encode = msgspec.json.encode
DONE_EVENT = b"data: [DONE]\n\n"


class Said(msgspec.Struct):
    """One choice of an answer: what the model said, thought and called, and why it ended."""

    finish_reason: FinishReason
    text: str = ""
    reasoning: str = ""
    reasoning_details: list[dict[str, Any]] = []
    tool_calls: list[ToolCall] = []
    logprobs: Any = None


def completion(request: ModelRequest, answer_id: str, model: str, choices: list[Said], usage: Usage | None) -> bytes:
    """Return a completion in the shape of the endpoint that was asked. What the provider did not name, we do."""
    legacy = request.endpoint is Endpoint.COMPLETIONS
    shape = _legacy_choice if legacy else _choice
    body: dict[str, Any] = {
        "id": answer_id or _new_id(request),
        "object": "text_completion" if legacy else "chat.completion",
        "created": int(time.time()),
        "model": model or request.model,
        "choices": [shape(index, said) for index, said in enumerate(choices)],
    }
    if usage is not None:
        body["usage"] = usage_json(usage)
    return _encode(body)


def _new_id(request: ModelRequest) -> str:
    return f"{'cmpl' if request.endpoint is Endpoint.COMPLETIONS else 'chatcmpl'}-{uuid7_text()}"


def _legacy_choice(index: int, said: Said) -> dict[str, Any]:
    return {"text": said.text, "index": index, "logprobs": None, "finish_reason": said.finish_reason}


def _choice(index: int, said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or (None if said.tool_calls else "")}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.reasoning_details:
        message["reasoning_details"] = said.reasoning_details
    if said.tool_calls:
        message["tool_calls"] = [_call(call) for call in said.tool_calls]
    message["refusal"] = None
    return {"index": index, "message": message, "logprobs": said.logprobs, "finish_reason": said.finish_reason}


def _call(call: ToolCall) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if call.extra is not None:
        told["extra_content"] = call.extra
    return told


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return the usage as OpenAI tells it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class ChunkWriter:
    """Writes the chunks of one stream. All of them wear the same envelope, which is encoded once."""

    __slots__ = ("_head", "legacy")

    def __init__(self, request: ModelRequest, answer_id: str, model: str) -> None:
        self.legacy = request.endpoint is Endpoint.COMPLETIONS  # which knows text alone
        envelope = {
            "id": answer_id or _new_id(request),
            "object": "text_completion" if self.legacy else "chat.completion.chunk",
            "created": int(time.time()),
            "model": model or request.model,
        }
        self._head = b"data: " + _encode(envelope)[:-1]

    def text(self, choice: int, text: str) -> bytes:
        if self.legacy:
            return b'%b,"choices":[{"text":%b,"index":%d,"logprobs":null,"finish_reason":null}]}\n\n' % (
                self._head, _encode(text), choice,
            )  # fmt: skip
        return self.delta(choice, b'{"content":%b}' % _encode(text))

    def delta(self, choice: int, delta: bytes) -> bytes:
        """Return a chunk with an encoded delta."""
        return b'%b,"choices":[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":null}]}\n\n' % (
            self._head, choice, delta,
        )  # fmt: skip

    def finish(self, choice: int, reason: FinishReason) -> bytes:
        content = b'"text":""' if self.legacy else b'"delta":{}'
        return b'%b,"choices":[{"index":%d,%b,"logprobs":null,"finish_reason":"%b"}]}\n\n' % (
            self._head, choice, content, reason.encode(),
        )  # fmt: skip

    def usage(self, usage: Usage) -> bytes:
        return b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(usage_json(usage)))
