"""Checks of a chat's messages, and what of them matters for the answer."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.simulator import openai_members as members
from gateway.simulator.content import IMAGE_TOKENS, tokens
from gateway.simulator.openai_errors import invalid
from gateway.simulator.openai_members import Body

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
PART_TYPES = ("text", "image_url", "input_audio", "refusal", "audio", "file")


def check_messages(body: Body) -> list[Body]:
    """Return the messages. Raises Refused."""
    messages = body.get("messages")
    if messages is None:
        raise members.missing("messages")
    if not isinstance(messages, list):
        raise members.wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    _check_tool_turns(messages)
    return messages


def text_of(message: Body) -> str:
    """Return a message's text, its parts joined by line ends."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part.get("type") == "text")


def images_of(message: Body) -> Iterator[str]:
    """Describe each image of a message."""
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if part["type"] == "image_url":
            url = part["image_url"]["url"]
            media_type, _, encoded = url.removeprefix("data:").partition(";base64,")
            yield f"{media_type}, {len(base64.b64decode(encoded))} bytes" if encoded else url


def prompt_tokens(messages: list[Body], tools: list[Body]) -> int:
    """Count a prompt by the rule of `content`."""
    total = sum(tokens(msgspec.json.encode(tool).decode()) for tool in tools)
    for message in messages:
        total += tokens(text_of(message))
        total += IMAGE_TOKENS * sum(1 for _ in images_of(message))
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            total += tokens(function.get("name", "")) + tokens(function.get("arguments", ""))
    return total


def _check_message(message: Any, param: str) -> None:
    if not isinstance(message, dict):
        raise members.wrong_type(param, "an object", message)
    role = message.get("role")
    if role is None:
        raise members.missing(f"{param}.role")
    if role not in ROLES:
        raise members.invalid_value(f"{param}.role", role, ROLES)
    if role == "assistant":
        _check_calls(message, param)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise members.missing(f"{param}.tool_call_id")
    _check_content(message, param)


def _check_content(message: Body, param: str) -> None:
    content = message.get("content")
    if content is None:
        if message["role"] == "assistant" and any(message.get(key) for key in ("tool_calls", "function_call", "audio")):
            return
        if message["role"] == "function":
            return
        raise invalid("Invalid value for 'content': expected a string, got null.", param=f"{param}.content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise members.wrong_type(f"{param}.content", "one of a string or array of objects", content)
    for index, part in enumerate(content):
        _check_part(part, message["role"], f"{param}.content[{index}]")


def _check_part(part: Any, role: str, param: str) -> None:
    if not isinstance(part, dict):
        raise members.wrong_type(param, "an object", part)
    kind = part.get("type")
    if kind is None:
        raise members.missing(f"{param}.type")
    if kind not in PART_TYPES:
        raise members.invalid_value(f"{param}.type", kind, PART_TYPES)
    if kind == "text" and members.text(part, "text", param=f"{param}.text") is None:
        raise members.missing(f"{param}.text")
    if kind == "image_url":
        if role != "user":
            raise invalid(
                f"Invalid 'messages'. Image URLs are only allowed for messages with role 'user', but this message with "
                f"role '{role}' contains an image URL.",
                param=param,
                code="invalid_value",
            )
        _check_image(part, param)


def _check_image(part: Body, param: str) -> None:
    image = members.mapping(part, "image_url", param=f"{param}.image_url")
    url = None if image is None else members.text(image, "url", param=f"{param}.image_url.url")
    if url is None:
        raise members.missing(f"{param}.image_url.url")
    media_type, _, encoded = url.partition(";base64,")
    if media_type.startswith("data:image/") and encoded:
        try:
            base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise invalid("Invalid base64 image_url.", param=f"{param}.image_url.url", code="invalid_base64") from None
    elif not url.startswith(("https://", "http://")):
        raise invalid(
            f"Invalid '{param}.image_url.url'. Expected a valid URL, but got a value with an invalid format.",
            param=f"{param}.image_url.url",
            code="invalid_image_url",
        )


def _check_calls(message: Body, param: str) -> None:
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list):
        raise members.wrong_type(f"{param}.tool_calls", "an array of objects", calls)
    for index, call in enumerate(calls):
        where = f"{param}.tool_calls[{index}]"
        if not isinstance(call, dict):
            raise members.wrong_type(where, "an object", call)
        for name in ("id", "type"):
            if members.text(call, name, param=f"{where}.{name}") is None:
                raise members.missing(f"{where}.{name}")
        function = members.mapping(call, "function", param=f"{where}.function")
        if function is None:
            if call["type"] == "function":
                raise members.missing(f"{where}.function")
            continue
        for name in ("name", "arguments"):
            if members.text(function, name, param=f"{where}.function.{name}") is None:
                raise members.missing(f"{where}.function.{name}")


def _check_tool_turns(messages: list[Body]) -> None:
    """Refuse tool results without calls, and calls without results."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise invalid(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            open_calls.discard(message["tool_call_id"])
            continue
        _check_answered(open_calls, index)
        open_calls = (
            {call["id"] for call in message.get("tool_calls") or ()} if message["role"] == "assistant" else set()
        )
    _check_answered(open_calls, len(messages))


def _check_answered(open_calls: set[str], index: int) -> None:
    if open_calls:
        raise invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(sorted(open_calls))}",
            param=f"messages.[{index}].role",
        )
