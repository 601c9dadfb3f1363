"""Answers in the shape of Anthropic's Messages API, from parts: a whole message, and the events of a stream. Pure.

Wire facts: https://platform.claude.com/docs/en/api/messages, /api/messages-streaming.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.answers import FinishReason, Said
from gateway.providers.chat import ToolCall
from gateway.schema import ModelRequest
from nexus.ids import uuid7_text

Body = dict[str, Any]
_encode = msgspec.json.encode
_STOPS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def message(request: ModelRequest, answer_id: str, model: str, choices: list[Said], usage: Usage | None) -> bytes:
    """Return a whole message."""
    said = choices[0] if choices else Said("stop")
    body = _begun(request, answer_id, model)
    body["content"] = _content(said)
    body["stop_reason"] = _STOPS[said.finish_reason]
    body["usage"] = _usage(usage)
    return _encode(body)


def _begun(request: ModelRequest, answer_id: str, model: str) -> Body:
    """Return a message that has just begun."""
    return {
        "id": f"msg_{answer_id or uuid7_text()}",
        "type": "message",
        "role": "assistant",
        "model": model or request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(None),
    }


def _content(said: Said) -> list[Body]:
    blocks: list[Body] = []
    if said.reasoning:
        # Unsigned: nobody but its own family could prove it, and Claude is not asked to.
        blocks.append({"type": "thinking", "thinking": said.reasoning, "signature": ""})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    for call in said.tool_calls:
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)})
    return blocks


def _input(arguments: str) -> Body:
    """Return a call's arguments as an object; those that a limit cut are none."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _usage(usage: Usage | None) -> Body:
    """Return usage as Anthropic counts: what came from the cache or went to it is not input."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


class MessageWriter:
    """Writes the events of one message.

    Blocks come one after the other: of calls that are made side by side the first is told as it comes, the others when
    it is over.
    """

    def __init__(self, request: ModelRequest, answer_id: str, model: str) -> None:
        self._begun: Body | None = _begun(request, answer_id, model)
        self._out: list[bytes] = []
        self._kind = ""  # of the block that is open
        self._places = 0  # blocks that are closed
        self._live = -1  # the call that is told as it comes
        self._waiting: dict[int, tuple[ToolCall, list[str]]] = {}

    def text(self, choice: int, text: str) -> bytes:
        if choice == 0:
            self._open("text", {"type": "text", "text": ""})
            self._delta({"type": "text_delta", "text": text})
        return self._told()

    def reasoning(self, choice: int, text: str) -> bytes:
        if choice == 0:
            self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._delta({"type": "thinking_delta", "thinking": text})
        return self._told()

    def reasoning_detail(self, choice: int, detail: Body) -> bytes:
        """Another family's seal, which the dialect has no place for."""
        return b""

    def tool_call(self, choice: int, index: int, call: ToolCall) -> bytes:
        if choice == 0 and self._kind == "tool_use":
            self._waiting[index] = (call, [call.arguments])
        elif choice == 0:
            self._call(call, call.arguments)
            self._live = index
        return self._told()

    def arguments(self, choice: int, index: int, fragment: str) -> bytes:
        if choice == 0 and index in self._waiting:
            self._waiting[index][1].append(fragment)
        elif choice == 0 and index == self._live:
            self._delta({"type": "input_json_delta", "partial_json": fragment})
        return self._told()

    def end(self, reasons: Mapping[int, FinishReason], usage: Usage | None) -> bytes:
        self._close()
        delta = {"stop_reason": _STOPS[reasons.get(0, "stop")], "stop_sequence": None}
        self._tell("message_delta", {"delta": delta, "usage": _usage(usage)})
        self._tell("message_stop", {})
        return self._told()

    def _call(self, call: ToolCall, arguments: str) -> None:
        self._open("tool_use", {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        if arguments:
            self._delta({"type": "input_json_delta", "partial_json": arguments})

    def _open(self, kind: str, block: Body) -> None:
        if self._kind != kind:
            self._close()
            self._kind = kind
            self._tell("content_block_start", {"index": self._places, "content_block": block})

    def _close(self) -> None:
        """Close the block that is open, and tell the calls that wait behind it."""
        self._close_one()
        waiting, self._waiting = self._waiting, {}
        for _, (call, arguments) in sorted(waiting.items()):
            self._call(call, "".join(arguments))
            self._close_one()

    def _close_one(self) -> None:
        if self._kind:
            self._tell("content_block_stop", {"index": self._places})
            self._kind, self._live = "", -1
            self._places += 1

    def _delta(self, delta: Body) -> None:
        self._tell("content_block_delta", {"index": self._places, "delta": delta})

    def _tell(self, kind: str, content: Body) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            self._out.append(_event("message_start", {"message": begun}))
        self._out.append(_event(kind, content))

    def _told(self) -> bytes:
        told = b"".join(self._out)
        self._out.clear()
        return told


def _event(kind: str, content: Body) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **content}))
