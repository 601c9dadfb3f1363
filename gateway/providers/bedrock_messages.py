"""A chat's messages as Converse takes them. Pure.

Wire facts: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

import hashlib
import re
from typing import Any

from gateway.providers.anthropic_models import traits_of
from gateway.providers.base import Unsupported
from gateway.providers.chat import Chat, Image, Message, Text

FORMAT = "bedrock"  # of the reasoning details that are ours
_FIRST = "(The conversation begins.)"  # what the user says where the assistant begins
_CONTINUE = "Continue."
_IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_CALL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}\Z")
type Block = dict[str, Any]


def conversation(chat: Chat, model: str, *, with_tools: bool) -> tuple[list[Block], list[Block]]:
    """Return the turns and the system prompt. Raises InvalidRequest, and Unsupported.

    The user begins, and ends where the model takes no prefill.
    """
    marked = "claude" in model or "nova" in model
    system = [
        block
        for message in chat.messages
        if message.role == "system"
        for part in message.parts
        for block in _part(part, marked=marked)
    ]
    turns = _turns(chat, with_tools=with_tools, marked=marked)
    if not turns:
        turns, system = [{"role": "user", "content": system or [{"text": _FIRST}]}], []
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"text": _FIRST}]})
    if turns[-1]["role"] == "assistant" and "claude" in model:
        _end_for_claude(turns, prefill=traits_of(model).prefill)
    return turns, system


def continues_without_thoughts(turns: list[Block]) -> bool:
    """Whether a tool has just answered a turn whose thoughts the client has lost: Claude takes that up unthinking."""
    if not any("toolResult" in block for block in turns[-1]["content"]):
        return False
    return len(turns) < 2 or "reasoningContent" not in turns[-2]["content"][0]


def _end_for_claude(turns: list[Block], *, prefill: bool) -> None:
    last = turns[-1]["content"][-1]
    if not prefill:
        turns.append({"role": "user", "content": [{"text": _CONTINUE}]})
    elif "text" in last:
        last["text"] = last["text"].rstrip()


def _turns(chat: Chat, *, with_tools: bool, marked: bool) -> list[Block]:
    """Return the turns, neighbours of one role merged: Bedrock wants the roles to alternate, and results first."""
    merged: list[Block] = []
    for message in chat.turns:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(chat, message, with_tools=with_tools, marked=marked)
        if not blocks:
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"].extend(blocks)
        else:
            merged.append({"role": role, "content": blocks})
    for turn in merged:
        turn["content"].sort(key=lambda block: turn["role"] == "user" and "toolResult" not in block)
    return merged


def _blocks(chat: Chat, message: Message, *, with_tools: bool, marked: bool) -> list[Block]:
    if message.role == "tool":
        return [_result(chat, message, with_tools=with_tools)]
    blocks = _reasoning(message) if message.role == "assistant" else []
    for part in message.parts:
        blocks += _part(part, marked=marked)
    for call in message.tool_calls:
        if with_tools:
            blocks.append({"toolUse": {"toolUseId": _call_id(call.id), "name": call.name, "input": call.input()}})
        else:
            blocks.append({"text": f"[Called {call.name} with {call.arguments or '{}'}]"})
    return blocks


def _result(chat: Chat, message: Message, *, with_tools: bool) -> Block:
    """Return a tool's result. Without tools Bedrock takes no results either, so what was called is told as text."""
    name = chat.tool_name(message.tool_call_id)
    if not with_tools:
        return {"text": f"[{name} answered: {message.text}]"}
    content = [{"text": part.text} for part in message.parts if isinstance(part, Text)]
    return {"toolResult": {"toolUseId": _call_id(message.tool_call_id), "content": content}}


def _part(part: Text | Image, *, marked: bool) -> list[Block]:
    """Return a part's block, and a cache point behind it where the client marks one. Bedrock takes no blank text."""
    if isinstance(part, Text):
        blocks: list[Block] = [{"text": part.text}] if part.text.strip() else []
    else:
        blocks = [_image(part)]
    if blocks and marked and part.cache_control is not None:
        blocks.append({"cachePoint": {"type": "default"}})
    return blocks


def _image(image: Image) -> Block:
    if image.url:
        raise Unsupported("messages", "Bedrock takes images as data URLs only, not by their address.")
    kind = _IMAGE_FORMATS.get(image.media_type)
    if kind is None:
        raise Unsupported("messages", f"Bedrock takes no images of the type `{image.media_type}`.")
    return {"image": {"format": kind, "source": {"bytes": image.data}}}


def _reasoning(message: Message) -> list[Block]:
    """Return the reasoning that came from Bedrock, unchanged: its signature covers the text."""
    blocks: list[Block] = []
    for detail in message.reasoning:
        if detail.get("format") != FORMAT:
            continue
        if detail.get("type") == "reasoning.text" and isinstance(detail.get("text"), str):
            said = {name: detail[name] for name in ("text", "signature") if isinstance(detail.get(name), str)}
            blocks.append({"reasoningContent": {"reasoningText": said}})
        elif detail.get("type") == "reasoning.encrypted" and isinstance(detail.get("data"), str):
            blocks.append({"reasoningContent": {"redactedContent": detail["data"]}})
    return blocks


def _call_id(identifier: str) -> str:
    """Return a call's id in Bedrock's alphabet: another family's may need another spelling, always the same one."""
    if _CALL_ID.match(identifier):
        return identifier
    return f"call_{hashlib.blake2b(identifier.encode(), digest_size=16).hexdigest()}"
