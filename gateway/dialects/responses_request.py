"""A request of the Responses API as the chat request that asks for the same, for whoever speaks chat alone. Pure.

What it translates is described in https://platform.openai.com/docs/api-reference/responses/create. A conversation that
lies on OpenAI's servers, and tools that run there, have no counterpart: they are Unsupported, by name.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.providers.base import Unsupported
from nexus.errors import InvalidRequest

CUSTOM_INPUT = "input"  # the one argument of a function that stands for a tool of free text
_SEALED = "nexus1."  # begins reasoning that we sealed: details of the family that thought it
_AS_THEY_ARE = (
    *("metadata", "model", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    *("service_tier", "store", "stream", "temperature", "top_logprobs", "top_p", "user"),
)
_NO_REQUEST = frozenset(("include", "truncation", "stream_options"))  # they ask nothing of the model
_TRANSLATED = frozenset(("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"))


def chat_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the chat request. Raises InvalidRequest and Unsupported, which name the member."""
    chat: dict[str, Any] = {
        name: value for name, value in payload.items() if name in _AS_THEY_ARE and value is not None
    }
    for name, value in payload.items():
        known = name in _AS_THEY_ARE or name in _TRANSLATED or name in _NO_REQUEST
        if not known and value is not None and value is not False:
            raise Unsupported(name)
    chat["messages"] = list(_messages(payload))
    if (most := payload.get("max_output_tokens")) is not None:
        chat["max_completion_tokens"] = most  # which reasoning models take alone
    if (tools := payload.get("tools")) is not None:
        chat["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(_list(tools, "tools"))]
    if (choice := payload.get("tool_choice")) is not None:
        chat["tool_choice"] = _tool_choice(choice)
    if effort := _dict(payload.get("reasoning"), "reasoning").get("effort"):
        chat["reasoning_effort"] = effort
    text = _dict(payload.get("text"), "text")
    if (shape := _dict(text.get("format"), "text.format")) and shape.get("type") != "text":
        chat["response_format"] = _response_format(shape)
    return {name: value for name, value in chat.items() if value != []}


def custom_tools(payload: dict[str, Any]) -> frozenset[str]:
    """Return the names of the tools that take free text instead of arguments."""
    tools = payload.get("tools")
    found = tools if isinstance(tools, list) else []
    return frozenset(str(tool.get("name")) for tool in found if isinstance(tool, dict) and tool.get("type") == "custom")


def sealed(details: list[dict[str, Any]]) -> str:
    """Return reasoning details as the encrypted content of a reasoning item, which clients send back unread."""
    return _SEALED + b64encode(msgspec.json.encode(details)).decode()


def _opened(sealed_text: Any) -> list[dict[str, Any]]:
    if not isinstance(sealed_text, str) or not sealed_text.startswith(_SEALED):
        return []  # another provider's, which only it can read
    try:
        details = msgspec.json.decode(b64decode(sealed_text.removeprefix(_SEALED)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return []
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _messages(payload: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the messages; what one turn of the model is in several items becomes one message."""
    if instructions := payload.get("instructions"):
        yield {"role": "system", "content": instructions}
    asked = payload.get("input")
    if isinstance(asked, str):
        yield {"role": "user", "content": asked}
        return
    said: dict[str, Any] | None = None  # the assistant's turn that is being put together
    for at, item in enumerate(_list(asked, "input")):
        where = f"input[{at}]"
        piece = _item(_dict(item, where), where)
        if piece.get("role") != "assistant":
            if said is not None:
                yield said
                said = None
            yield piece
        elif said is None:
            said = piece
        else:
            _add(said, piece)
    if said is not None:
        yield said


def _add(said: dict[str, Any], piece: dict[str, Any]) -> None:
    for name in ("tool_calls", "reasoning_details"):
        if name in piece:
            said[name] = [*said.get(name, ()), *piece[name]]
    if piece.get("content"):
        said["content"] = [*(said.get("content") or ()), *piece["content"]]


def _item(item: dict[str, Any], where: str) -> dict[str, Any]:
    kind = item.get("type", "message")
    match kind:
        case "message":
            return _message(item, where)
        case "function_call" | "custom_tool_call":
            arguments = item.get("arguments", "")
            if kind == "custom_tool_call":
                arguments = msgspec.json.encode({CUSTOM_INPUT: item.get("input", "")}).decode()
            function = {"name": item.get("name", ""), "arguments": arguments}
            call = {"id": _text(item, "call_id", where), "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output" | "custom_tool_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else _content(output, f"{where}.output")
            return {"role": "tool", "tool_call_id": _text(item, "call_id", where), "content": content}
        case "reasoning":
            return {
                "role": "assistant",
                "content": None,
                "reasoning_details": _opened(item.get("encrypted_content")),
            }
        case "item_reference":
            raise Unsupported(where, "The provider that serves this model keeps no items: send them whole.")
    raise Unsupported(where, f"The provider that serves this model has no items of the type `{kind}`.")


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role == "assistant":
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else _content(content, where)
        return {"role": "assistant", "content": parts}
    return {"role": role, "content": content if isinstance(content, str) else _content(content, where)}


def _content(content: Any, where: str) -> list[dict[str, Any]]:
    return [_part(_dict(part, where), f"{where}.content[{at}]") for at, part in enumerate(_list(content, where))]


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": part.get("text", "")}
        case "refusal":
            return {"type": "text", "text": part.get("refusal", "")}
        case "input_image" if part.get("image_url"):
            return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    raise Unsupported(
        where, f"The provider that serves this model cannot take content of the type `{part.get('type')}`."
    )


def _tool(tool: Any, where: str) -> dict[str, Any]:
    tool = _dict(tool, where)
    match tool.get("type"):
        case "function":
            members = ("name", "description", "parameters", "strict")
            return {
                "type": "function",
                "function": {name: tool[name] for name in members if tool.get(name) is not None},
            }
        case "custom":
            told = tool.get("description") or ""
            if syntax := _dict(tool.get("format"), f"{where}.format").get("definition"):
                told = f"{told}\nThe input must follow this grammar:\n{syntax}".strip()
            schema = {
                "type": "object",
                "properties": {CUSTOM_INPUT: {"type": "string"}},
                "required": [CUSTOM_INPUT],
                "additionalProperties": False,
            }
            return {
                "type": "function",
                "function": {"name": tool.get("name"), "description": told, "parameters": schema},
            }
    raise Unsupported(where, f"The provider that serves this model has no tool of the type `{tool.get('type')}`.")


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    named = _dict(choice, "tool_choice")
    if named.get("type") not in ("function", "custom"):
        raise Unsupported("tool_choice")
    return {"type": "function", "function": {"name": named.get("name")}}


def _response_format(shape: dict[str, Any]) -> dict[str, Any]:
    if shape.get("type") != "json_schema":
        return {"type": shape.get("type")}
    members = ("name", "description", "schema", "strict")
    return {"type": "json_schema", "json_schema": {name: shape[name] for name in members if name in shape}}


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"`{where}` must be a list.", param=where)
    return value


def _dict(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"`{where}` must be an object.", param=where)
    return value


def _text(item: dict[str, Any], name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"`{where}.{name}` must be a text.", param=f"{where}.{name}")
    return value
