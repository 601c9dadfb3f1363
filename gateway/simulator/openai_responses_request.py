"""Checks of a request to the Responses API, and what it asks for once it has passed them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.simulator import openai_members as members
from gateway.simulator.content import IMAGE_TOKENS, Conversation, Tool, tokens
from gateway.simulator.dialect import Asked, Circumstances
from gateway.simulator.openai_chat_request import REASONING_TOKENS, is_reasoning_model
from gateway.simulator.openai_errors import invalid
from gateway.simulator.openai_members import Body

MEMBERS = frozenset(
    (
        *("background", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls"),
        *("metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream"),
        *(
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ),
    )
)
LEAST_OUTPUT_TOKENS = 16
_ROLES = ("user", "assistant", "system", "developer")
_PARTS = ("input_text", "input_image", "input_file", "output_text", "refusal")
_ITEMS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that has passed every check."""

    model: str
    body: Body
    conversation: Conversation
    prompt_tokens: int


def checked(asked: Asked, body: Body, circumstances: Circumstances) -> Asking:
    """Return what is asked for. Raises Refused."""
    items = _checked_items(body)
    reasoning = is_reasoning_model(asked.model)
    members.number(body, "top_p", 0, 1)
    if members.number(body, "temperature", 0, 2) not in (None, 1.0) and reasoning:
        raise members.unsupported("temperature", "is not supported with this model.")
    members.boolean(body, "stream")
    members.boolean(body, "store")
    if body.get("previous_response_id") is not None:
        raise invalid(
            f"Previous response with id '{body['previous_response_id']}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    limit = members.integer(body, "max_output_tokens", LEAST_OUTPUT_TOKENS)
    tools = _checked_tools(body)
    last = items[-1]
    after_tool = last.get("type") == "function_call_output"
    effort = (members.mapping(body, "reasoning") or {}).get("effort") or "medium"
    schema, json_object = _checked_format(body)
    said = last["output"] if after_tool else _text_of(_last_user(items))
    return Asking(
        asked.model,
        body,
        Conversation(
            last_text=said,
            after_tool=after_tool,
            images=tuple(_images_of(last)),
            tools=_called(body, tools, after_tool=after_tool),
            parallel=body.get("parallel_tool_calls") is not False and "parallel" in said.casefold(),
            json_schema=schema,
            json_object=json_object,
            max_tokens=limit,
            reasoning_tokens=REASONING_TOKENS.get(effort, 64) if reasoning else 0,
            giant=circumstances.giant,
        ),
        _prompt_tokens(body, items),
    )


def _checked_items(body: Body) -> list[Body]:
    asked = body.get("input")
    if asked is None:
        raise members.missing("input")
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    if not isinstance(asked, list):
        raise members.wrong_type("input", "one of a string or array of input items", asked)
    if not asked:
        raise invalid("Invalid 'input': empty array.", param="input", code="empty_array")
    calls: set[str] = set()
    for index, item in enumerate(asked):
        param = f"input[{index}]"
        if not isinstance(item, dict):
            raise members.wrong_type(param, "an object", item)
        _check_item(item, param, calls)
    return asked


def _check_item(item: Body, param: str, calls: set[str]) -> None:
    """Check one item; `calls` holds the ids of the calls before it."""
    kind = members.one_of(item, "type", _ITEMS, param=f"{param}.type") or "message"
    if kind == "message":
        _check_message(item, param)
    elif kind == "function_call":
        for name in ("call_id", "name", "arguments"):
            if members.text(item, name, param=f"{param}.{name}") is None:
                raise members.missing(f"{param}.{name}")
        calls.add(item["call_id"])
    elif kind == "function_call_output":
        if members.text(item, "output", param=f"{param}.output") is None:
            raise members.missing(f"{param}.output")
        if item.get("call_id") not in calls:
            raise invalid(
                f"No tool call found for function call output with call_id {item.get('call_id')}.", param="input"
            )


def _check_message(item: Body, param: str) -> None:
    if members.one_of(item, "role", _ROLES, param=f"{param}.role") is None:
        raise members.missing(f"{param}.role")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise members.wrong_type(f"{param}.content", "one of an array of objects or string", content)
    for index, part in enumerate(content):
        where = f"{param}.content[{index}]"
        kind = members.one_of(part if isinstance(part, dict) else {}, "type", _PARTS, param=f"{where}.type")
        if kind is None:
            raise members.missing(f"{where}.type")
        if (kind == "output_text") != (item["role"] == "assistant") and kind != "refusal":
            allowed = ("output_text", "refusal") if item["role"] == "assistant" else _PARTS[:3]
            raise members.invalid_value(f"{where}.type", kind, allowed)


def _checked_tools(body: Body) -> tuple[Tool, ...]:
    found = []
    tools = body.get("tools") or []
    if not isinstance(tools, list):
        raise members.wrong_type("tools", "an array of objects", tools)
    for index, tool in enumerate(tools):
        param = f"tools[{index}]"
        if not isinstance(tool, dict) or "type" not in tool:
            raise members.missing(f"{param}.type")
        if tool["type"] == "function":
            name = members.text(tool, "name", param=f"{param}.name")
            if name is None:
                raise members.missing(f"{param}.name")
            schema = members.mapping(tool, "parameters", param=f"{param}.parameters")
            found.append(Tool(name, schema or {"type": "object", "properties": {}}))
    return tuple(found)


def _called(body: Body, tools: tuple[Tool, ...], *, after_tool: bool) -> tuple[Tool, ...]:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = tuple(tool for tool in tools if tool.name == choice.get("name"))
        if not named:
            raise invalid(f"Tool choice '{choice.get('name')}' not found in 'tools' parameter.", param="tool_choice")
        return named
    if members.one_of(body, "tool_choice", ("none", "auto", "required")) == "none":
        return ()
    return () if after_tool and choice != "required" else tools


def _checked_format(body: Body) -> tuple[Body | None, bool]:
    text = members.mapping(body, "text") or {}
    wanted = members.mapping(text, "format", param="text.format") or {"type": "text"}
    kind = members.one_of(wanted, "type", ("json_object", "json_schema", "text"), param="text.format.type")
    if kind != "json_schema":
        return None, kind == "json_object"
    for name in ("name", "schema"):
        if name not in wanted:
            raise members.missing(f"text.format.{name}")
    return members.mapping(wanted, "schema", param="text.format.schema") or {"type": "object"}, False


def _last_user(items: list[Body]) -> Body:
    return next((item for item in reversed(items) if item.get("role") == "user"), items[-1])


def _text_of(item: Body) -> str:
    content = item.get("content", "")
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content if "text" in part)


def _images_of(item: Body) -> Iterator[str]:
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if part["type"] == "input_image":
            yield str(part.get("image_url") or part.get("file_id"))[:40]


def _prompt_tokens(body: Body, items: list[Body]) -> int:
    """Count a prompt by the rule of `content`."""
    told: Any = body.get("instructions")
    total = tokens(told) if isinstance(told, str) else 0
    total += sum(tokens(msgspec.json.encode(tool).decode()) for tool in body.get("tools") or ())
    for item in items:
        total += tokens(_text_of(item)) + IMAGE_TOKENS * sum(1 for _ in _images_of(item))
        total += sum(tokens(item[name]) for name in ("name", "arguments", "output") if isinstance(item.get(name), str))
    return total
