"""Checks of a chat's messages as Mistral makes them: the schema, the order of roles, and the ids of tool calls."""

import re
from typing import Any

from gateway.simulator import mistral_members as members
from gateway.simulator.mistral_errors import invalid, misfit
from gateway.simulator.mistral_members import Body, Path

_MEMBERS = {
    "system": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_calls", "prefix")),
    "tool": frozenset(("role", "content", "tool_call_id", "name")),
}
_PART_TYPES = ("text", "image_url", "thinking", "reference", "document_url", "file", "input_audio")
_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}\Z")
FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_FOLLOWERS = {
    "": ("system", "user", "assistant"),
    "system": ("system", "user", "assistant"),
    "user": ("system", "user", "assistant"),
    "assistant": ("user", "assistant", "tool"),
    "tool": ("assistant", "tool"),
}
_ORDER = ("invalid_request_message_order", "3230")


def check_messages(body: Body) -> list[Body]:
    """Return the messages. Raises Refused."""
    members.required(body, "messages")
    messages = members.array(body, "messages") or []
    if not messages:
        raise invalid("Conversation must have at least one message", *_ORDER)
    for index, message in enumerate(messages):
        _check_message(message, ("messages", index))
    _check_order(messages)
    return messages


def text_of(message: Body) -> str:
    """Return a message's text, its parts joined by line ends; what was thought is no part of it."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part["type"] == "text")


def openai_message(message: Body) -> Body:
    """Return a checked message as OpenAI writes it, for what counts and describes both alike."""
    content = message.get("content")
    if isinstance(content, list):
        content = [
            {"type": "image_url", "image_url": {"url": _url_of(part)}} if part["type"] == "image_url" else part
            for part in content
        ]
    return {**message, "content": content}


def _check_message(message: Any, where: Path) -> None:
    if not isinstance(message, dict):
        raise misfit("dict_type", where, "Input should be a valid dictionary", message)
    role = message.get("role")
    if role not in _MEMBERS:
        expected = ", ".join(f"'{name}'" for name in sorted(_MEMBERS))
        told = f"Input tag '{role}' found using 'role' does not match any of the expected tags: {expected}"
        raise misfit("union_tag_invalid", where, told, message)
    members.nothing_else(message, _MEMBERS[role], (*where, role))
    content = message.get("content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(part, (*where, role, "content", index))
    elif content is not None:
        members.text(message, "content", (*where, role))
    for index, call in enumerate(members.array(message, "tool_calls", (*where, role)) or ()):
        _check_call(call, (*where, role, "tool_calls", index))
    if role == "tool" and not message.get("tool_call_id"):
        raise invalid("Tool call id has to be defined.", "invalid_function_call", "3280")
    if role == "assistant" and not content and not message.get("tool_calls"):
        raise invalid(
            "Assistant message must have either content or tool_calls, but not none.",
            "invalid_assistant_message",
            "3240",
        )
    if role in ("system", "user") and content is None:
        raise misfit("missing", (*where, role, "content"), "Field required", message)


def _check_part(part: Any, where: Path) -> None:
    if not isinstance(part, dict):
        raise misfit("dict_type", where, "Input should be a valid dictionary", part)
    kind = members.one_of(part, "type", _PART_TYPES, where)
    if kind is None:
        raise misfit("missing", (*where, "type"), "Field required", part)
    if kind == "text":
        members.required(part, "text", where)
        members.text(part, "text", where)
    if kind == "image_url":
        url = _url_of(part)
        if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:image/")):
            raise invalid("Image URL must be a valid URL or a base64 data URL.", "invalid_request_file", "3310")


def _url_of(part: Body) -> Any:
    image = part.get("image_url")
    return image.get("url") if isinstance(image, dict) else image


def _check_call(call: Any, where: Path) -> None:
    if not isinstance(call, dict):
        raise misfit("dict_type", where, "Input should be a valid dictionary", call)
    members.nothing_else(call, frozenset(("id", "type", "function", "index")), where)
    members.required(call, "function", where)
    function = members.mapping(call, "function", where) or {}
    name = members.required(function, "name", (*where, "function"))
    members.required(function, "arguments", (*where, "function"))
    _check_id(call.get("id"))
    if not isinstance(name, str) or not FUNCTION_NAME.match(name):
        raise invalid(
            f"Function name was {name} but must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum "
            "length of 64.",
            "invalid_function_call",
            "3280",
        )


def _check_id(call_id: Any) -> None:
    if not isinstance(call_id, str) or not _CALL_ID.match(call_id):
        raise invalid(
            f"Tool call id was {call_id} but must be a-z, A-Z, 0-9, with a length of 9.",
            "invalid_function_call",
            "3280",
        )


def _check_order(messages: list[Body]) -> None:
    last, owed = "", 0
    for message in messages:
        role = message["role"]
        if role not in _FOLLOWERS[last]:
            raise invalid(f"Unexpected role '{role}' after role '{last}'", *_ORDER)
        if role == "tool":
            _check_id(message["tool_call_id"])
            owed -= 1
        else:
            _check_owed(owed)
            owed = len(message.get("tool_calls") or ())
        last = role
    if last == "assistant" and not messages[-1].get("prefix"):
        raise invalid(
            f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {last}", *_ORDER
        )
    if last == "system":
        raise invalid(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got system", *_ORDER
        )
    _check_owed(owed)


def _check_owed(owed: int) -> None:
    if owed:
        raise invalid("Not the same number of function calls and responses", *_ORDER)
