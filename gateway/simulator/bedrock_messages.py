"""Checks of a conversation's messages, and what of them matters for the answer."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from gateway.simulator.bedrock_errors import by_the_model, constraint, invalid
from gateway.simulator.content import IMAGE_TOKENS, tokens

type Body = dict[str, Any]

IMAGE_FORMATS = ("png", "jpeg", "gif", "webp")
_BLOCKS = (
    "text",
    "image",
    "toolUse",
    "toolResult",
    "document",
    "video",
    "guardContent",
    "cachePoint",
    "reasoningContent",
)
_RESULT_BLOCKS = ("json", "text", "image", "document", "video")
_STARTS_WITH_USER = (
    "A conversation must start with a user message. Try again with a conversation that starts with a user message."
)
_TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}\Z")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def check_messages(body: Body, *, claude: bool) -> list[Body]:
    """Return the messages. Raises Refused."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid(_STARTS_WITH_USER)
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", claude=claude)
    if messages[0]["role"] != "user":
        raise invalid(_STARTS_WITH_USER)
    for before, after in pairwise(messages):
        if before["role"] == after["role"]:
            raise invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
                "between user and assistant roles and try again."
            )
    return messages


def uses_tools(messages: list[Body]) -> bool:
    """Whether a tool was called or has answered anywhere in the conversation."""
    return any("toolUse" in block or "toolResult" in block for message in messages for block in message["content"])


def last_words(messages: list[Body]) -> tuple[str, bool]:
    """Return what the answer is about, and whether it is a tool's result."""
    last = next((message for message in reversed(messages) if message["role"] == "user"), messages[-1])
    content = last["content"]
    results = [index for index, block in enumerate(content) if "toolResult" in block]
    if results and results[-1] == len(content) - 1:
        return result_text(content[-1]["toolResult"]), last is messages[-1]
    after = content[results[-1] + 1 :] if results else content
    return "\n".join(block["text"] for block in after if "text" in block), False


def result_text(result: Body) -> str:
    parts = (
        block.get("text") or _json(block["json"]) for block in result["content"] if "text" in block or "json" in block
    )
    return "\n".join(parts)


def images_of(message: Body) -> Iterator[str]:
    """Describe each image of a message."""
    for block in message["content"]:
        if "image" in block:
            yield f"image/{block['image']['format']}, {len(base64.b64decode(block['image']['source']['bytes']))} bytes"


def block_tokens(block: Body) -> int:
    """Count a block by the rule of `content`."""
    if "text" in block:
        return tokens(block["text"])
    if "image" in block:
        return IMAGE_TOKENS
    if "toolUse" in block:
        return tokens(block["toolUse"]["name"]) + tokens(_json(block["toolUse"]["input"]))
    if "toolResult" in block:
        return sum(map(block_tokens, block["toolResult"]["content"]))
    return tokens(_json(block["json"])) if "json" in block else 0


def signature_of(reasoning: str) -> str:
    """Return the signature that the simulated model puts on its reasoning, and asks for when it comes back."""
    digest = hashlib.blake2b(reasoning.encode(), key=b"simulated", digest_size=48).digest()
    return base64.b64encode(digest).decode()


def _check_message(message: Any, where: str, *, claude: bool) -> None:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        role = message.get("role") if isinstance(message, dict) else message
        raise constraint(f"{where}.member.role", role, "satisfy enum value set: [user, assistant]")
    content = message.get("content")
    if not isinstance(content, list) or not content:
        raise invalid(
            f"The content field in the Message object at {where} is empty. Add a ContentBlock object to the content "
            "field and try again."
        )
    for index, block in enumerate(content):
        _check_block(block, message["role"], f"{where}.content.{index}", claude=claude)


def _check_block(block: Any, role: str, where: str, *, claude: bool) -> None:
    kinds = [name for name in _BLOCKS if name in block] if isinstance(block, dict) else []
    if len(kinds) != 1:
        raise invalid(f"The content block object at {where} must set one of the following keys: {', '.join(_BLOCKS)}.")
    match kinds[0]:
        case "text":
            if not isinstance(block["text"], str) or not block["text"].strip():
                raise invalid(
                    f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and "
                    "try again."
                )
        case "image":
            if role != "user":
                raise invalid(f"The image block at {where} is only allowed in messages with the role user.")
            _check_image(block["image"], where)
        case "toolUse":
            _check_tool_use(block["toolUse"], role, where)
        case "toolResult":
            _check_tool_result(block["toolResult"], role, where)
        case "reasoningContent":
            _check_reasoning(block["reasoningContent"], role, where, claude=claude)


def _check_image(image: Any, where: str) -> None:
    image = image if isinstance(image, dict) else {}
    if image.get("format") not in IMAGE_FORMATS:
        raise constraint(
            f"{where}.image.format", image.get("format"), f"satisfy enum value set: [{', '.join(IMAGE_FORMATS)}]"
        )
    source = image.get("source")
    encoded = source.get("bytes") if isinstance(source, dict) else None
    try:
        decoded = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise invalid(f"The image source at {where} must hold the bytes of an image in Base64.")


def _check_tool_use(use: Any, role: str, where: str) -> None:
    use = use if isinstance(use, dict) else {}
    if role != "assistant":
        raise invalid(f"The toolUse block at {where} is only allowed in messages with the role assistant.")
    _check_id(use.get("toolUseId"), f"{where}.toolUse.toolUseId")
    if not isinstance(use.get("name"), str) or not _TOOL_NAME.match(use["name"]):
        raise constraint(f"{where}.toolUse.name", use.get("name"), "satisfy regular expression pattern: [a-zA-Z0-9_-]+")
    if not isinstance(use.get("input"), dict):
        raise invalid(
            f"The format of the value at {where}.toolUse.input is invalid. Provide a json object for the field and try "
            "again."
        )


def _check_tool_result(result: Any, role: str, where: str) -> None:
    result = result if isinstance(result, dict) else {}
    if role != "user":
        raise invalid(f"The toolResult block at {where} is only allowed in messages with the role user.")
    _check_id(result.get("toolUseId"), f"{where}.toolResult.toolUseId")
    content = result.get("content")
    if not isinstance(content, list):
        raise constraint(f"{where}.toolResult.content", content, "not be null")
    if result.get("status") not in (None, "success", "error"):
        raise constraint(f"{where}.toolResult.status", result["status"], "satisfy enum value set: [success, error]")
    if not content and result.get("status") == "error":
        raise invalid(f"The content field at {where}.toolResult cannot be empty when status value is error.")
    for index, block in enumerate(content):
        kinds = [name for name in _RESULT_BLOCKS if name in block] if isinstance(block, dict) else []
        if len(kinds) != 1 or ("json" in block and not isinstance(block["json"], dict)):
            raise invalid(
                f"The format of the value at {where}.toolResult.content.{index} is invalid. Provide one of: "
                f"{', '.join(_RESULT_BLOCKS)}, where json is an object."
            )
        if "image" in block:
            _check_image(block["image"], f"{where}.toolResult.content.{index}")


def _check_id(value: Any, where: str) -> None:
    if not isinstance(value, str) or not _TOOL_USE_ID.match(value):
        raise constraint(where, value, "satisfy regular expression pattern: [a-zA-Z0-9_.:-]+")


def _check_reasoning(reasoning: Any, role: str, where: str, *, claude: bool) -> None:
    reasoning = reasoning if isinstance(reasoning, dict) else {}
    if role != "assistant":
        raise invalid(f"The reasoningContent block at {where} is only allowed in messages with the role assistant.")
    text = reasoning.get("reasoningText")
    if isinstance(text, dict) and isinstance(text.get("text"), str):
        if claude and text.get("signature") != signature_of(text["text"]):
            raise by_the_model(f"{where}: Invalid `signature` in `thinking` block")
        return
    if not isinstance(reasoning.get("redactedContent"), str):
        raise invalid(f"The reasoningContent block at {where} must set reasoningText or redactedContent.")


def check_tool_turns(messages: list[Body]) -> None:
    """Refuse tool results without calls, and calls without results, in the very next message."""
    called: list[str] = []
    for index, message in enumerate(messages):
        answered = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        missing = [identifier for identifier in called if identifier not in answered]
        if missing:
            raise invalid(
                f"Expected toolResult blocks at messages.{index}.content for the following Ids: {', '.join(missing)}"
            )
        if len(answered) > len(called):
            raise invalid(
                f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of "
                "previous turn."
            )
        called = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        if len(set(called)) < len(called):
            raise invalid(f"The toolUse blocks at messages.{index}.content contain duplicate Ids: {called[0]}")
    if called:
        raise invalid(
            f"Expected toolResult blocks at messages.{len(messages)}.content for the following Ids: {', '.join(called)}"
        )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
