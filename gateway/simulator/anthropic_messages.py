"""Checks of a conversation's messages, and what of them matters for the answer."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import msgspec

from gateway.simulator import anthropic_members as members
from gateway.simulator.anthropic_errors import extra, invalid, missing
from gateway.simulator.anthropic_members import Body
from gateway.simulator.content import IMAGE_TOKENS, tokens

NEWEST_VERSION = "2026-10-21"
REDACTED_PREFIX = "simulated-"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_BLOCKS = {
    "user": ("text", "image", "document", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use", "document"),
    "system": ("text",),
    "result": ("text", "image", "document"),
}
_MEMBERS = {
    "text": frozenset(("type", "text", "cache_control", "citations")),
    "image": frozenset(("type", "source", "cache_control", "transformations")),
    "document": frozenset(("type", "source", "cache_control", "citations", "context", "title")),
    "tool_result": frozenset(("type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name")),
    "thinking": frozenset(("type", "thinking", "signature")),
    "redacted_thinking": frozenset(("type", "data")),
    "tool_use": frozenset(("type", "id", "name", "input", "cache_control", "caller", "toolset_name")),
}
_IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+\Z")


def signature_of(thinking: str) -> str:
    """Return the signature that proves a thought to be the model's own: a fixed function of it."""
    digest = hashlib.blake2b(thinking.encode(), key=b"simulated", digest_size=48).digest()
    return base64.b64encode(digest).decode()


def blocks_of(content: Any) -> list[Body]:
    """Return a content as blocks: a text is short for one block of text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if isinstance(block, dict)]


def text_of(content: Any) -> str:
    """Return a content's text, its blocks joined by line ends."""
    return "\n".join(block["text"] for block in blocks_of(content) if block.get("type") == "text")


def images_of(content: Any) -> Iterator[str]:
    """Describe each image of a content."""
    for block in blocks_of(content):
        if block.get("type") == "image":
            source = block["source"]
            if source["type"] == "base64":
                yield f"{source['media_type']}, {len(base64.b64decode(source['data']))} bytes"
            else:
                yield source.get("url") or source.get("file_id") or ""


def counted(block: Body) -> int:
    """Count a block's tokens by the rule of `content`."""
    match block.get("type"):
        case "text":
            return tokens(block["text"])
        case "image":
            return IMAGE_TOKENS
        case "document":
            return tokens(str(block["source"].get("data") or ""))
        case "thinking":
            return tokens(block["thinking"])
        case "tool_use":
            return tokens(block["name"]) + tokens(msgspec.json.encode(block["input"]).decode())
        case "tool_result":
            return sum(map(counted, blocks_of(block.get("content"))))
    return 0


def check_messages(body: Body, version: str) -> list[Body]:
    """Return the messages. Raises Refused."""
    messages = members.items(body, "messages", "messages")
    if messages is None:
        raise missing("messages")
    if not messages:
        raise invalid("messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", version)
    if messages[0]["role"] != "user":
        raise invalid('messages: first message must use the "user" role')
    _check_tool_turns(messages)
    return messages


def check_system(body: Body) -> None:
    """Check the system prompt: a text, or blocks of text. Raises Refused."""
    system = body.get("system")
    if system is not None:
        _check_content(system, "system", "system", NEWEST_VERSION)


def _check_message(message: Any, where: str, version: str) -> None:
    if not isinstance(message, dict):
        raise invalid(f"{where}: Input should be a valid dictionary or object to extract fields from")
    members.only(message, frozenset(("role", "content")), where)
    if message.get("role") is None:
        raise missing(f"{where}.role")
    role = members.one_of(message, "role", ("user", "assistant", "system"), f"{where}.role") or ""
    if message.get("content") is None:
        raise missing(f"{where}.content")
    _check_content(message["content"], role, f"{where}.content", version)
    if message["content"] in ("", []):
        raise invalid("messages: text content blocks must be non-empty")


def _check_content(content: Any, role: str, where: str, version: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid(f"{where}: Input should be a valid string or list")
    for index, block in enumerate(content):
        here = f"{where}.{index}"
        kind = members.tag(block, _BLOCKS[role], here)
        members.only(block, _MEMBERS[kind], f"{here}.{kind}")
        _check_block(block, kind, f"{here}.{kind}", role, version)


def _check_block(block: Body, kind: str, where: str, role: str, version: str) -> None:
    match kind:
        case "text":
            _check_text(block, where, role, version)
        case "image" | "document":
            if kind == "document" and role == "assistant" and version == NEWEST_VERSION:
                raise invalid(f"{where}: `document` blocks are not permitted in assistant messages")
            _check_source(block, kind, where)
        case "tool_use":
            _check_identifier(block, "id", where)
            members.required_text(block, "name", f"{where}.name")
            if members.mapping(block, "input", f"{where}.input") is None:
                raise missing(f"{where}.input")
        case "tool_result":
            _check_identifier(block, "tool_use_id", where)
            members.boolean(block, "is_error", f"{where}.is_error")
            if block.get("content") is not None:
                _check_content(block["content"], "result", f"{where}.content", version)
        case _:
            _check_thought(block, kind, where)


def _check_text(block: Body, where: str, role: str, version: str) -> None:
    if not members.required_text(block, "text", f"{where}.text"):
        raise invalid("messages: text content blocks must be non-empty")
    if not block["text"].strip():
        raise invalid("messages: text content blocks must contain non-whitespace text")
    if block.get("citations") and role == "user" and version == NEWEST_VERSION:
        raise extra(f"{where}.citations")


def _check_thought(block: Body, kind: str, where: str) -> None:
    """Refuse a thought that the model has not had, or that has been changed since."""
    if kind == "thinking":
        thought = members.required_text(block, "thinking", f"{where}.thinking")
        genuine = members.required_text(block, "signature", f"{where}.signature") == signature_of(thought)
    else:
        genuine = members.required_text(block, "data", f"{where}.data").startswith(REDACTED_PREFIX)
    if not genuine:
        part = "signature" if kind == "thinking" else "data"
        raise invalid(f"{where.removesuffix('.' + kind)}: Invalid `{part}` in `{kind}` block")


def _check_identifier(block: Body, name: str, where: str) -> None:
    if not _IDENTIFIER.match(members.required_text(block, name, f"{where}.{name}")):
        raise invalid(f"{where}.{name}: String should match pattern '^[a-zA-Z0-9_-]+$'")


def _check_source(block: Body, kind: str, where: str) -> None:
    source = members.mapping(block, "source", f"{where}.source")
    if source is None:
        raise missing(f"{where}.source")
    form = members.tag(source, ("base64", "url", "file", "text"), f"{where}.source")
    here = f"{where}.source.{form}"
    if form == "url":
        if not members.required_text(source, "url", f"{here}.url").startswith("https://"):
            raise invalid(f"{here}.url: Only HTTPS URLs are supported.")
        return
    if form == "file":
        members.required_text(source, "file_id", f"{here}.file_id")
        return
    data = members.required_text(source, "data", f"{here}.data")
    if members.text(source, "media_type", f"{here}.media_type") is None:
        raise missing(f"{here}.media_type")
    if kind == "image":
        members.one_of(source, "media_type", IMAGE_TYPES, f"{here}.media_type")
    if form == "base64":
        try:
            base64.b64decode(data, validate=True)
        except binascii.Error:
            raise invalid(f"{here}.data: Input should be a valid base64 string") from None


def _check_tool_turns(messages: list[Body]) -> None:
    """Refuse tool results without calls, and calls without results in the next message."""
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        # Results count only where they come first: behind a text they are not "immediately after" their calls.
        first = takewhile(lambda block: block["type"] == "tool_result", blocks)
        results = [block["tool_use_id"] for block in first]
        for place, result in enumerate(results):
            if result not in open_calls:
                raise invalid(
                    f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{result}. Each `tool_result` block must have a corresponding `tool_use` block in the previous "
                    "message."
                )
        _check_answered([call for call in open_calls if call not in results], index - 1)
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(calls)) < len(calls):
            raise invalid(f"messages.{index}: `tool_use` ids must be unique")
        open_calls = calls
    _check_answered(open_calls, len(messages) - 1)


def _check_answered(unanswered: list[str], index: int) -> None:
    if unanswered:
        raise invalid(
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(unanswered)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message."
        )
