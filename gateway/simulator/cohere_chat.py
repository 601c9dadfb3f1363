"""Chats as Cohere answers them: content in parts, plans before calls, and named events in streams."""

import zlib
from typing import Any

import msgspec

from gateway.simulator.cohere_members import Body
from gateway.simulator.cohere_request import Chat, checked
from gateway.simulator.content import Answer, answer, tokens, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream
from gateway.simulator.openai_wire import DONE

PREAMBLE_TOKENS = 60  # that Cohere puts before every prompt and does not bill
_THOUGHT = "[simulated] thinking "
_VOCABULARY = 255_000


def complete(asked: Asked, body: Body, circumstances: Circumstances) -> Reply | Stream:
    """Answer a chat. Raises Refused."""
    chat = checked(asked, body, circumstances)
    said = answer(chat.conversation)
    if asked.stream:
        return Stream(_events(chat, said, circumstances))
    content: Body = {
        "id": circumstances.token,
        "finish_reason": _finish_reason(chat, said),
        "message": _message(said, circumstances),
    }
    if circumstances.with_usage:
        content["usage"] = _usage(chat, said)
    if chat.logprobs:
        content["logprobs"] = [_logprob(piece) for piece in words(said.text)]
    return Reply(200, msgspec.json.encode(content))


def thought_of(said: Answer) -> str:
    """Return what was thought: a text of as many tokens as were."""
    return (_THOUGHT * said.reasoning_tokens)[: 4 * said.reasoning_tokens]


def plan_of(said: Answer) -> str:
    """Return what is said before calls."""
    return f"[simulated] I will call {', '.join(call.name for call in said.calls)}."


def _message(said: Answer, circumstances: Circumstances) -> Body:
    message: Body = {"role": "assistant"}
    if said.calls:
        message["tool_plan"] = plan_of(said)
        message["tool_calls"] = [
            _call(call.name, call.arguments, number, circumstances) for number, call in enumerate(said.calls)
        ]
    parts = []
    if said.reasoning_tokens:
        parts.append({"type": "thinking", "thinking": thought_of(said)})
    if not said.calls:
        parts.append({"type": "text", "text": said.text})
    if parts:
        message["content"] = parts
    return message


def _call(name: str, arguments: str, number: int, circumstances: Circumstances) -> Body:
    call_id = f"{name}_{circumstances.token[:10]}{number:02x}"
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _finish_reason(chat: Chat, said: Answer) -> str:
    if said.cut:
        return "MAX_TOKENS"
    if said.calls:
        return "TOOL_CALL"
    return (
        "STOP_SEQUENCE" if any(stop in chat.conversation.last_text for stop in chat.conversation.stop) else "COMPLETE"
    )


def _usage(chat: Chat, said: Answer) -> Body:
    output = said.tokens + (tokens(plan_of(said)) if said.calls else 0)
    usage: Body = {
        "billed_units": {"input_tokens": chat.prompt_tokens, "output_tokens": output},
        "tokens": {"input_tokens": chat.prompt_tokens + PREAMBLE_TOKENS, "output_tokens": output},
    }
    return {**usage, "cached_tokens": chat.cached_tokens}


def _logprob(piece: str) -> Body:
    """Return a word's log-probability; a word stands for a token here."""
    return {
        "text": piece,
        "token_ids": [zlib.crc32(piece.encode()) % _VOCABULARY],
        "logprobs": [-0.125 * tokens(piece)],
    }


def _event(kind: Kind, name: str, **members: Any) -> Event:
    data = msgspec.json.encode({"type": name, **members})
    return Event(kind, b"event: %b\ndata: %b\n\n" % (name.encode(), data))


def _events(chat: Chat, said: Answer, circumstances: Circumstances) -> tuple[Event, ...]:
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    end: Body = {"finish_reason": _finish_reason(chat, said)}
    if circumstances.with_usage:
        end["usage"] = _usage(chat, said)
    events = [_event(Kind.START, "message-start", id=circumstances.token, delta={"message": empty})]
    if said.reasoning_tokens:
        events += _part_events("thinking", thought_of(said), 0, logprobs=False)
    if said.calls:
        events += _call_events(said, circumstances)
    else:
        events += _part_events("text", said.text, int(said.reasoning_tokens > 0), logprobs=chat.logprobs)
    return (*events, _event(Kind.FINISH_WITH_USAGE, "message-end", delta=end), DONE)


def _part_events(kind: str, text: str, index: int, *, logprobs: bool) -> list[Event]:
    def delta(content: Body) -> Body:
        return {"index": index, "delta": {"message": {"content": content}}}

    events = [_event(Kind.START, "content-start", **delta({"type": kind, kind: ""}))]
    for piece in words(text):
        told = {"logprobs": _logprob(piece)} if logprobs else {}
        events.append(_event(Kind.CONTENT, "content-delta", **delta({kind: piece}), **told))
    return [*events, _event(Kind.OTHER, "content-end", index=index)]


def _call_events(said: Answer, circumstances: Circumstances) -> list[Event]:
    events = [
        _event(Kind.CONTENT, "tool-plan-delta", delta={"message": {"tool_plan": piece}})
        for piece in words(plan_of(said))
    ]
    for number, call in enumerate(said.calls):
        start = _call(call.name, "", number, circumstances)
        events.append(_event(Kind.CONTENT, "tool-call-start", index=number, delta={"message": {"tool_calls": start}}))
        for at in range(0, len(call.arguments), 8):
            fragment = {"function": {"arguments": call.arguments[at : at + 8]}}
            delta = {"message": {"tool_calls": fragment}}
            events.append(_event(Kind.CONTENT, "tool-call-delta", index=number, delta=delta))
        events.append(_event(Kind.OTHER, "tool-call-end", index=number))
    return events
