"""What Azure's content filter adds to OpenAI's answers, whole and streamed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from gateway.simulator.dialect import Asked, Event, Kind, Reply, Stream
from gateway.simulator.openai_members import Body
from gateway.simulator.openai_messages import text_of
from gateway.simulator.openai_wire import DONE, event

BLOCK_PROMPT = "[filter prompt]"
BLOCK_ANSWER = "[filter answer]"
ASYNCHRONOUS = "async-filter"
_CATEGORIES = ("hate", "self_harm", "sexual", "violence")


def blocked(body: Body) -> bool:
    """Whether the filter lets a prompt through to no model."""
    return BLOCK_PROMPT in _asked_text(body)


def filtered(answer: Reply | Stream, asked: Asked) -> Reply | Stream:
    """Return an answer with the filter's remarks, and cut off where the prompt asks for it."""
    cut = BLOCK_ANSWER in _asked_text(asked.body)
    if isinstance(answer, Stream):
        return replace(answer, events=tuple(_events(answer.events, asked, cut=cut)))
    content = msgspec.json.decode(answer.body)
    for choice in content["choices"]:
        choice["content_filter_results"] = _judged(cut=cut)
        if cut:
            choice["finish_reason"] = "content_filter"
            choice.get("message", {}).pop("content", None)
    content["prompt_filter_results"] = _prompt_results()
    return replace(answer, body=msgspec.json.encode(content))


def _events(events: tuple[Event, ...], asked: Asked, *, cut: bool) -> Iterator[Event]:
    first = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
    yield event(Kind.START, msgspec.json.encode({**first, "prompt_filter_results": _prompt_results()}))
    late = ASYNCHRONOUS in asked.model
    for passed in events:
        if passed is DONE:
            yield passed
            continue
        if cut and passed.kind is Kind.CONTENT:
            continue
        if late and passed.kind is Kind.FINISH:
            yield _late_results()
        chunk = msgspec.json.decode(passed.wire.removeprefix(b"data: "))
        for choice in chunk["choices"]:
            if cut and passed.kind is Kind.FINISH:
                choice["finish_reason"] = "content_filter"
            remarks = passed.kind is Kind.CONTENT or (cut and passed.kind is Kind.FINISH)
            choice["content_filter_results"] = _judged(cut=cut) if remarks and not late else {}
        yield event(passed.kind, msgspec.json.encode(chunk))


def _late_results() -> Event:
    """Return what the asynchronous filter sends behind the text: offsets, and no delta at all."""
    offsets = {"check_offset": 0, "start_offset": 0, "end_offset": 32}
    choice = {
        "index": 0,
        "finish_reason": None,
        "content_filter_results": _judged(cut=False),
        "content_filter_offsets": offsets,
    }
    chunk = {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}
    return event(Kind.OTHER, msgspec.json.encode(chunk))


def _prompt_results() -> list[Body]:
    return [{"prompt_index": 0, "content_filter_results": _judged(cut=False)}]


def _judged(*, cut: bool) -> Body:
    judged: Body = {name: {"filtered": False, "severity": "safe"} for name in _CATEGORIES}
    if cut:
        judged["violence"] = {"filtered": True, "severity": "medium"}
    return judged


def _asked_text(body: Any) -> str:
    """Return the text of a prompt that has passed every check."""
    messages = body.get("messages")
    return "\n".join(map(text_of, messages)) if messages is not None else str(body.get("prompt", ""))
