"""Converse and ConverseStream as Bedrock answers them."""

from dataclasses import replace
from typing import Any

import msgspec

from gateway.simulator.bedrock_frames import CONTENT_TYPE, event
from gateway.simulator.bedrock_messages import Body, signature_of
from gateway.simulator.bedrock_request import Chat, checked
from gateway.simulator.content import Answer, answer, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream

_THOUGHT = "[simulated] The user said something, and it deserves an answer."
_FRAGMENT = 8  # characters of a call's arguments in one event


def converse(asked: Asked, body: Body, circumstances: Circumstances) -> Reply | Stream:
    """Answer a conversation. Raises Refused."""
    chat = checked(asked, body, circumstances)
    said = answer(chat.conversation)
    metadata: dict[str, Any] = {"metrics": {"latencyMs": circumstances.latency_ms}}
    if circumstances.with_usage:
        metadata["usage"] = _usage(chat, said)
    if asked.stream:
        return Stream(_events(chat, said, metadata, circumstances), content_type=CONTENT_TYPE)
    content = {
        "output": {"message": {"role": "assistant", "content": _blocks(chat, said, circumstances)}},
        "stopReason": _stop_reason(chat, said),
        **metadata,
    }
    return Reply(200, msgspec.json.encode(content))


def _blocks(chat: Chat, said: Answer, circumstances: Circumstances) -> list[Body]:
    blocks: list[Body] = []
    if said.reasoning_tokens:
        text: Body = {"text": _THOUGHT}
        if chat.signed:
            text["signature"] = signature_of(_THOUGHT)
        blocks.append({"reasoningContent": {"reasoningText": text}})
    if said.text:
        blocks.append({"text": said.text})
    for number, call in enumerate(said.calls):
        use = {"toolUseId": _use_id(circumstances, number), "name": call.name, "input": _input(call.arguments)}
        blocks.append({"toolUse": use})
    return blocks


def _use_id(circumstances: Circumstances, number: int) -> str:
    return f"tooluse_{circumstances.token[:20]}{number:02x}"


def _input(arguments: str) -> Any:
    """Return a call's arguments as an object; those that maxTokens cut are not even JSON."""
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _stop_reason(chat: Chat, said: Answer) -> str:
    if said.cut:
        return "max_tokens"
    if said.calls:
        return "tool_use"
    unstopped = answer(replace(chat.conversation, stop=()))
    return "end_turn" if unstopped.text == said.text else "stop_sequence"


def _usage(chat: Chat, said: Answer) -> Body:
    prompt = chat.input_tokens + chat.cache_read_tokens + chat.cache_write_tokens
    return {
        "inputTokens": chat.input_tokens,
        "outputTokens": said.tokens,
        "totalTokens": prompt + said.tokens,
        "cacheReadInputTokens": chat.cache_read_tokens,
        "cacheWriteInputTokens": chat.cache_write_tokens,
    }


def _events(chat: Chat, said: Answer, metadata: Body, circumstances: Circumstances) -> tuple[Event, ...]:
    events = [event(Kind.START, "messageStart", {"role": "assistant"})]
    blocks = _blocks(chat, said, circumstances)
    arguments = [*([""] * (len(blocks) - len(said.calls))), *(call.arguments for call in said.calls)]
    for index, block in enumerate(blocks):
        if "toolUse" in block:
            start = {"toolUse": {name: block["toolUse"][name] for name in ("toolUseId", "name")}}
            events.append(event(Kind.CONTENT, "contentBlockStart", {"contentBlockIndex": index, "start": start}))
        events.extend(
            event(Kind.CONTENT, "contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
            for delta in _deltas(block, arguments[index])
        )
        events.append(event(Kind.OTHER, "contentBlockStop", {"contentBlockIndex": index}))
    events.append(event(Kind.FINISH, "messageStop", {"stopReason": _stop_reason(chat, said)}))
    events.append(event(Kind.USAGE, "metadata", metadata))
    return tuple(events)


def _deltas(block: Body, arguments: str) -> list[Body]:
    if "text" in block:
        return [{"text": piece} for piece in words(block["text"])]
    if "toolUse" in block:
        return [{"toolUse": {"input": arguments[at : at + _FRAGMENT]}} for at in range(0, len(arguments), _FRAGMENT)]
    reasoning = block["reasoningContent"]["reasoningText"]
    deltas: list[Body] = [{"reasoningContent": {"text": piece}} for piece in words(reasoning["text"])]
    if "signature" in reasoning:
        deltas.append({"reasoningContent": {"signature": reasoning["signature"]}})
    return deltas
