"""Answers in the shape of chat completions, and of legacy completions, from parts: whole, and as a stream of chunks.

The shapes are those of https://platform.openai.com/docs/api-reference/chat; `reasoning_content` is DeepSeek's word,
which most clients read.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from billing.pricing import Usage
from gateway.providers.chat import ToolCall
from gateway.schema import Endpoint, ModelRequest
from nexus.ids import uuid7_text

_encode = msgspec.json.encode
_DONE_EVENT = b"data: [DONE]\n\n"


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Said(msgspec.Struct):
    """One choice of an answer: what the model said, thought and called, and why it ended."""

    finish_reason: FinishReason
    text: str = ""
    reasoning: str = ""
    reasoning_details: list[dict[str, Any]] = []
    tool_calls: list[ToolCall] = []
    logprobs: Any = None


def completion(request: ModelRequest, answer_id: str, model: str, choices: list[Said], usage: Usage | None) -> bytes:
    """Return a completion. What the provider did not name, we do."""
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
        body["usage"] = _usage(usage)
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


def _usage(usage: Usage) -> dict[str, Any]:
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

    __slots__ = ("_begun", "_head", "_include_usage", "_legacy")

    def __init__(self, request: ModelRequest, answer_id: str, model: str) -> None:
        self._legacy = request.endpoint is Endpoint.COMPLETIONS  # which knows text alone
        self._include_usage = request.include_usage
        self._begun: set[int] = set()  # choices whose role was told
        envelope = {
            "id": answer_id or _new_id(request),
            "object": "text_completion" if self._legacy else "chat.completion.chunk",
            "created": int(time.time()),
            "model": model or request.model,
        }
        self._head = b"data: " + _encode(envelope)[:-1]

    def text(self, choice: int, text: str, logprobs: Any = None) -> bytes:
        if self._legacy:
            return b'%b,"choices":[{"text":%b,"index":%d,"logprobs":null,"finish_reason":null}]}\n\n' % (
                self._head, _encode(text), choice,
            )  # fmt: skip
        delta = b'{"content":%b}' % _encode(text)
        return self._delta(choice, delta, b"null" if logprobs is None else _encode(logprobs))

    def reasoning(self, choice: int, text: str) -> bytes:
        return self._delta(choice, b'{"reasoning_content":%b}' % _encode(text))

    def reasoning_detail(self, choice: int, detail: dict[str, Any]) -> bytes:
        return self._delta(choice, b'{"reasoning_details":%b}' % _encode([detail]))

    def tool_call(self, choice: int, index: int, call: ToolCall) -> bytes:
        told: dict[str, Any] = {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        if call.extra is not None:
            told["extra_content"] = call.extra
        return self._delta(choice, b'{"tool_calls":%b}' % _encode([told]))

    def arguments(self, choice: int, index: int, fragment: str) -> bytes:
        told = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, _encode(fragment))
        return self._delta(choice, told)

    def end(self, reasons: Mapping[int, FinishReason], usage: Usage | None) -> bytes:
        """Return the last chunks: why each choice ended, the usage if it was asked for, the end marker."""
        told = [self._finish(choice, reason) for choice, reason in sorted(reasons.items())]
        if self._include_usage and usage is not None:
            told.append(b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(_usage(usage))))
        return b"".join((*told, _DONE_EVENT))

    def _delta(self, choice: int, delta: bytes, logprobs: bytes = b"null") -> bytes:
        if self._legacy:
            return b""
        begin = b""
        if choice not in self._begun:
            self._begun.add(choice)
            begin = self._delta(choice, b'{"role":"assistant","content":""}')
        return b'%b%b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null}]}\n\n' % (
            begin, self._head, choice, delta, logprobs,
        )  # fmt: skip

    def _finish(self, choice: int, reason: FinishReason) -> bytes:
        content, begin = b'"text":""', b""
        if not self._legacy:
            content = b'"delta":{}'
            if choice not in self._begun:
                self._begun.add(choice)
                begin = self._delta(choice, b'{"role":"assistant","content":""}')
        return b'%b%b,"choices":[{"index":%d,%b,"logprobs":null,"finish_reason":"%b"}]}\n\n' % (
            begin, self._head, choice, content, reason.encode(),
        )  # fmt: skip
