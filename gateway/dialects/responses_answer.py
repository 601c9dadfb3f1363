"""Answers in the shape of the Responses API, from parts: a whole response, and the typed events of a stream.

The shapes and the order of events are those of https://platform.openai.com/docs/api-reference/responses-streaming. Each
event carries a running number, and the last one the whole response; there is no `[DONE]`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.dialects.responses_request import CUSTOM_INPUT, custom_tools, sealed
from gateway.providers.answers import FinishReason, Said
from gateway.providers.chat import ToolCall
from gateway.schema import ModelRequest
from nexus.ids import uuid7_text

_encode = msgspec.json.encode
_REPEATED = (  # members of the request that a response repeats
    *("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "previous_response_id", "reasoning"),
    *("store", "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user"),
)
_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "truncation": "disabled",
}


def response(request: ModelRequest, answer_id: str, model: str, choices: list[Said], usage: Usage | None) -> bytes:
    """Return a whole response."""
    said = choices[0] if choices else Said("stop")
    items = _Items(request)
    output: list[dict[str, Any]] = []
    if said.reasoning or said.reasoning_details:
        output.append(items.reasoning(said.reasoning, said.reasoning_details))
    if said.text or not said.tool_calls:
        output.append(items.message(said.text, _status(said.finish_reason)))
    output += [items.call(call.id, call.name, call.arguments) for call in said.tool_calls]
    body = _body(request, answer_id or f"resp_{uuid7_text()}", model)
    return _encode(_ended(body, said.finish_reason, output, usage))


def _body(request: ModelRequest, answer_id: str, model: str) -> dict[str, Any]:
    """Return a response that has just begun: what it repeats of the request, and nothing said yet."""
    payload = request.payload
    repeated = {name: payload.get(name) for name in _REPEATED}
    repeated |= {name: value for name, value in _DEFAULTS.items() if repeated[name] is None}
    return {
        "id": answer_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model or request.model,
        "output": [],
        "usage": None,
        **repeated,
    }


def _status(reason: FinishReason) -> str:
    return "incomplete" if reason in ("length", "content_filter") else "completed"


def _ended(
    body: dict[str, Any], reason: FinishReason, output: Sequence[dict[str, Any]], usage: Usage | None
) -> dict[str, Any]:
    body["status"] = _status(reason)
    if body["status"] == "incomplete":
        body["incomplete_details"] = {"reason": "max_output_tokens" if reason == "length" else "content_filter"}
    body["output"] = list(output)
    if usage is not None:
        body["usage"] = {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            },
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
    return body


class _Items:
    """Makes the items of an output."""

    def __init__(self, request: ModelRequest) -> None:
        payload = request.payload
        include = payload.get("include")
        self._tells_sealed = isinstance(include, list) and "reasoning.encrypted_content" in include
        self._custom = custom_tools(payload)

    def is_custom(self, name: str) -> bool:
        """Whether a tool takes free text."""
        return name in self._custom

    def message(self, text: str, status: str, item_id: str = "") -> dict[str, Any]:
        content = [text_part(text)] if text or status == "completed" else []
        item_id = item_id or f"msg_{uuid7_text()}"
        return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def reasoning(self, text: str, details: list[dict[str, Any]], item_id: str = "") -> dict[str, Any]:
        item: dict[str, Any] = {
            "id": item_id or f"rs_{uuid7_text()}",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": text}] if text else [],
        }
        if self._tells_sealed and details:
            item["encrypted_content"] = sealed(details)
        return item

    def call(
        self, call_id: str, name: str, arguments: str, item_id: str = "", status: str = "completed"
    ) -> dict[str, Any]:
        if name in self._custom:
            item_id = item_id or f"ctc_{uuid7_text()}"
            told = free_text(arguments)
            return {"id": item_id, "type": "custom_tool_call", "call_id": call_id, "name": name, "input": told}
        return {
            "id": item_id or f"fc_{uuid7_text()}",
            "type": "function_call",
            "status": status,
            "call_id": call_id,
            "name": name,
            "arguments": arguments or ("{}" if status == "completed" else ""),
        }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def free_text(arguments: str) -> str:
    """Return the text that the arguments of a stand-in function hold; what is none of its calls, as it is."""
    try:
        told = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return str(told[CUSTOM_INPUT]) if isinstance(told, dict) and CUSTOM_INPUT in told else arguments


class ResponseWriter:
    """Writes the events of one response as its parts come. One item is open at a time."""

    def __init__(self, request: ModelRequest, answer_id: str, model: str) -> None:
        self._items = _Items(request)
        self._body = _body(request, answer_id or f"resp_{uuid7_text()}", model)
        self._number = 0
        self._begun = False
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._output_item: dict[str, Any] = {}  # the one that was closed last
        self._parts: list[str] = []  # of the open item's text
        self._details: list[dict[str, Any]] = []
        self._text_head = b""  # what the events for all pieces of the open item's text begin with

    def text(self, choice: int, text: str) -> bytes:
        return self._turn_to("message") + self._text(text)

    def reasoning(self, choice: int, text: str) -> bytes:
        return self._turn_to("reasoning") + self._text(text)

    def reasoning_detail(self, choice: int, detail: dict[str, Any]) -> bytes:
        self._details.append(detail)
        return self._turn_to("reasoning")

    def tool_call(self, choice: int, index: int, call: ToolCall) -> bytes:
        told = self._close_item() + self._begin()
        self._open = self._items.call(call.id, call.name, "", status="in_progress")
        told += self._added()
        self._set_text_event()
        return told + self._text(call.arguments)

    def arguments(self, choice: int, index: int, fragment: str) -> bytes:
        if self._open is None or self._open["type"] not in ("function_call", "custom_tool_call"):
            return b""  # arguments after their call was closed: no provider does that
        return self._text(fragment)

    def end(self, reasons: Mapping[int, FinishReason], usage: Usage | None) -> bytes:
        """Return the last events, with the whole response."""
        reason = reasons[min(reasons)]
        told = self._close_item(_status(reason)) + self._begin()
        body = _ended(self._body, reason, self._output, usage)
        return told + self._event(f"response.{body['status']}", {"response": body})

    # --- its own

    def _event(self, kind: str, members: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return b"event: %b\ndata: %b\n\n" % (
            kind.encode(),
            _encode({"type": kind, "sequence_number": number, **members}),
        )

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        opening = {"response": self._body}
        return self._event("response.created", opening) + self._event("response.in_progress", opening)

    @property
    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": len(self._output)}

    def _added(self) -> bytes:
        place = {"output_index": len(self._output), "item": self._open}
        return self._event("response.output_item.added", place)

    def _turn_to(self, kind: str) -> bytes:
        """Let the open item be one of this kind."""
        if self._open is not None and self._open["type"] == kind:
            return b""
        told = self._close_item() + self._begin()
        if kind == "message":
            self._open = self._items.message("", "in_progress")
            told += self._added()
            told += self._event(
                "response.content_part.added", {**self._place, "content_index": 0, "part": text_part("")}
            )
        else:
            self._open = self._items.reasoning("", [])
            told += self._added()
            part = {"type": "summary_text", "text": ""}
            told += self._event(
                "response.reasoning_summary_part.added", {**self._place, "summary_index": 0, "part": part}
            )
        self._set_text_event()
        return told

    def _set_text_event(self) -> None:
        """Encode once what all pieces of the open item's text have in common."""
        assert self._open is not None
        events: dict[str, tuple[str, dict[str, Any]]] = {
            "message": ("response.output_text.delta", {"content_index": 0, "logprobs": []}),
            "reasoning": ("response.reasoning_summary_text.delta", {"summary_index": 0}),
            "function_call": ("response.function_call_arguments.delta", {}),
            "custom_tool_call": ("", {}),
        }
        kind, more = events[self._open["type"]]
        common = _encode({"type": kind, **self._place, **more})[:-1]
        self._text_head = b'event: %b\ndata: %b,"sequence_number":' % (kind.encode(), common) if kind else b""

    def _text(self, text: str) -> bytes:
        self._parts.append(text)
        if not self._text_head or not text:
            return b""  # free text is known when its call is whole
        number, self._number = self._number, self._number + 1
        return b'%b%d,"delta":%b}\n\n' % (self._text_head, number, _encode(text))

    def _close_item(self, status: str = "completed") -> bytes:
        item = self._open
        if item is None:
            return b""
        text = "".join(self._parts)
        match item["type"]:
            case "message":
                told = self._close_message(item, text, status)
            case "reasoning":
                told = self._close_reasoning(item, text)
            case _:
                told = self._close_call(item, text)
        place = {"output_index": len(self._output), "item": self._output_item}
        told += self._event("response.output_item.done", place)
        self._output.append(self._output_item)
        self._open = None
        self._parts.clear()
        return told

    def _close_message(self, item: dict[str, Any], text: str, status: str) -> bytes:
        place = {**self._place, "content_index": 0}
        self._output_item = self._items.message(text, status, item["id"])
        told = self._event("response.output_text.done", {**place, "text": text, "logprobs": []})
        return told + self._event("response.content_part.done", {**place, "part": text_part(text)})

    def _close_reasoning(self, item: dict[str, Any], text: str) -> bytes:
        place = {**self._place, "summary_index": 0}
        self._output_item = self._items.reasoning(text, self._details, item["id"])
        self._details = []
        told = self._event("response.reasoning_summary_text.done", {**place, "text": text})
        part = {"type": "summary_text", "text": text}
        return told + self._event("response.reasoning_summary_part.done", {**place, "part": part})

    def _close_call(self, item: dict[str, Any], arguments: str) -> bytes:
        call_id, name = item["call_id"], item["name"]
        self._output_item = self._items.call(call_id, name, arguments, item["id"])
        if item["type"] == "custom_tool_call":
            told = free_text(arguments)
            return self._event("response.custom_tool_call_input.delta", {**self._place, "delta": told}) + self._event(
                "response.custom_tool_call_input.done", {**self._place, "input": told}
            )
        told = arguments or "{}"
        return self._event("response.function_call_arguments.done", {**self._place, "name": name, "arguments": told})
