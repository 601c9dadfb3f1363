"""Checks of a chat's messages as Cohere makes them."""

from typing import Any

from gateway.simulator import cohere_members as members
from gateway.simulator.cohere_errors import invalid
from gateway.simulator.cohere_members import Body

_PARTS = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}


def check_messages(body: Body) -> list[Body]:
    """Return the messages. Raises Refused."""
    members.required(body, "messages")
    messages = members.array(body, "messages") or []
    if not messages:
        raise invalid("invalid request: messages must be at least 1 element long.")
    called: set[str] = set()
    for index, message in enumerate(messages):
        called = _check_message(message, index, called)
    if called:
        raise invalid(f"invalid request: missing tool results for tool calls {sorted(called)}.")
    if messages[-1]["role"] not in ("user", "tool"):
        raise invalid("invalid request: the last message must be of role user or tool.")
    return messages


def text_of(message: Body) -> str:
    """Return a message's text, its parts joined by line ends; what was thought is no part of it."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part["type"] == "text")


def _check_message(message: Any, index: int, called: set[str]) -> set[str]:
    """Check a message that comes while results of some calls are due; return the calls that are due behind it."""
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise members.wrong_type(where, "object", message)
    role = members.one_of(message, "role", tuple(_PARTS))
    if role is None:
        raise invalid(f"invalid request: {where}.role is required")
    _check_content(message, role, where)
    if role == "tool":
        call_id = message.get("tool_call_id")
        if call_id not in called:
            raise invalid(f"invalid request: tool_call_id '{call_id}' in {where} matches no tool call.")
        return called - {call_id}
    if called:
        raise invalid(f"invalid request: missing tool results for tool calls {sorted(called)}.")
    if role != "assistant":
        return set()
    calls = members.array(message, "tool_calls") or []
    if not calls and not message.get("content"):
        raise invalid(f"invalid request: {where} must have content or tool_calls.")
    return {_checked_call(call, where) for call in calls}


def _check_content(message: Body, role: str, where: str) -> None:
    content = message.get("content")
    if content is None or isinstance(content, str):
        if (content is None and role != "assistant") or (not content and role in ("system", "user")):
            raise invalid(f"invalid request: {where}.content must not be empty.")
        return
    if not isinstance(content, list):
        raise members.wrong_type(f"{where}.content", "string or array", content)
    for part in content:
        if not isinstance(part, dict):
            raise members.wrong_type(f"{where}.content", "object", part)
        kind = members.one_of(part, "type", _PARTS[role])
        if kind is None:
            raise invalid(f"invalid request: {where}.content.type is required")
        if kind in ("text", "thinking"):
            members.required(part, kind)
            members.text(part, kind)
        if kind == "image_url":
            url = (members.mapping(part, "image_url") or {}).get("url")
            if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:image/")):
                raise invalid(f"invalid request: {where} has an image that is neither a web URL nor a base64 data URI.")


def _checked_call(call: Any, where: str) -> str:
    if not isinstance(call, dict):
        raise members.wrong_type(f"{where}.tool_calls", "object", call)
    if call.get("type") != "function":
        raise invalid(f"invalid request: {where}.tool_calls.type must be 'function'.")
    function = members.mapping(call, "function") or {}
    for name in ("name", "arguments"):
        members.required(function, name)
        members.text(function, name)
    members.required(call, "id")
    return members.text(call, "id") or ""
