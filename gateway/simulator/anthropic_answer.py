"""Messages as Anthropic answers them, in one piece and event by event."""

from dataclasses import replace
from typing import Any

import msgspec

from gateway.simulator.anthropic_members import Body
from gateway.simulator.anthropic_messages import REDACTED_PREFIX, signature_of
from gateway.simulator.anthropic_request import Chat, checked
from gateway.simulator.content import Answer, answer, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream

_THOUGHT = "[simulated] The user said something, and it deserves an answer."


def complete(asked: Asked, body: Body, circumstances: Circumstances, version: str) -> Reply | Stream:
    """Answer a request for a message. Raises Refused."""
    chat = checked(asked, body, circumstances, version)
    said = _said(chat)
    message = {
        "id": f"msg_{circumstances.token[:24]}",
        "type": "message",
        "role": "assistant",
        "model": chat.model,
        "content": _blocks(chat, said, circumstances),
        **_stop(chat, said),
    }
    usage = _usage(chat, said.tokens, said.reasoning_tokens) if circumstances.with_usage else None
    if asked.stream:
        return Stream(_events(chat, said, message, usage))
    if usage is not None:
        message["usage"] = usage
    return Reply(200, msgspec.json.encode(message))


def _said(chat: Chat) -> Answer:
    return Answer("", (), cut=False, reasoning_tokens=0) if chat.refuses else answer(chat.conversation)


def _blocks(chat: Chat, said: Answer, circumstances: Circumstances) -> list[Body]:
    blocks: list[Body] = []
    if said.reasoning_tokens:
        thought = _THOUGHT if chat.shows_thinking else ""
        blocks.append({"type": "thinking", "thinking": thought, "signature": signature_of(thought)})
        if chat.redacts_thinking:
            blocks.append({"type": "redacted_thinking", "data": f"{REDACTED_PREFIX}{circumstances.token}"})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    for number, call in enumerate(said.calls):
        identifier = f"toolu_{circumstances.token[:22]}{number:02x}"
        blocks.append({"type": "tool_use", "id": identifier, "name": call.name, "input": _input(call.arguments)})
    return blocks


def _input(arguments: str) -> Any:
    """Return a call's arguments as an object; those that max_tokens cut are not even JSON."""
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _stop(chat: Chat, said: Answer) -> Body:
    reason, sequence = "end_turn", None
    if chat.refuses:
        details = {"type": "refusal", "category": "general_harms", "explanation": "[simulated] Asked to refuse."}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    if said.cut:
        reason = "max_tokens"
    elif said.calls:
        reason = "tool_use"
    elif chat.conversation.stop:
        whole = answer(replace(chat.conversation, stop=(), max_tokens=None)).text
        rest = whole[len(said.text) :]
        sequence = next((stop for stop in chat.conversation.stop if rest.startswith(stop)), None) if rest else None
        reason = "stop_sequence" if sequence else "end_turn"
    return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None}


def _usage(chat: Chat, output: int, thinking: int) -> Body:
    """Return the usage: what came from the cache or went to it is not counted as input."""
    return {
        "input_tokens": chat.prompt_tokens - chat.cache_read_tokens - chat.cache_written_tokens,
        "cache_creation_input_tokens": chat.cache_written_tokens,
        "cache_read_input_tokens": chat.cache_read_tokens,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thinking},
        "service_tier": "standard",
    }


def _events(chat: Chat, said: Answer, message: Body, usage: Body | None) -> tuple[Event, ...]:
    beginning = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    if usage is not None:
        beginning["usage"] = _usage(chat, 1, 0)
    events = [_event(Kind.START, "message_start", {"message": beginning})]
    calls = iter(said.calls)
    for index, block in enumerate(message["content"]):
        arguments = next(calls).arguments if block["type"] == "tool_use" else ""
        events.extend(_block_events(index, block, arguments))
        if index == 0:
            events.insert(2, _event(Kind.OTHER, "ping", {}))
    delta = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    ending = {"delta": delta} if usage is None else {"delta": delta, "usage": usage}
    events.append(_event(Kind.FINISH_WITH_USAGE if usage else Kind.FINISH, "message_delta", ending))
    events.append(_event(Kind.DONE, "message_stop", {}))
    return tuple(events)


def _block_events(index: int, block: Body, arguments: str) -> list[Event]:
    """Return a block's events; a call's arguments come as the text they are, even where max_tokens cut it."""
    start, deltas = dict(block), []
    match block["type"]:
        case "text":
            start["text"] = ""
            deltas = [{"type": "text_delta", "text": piece} for piece in words(block["text"])]
        case "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in words(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use":
            start["input"] = {}
            # A call without arguments gets none, not even an empty object.
            pieces = [arguments[at : at + 8] for at in range(0, len(arguments), 8) if arguments != "{}"]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return [
        _event(Kind.START, "content_block_start", {"index": index, "content_block": start}),
        *(_event(Kind.CONTENT, "content_block_delta", {"index": index, "delta": delta}) for delta in deltas),
        _event(Kind.OTHER, "content_block_stop", {"index": index}),
    ]


def _event(kind: Kind, name: str, content: Body) -> Event:
    data = msgspec.json.encode({"type": name, **content})
    return Event(kind, b"event: %b\ndata: %b\n\n" % (name.encode(), data))
