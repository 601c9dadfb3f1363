"""Responses as OpenAI answers them, in one piece and in typed events."""

from typing import Any

import msgspec

from gateway.simulator.content import Answer, answer, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream
from gateway.simulator.openai_members import Body
from gateway.simulator.openai_responses_request import Asking, checked

_REPEATED = ("instructions", "max_output_tokens", "metadata", "temperature", "top_p", "tools", "tool_choice", "user")


def respond(asked: Asked, body: Body, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request for a response. Raises Refused."""
    asking = checked(asked, body, circumstances)
    said = answer(asking.conversation)
    output = _output(said, circumstances)
    if asked.stream:
        return Stream(tuple(_Events(asking, said, output, circumstances).all()))
    return Reply(200, msgspec.json.encode(_whole(asking, said, output, circumstances)))


def _output(said: Answer, circumstances: Circumstances) -> list[Body]:
    token = circumstances.token
    items: list[Body] = []
    if said.reasoning_tokens:
        items.append({"id": f"rs_{token}", "type": "reasoning", "summary": []})
    for number, call in enumerate(said.calls):
        items.append(
            {
                "id": f"fc_{token}{number:02x}",
                "type": "function_call",
                "status": "completed",
                "arguments": call.arguments,
                "call_id": f"call_{token[:20]}{number:02x}",
                "name": call.name,
            }
        )
    if not said.calls:
        status = "incomplete" if said.cut else "completed"
        message = {"id": f"msg_{token}", "type": "message", "status": status, "role": "assistant"}
        items.append({**message, "content": [_part(said.text)]})
    return items


def _part(text: str) -> Body:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _begun(asking: Asking, circumstances: Circumstances) -> Body:
    repeated = {name: asking.body.get(name) for name in _REPEATED}
    return {
        "id": f"resp_{circumstances.token}",
        "object": "response",
        "created_at": circumstances.now,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": asking.model,
        "output": [],
        "parallel_tool_calls": asking.body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": asking.body.get("store") is not False,
        "text": asking.body.get("text") or {"format": {"type": "text"}, "verbosity": "medium"},
        "truncation": "disabled",
        "usage": None,
        **repeated,
        "metadata": repeated["metadata"] or {},
        "tools": repeated["tools"] or [],
        "tool_choice": repeated["tool_choice"] or "auto",
    }


def _whole(asking: Asking, said: Answer, output: list[Body], circumstances: Circumstances) -> Body:
    whole = _begun(asking, circumstances)
    whole |= {"status": "incomplete" if said.cut else "completed", "output": output}
    if said.cut:
        whole["incomplete_details"] = {"reason": "max_output_tokens"}
    if circumstances.with_usage:
        whole["usage"] = {
            "input_tokens": asking.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said.tokens,
            "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
            "total_tokens": asking.prompt_tokens + said.tokens,
        }
    return whole


class _Events:
    """Makes one stream's events, numbered as they come."""

    def __init__(self, asking: Asking, said: Answer, output: list[Body], circumstances: Circumstances) -> None:
        self._begun = _begun(asking, circumstances)
        self._whole = _whole(asking, said, output, circumstances)
        self._output = output
        self._number = 0

    def all(self) -> list[Event]:
        events = [
            self._event(Kind.START, "response.created", response=self._begun),
            self._event(Kind.START, "response.in_progress", response=self._begun),
        ]
        for index, item in enumerate(self._output):
            events += self._item(index, item)
        events.append(self._event(Kind.DONE, f"response.{self._whole['status']}", response=self._whole))
        return events

    def _event(self, kind: Kind, event: str, /, **told: Any) -> Event:
        data = msgspec.json.encode({"type": event, "sequence_number": self._number, **told})
        self._number += 1
        return Event(kind, b"event: %b\ndata: %b\n\n" % (event.encode(), data))

    def _item(self, index: int, item: Body) -> list[Event]:
        place = {"item_id": item["id"], "output_index": index}
        begun = {**item, "status": "in_progress"}
        empty = {**begun, "content": []}
        events = []
        if item["type"] == "message":
            text = item["content"][0]["text"]
            place["content_index"] = 0
            events += [
                self._event(Kind.OTHER, "response.output_item.added", output_index=index, item=empty),
                self._event(Kind.OTHER, "response.content_part.added", **place, part=_part("")),
                *(
                    self._event(Kind.CONTENT, "response.output_text.delta", **place, delta=piece, logprobs=[])
                    for piece in words(text)
                ),
                self._event(Kind.OTHER, "response.output_text.done", **place, text=text, logprobs=[]),
                self._event(Kind.OTHER, "response.content_part.done", **place, part=_part(text)),
            ]
        elif item["type"] == "function_call":
            arguments = item["arguments"]
            pieces = [arguments[at : at + 8] for at in range(0, len(arguments), 8)]
            name = "response.function_call_arguments"
            added = {**begun, "arguments": ""}
            events += [
                self._event(Kind.CONTENT, "response.output_item.added", output_index=index, item=added),
                *(self._event(Kind.CONTENT, f"{name}.delta", **place, delta=piece) for piece in pieces),
                self._event(Kind.OTHER, f"{name}.done", **place, name=item["name"], arguments=arguments),
            ]
        else:
            events.append(self._event(Kind.OTHER, "response.output_item.added", output_index=index, item=item))
        events.append(self._event(Kind.OTHER, "response.output_item.done", output_index=index, item=item))
        return events
