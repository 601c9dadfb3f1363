"""Checks of a Messages request, and what it asks for once it has passed them."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.simulator import anthropic_members as members
from gateway.simulator.anthropic_errors import extra, invalid, missing
from gateway.simulator.anthropic_members import Body
from gateway.simulator.anthropic_messages import (
    NEWEST_VERSION,
    blocks_of,
    check_messages,
    check_system,
    counted,
    images_of,
    text_of,
)
from gateway.simulator.anthropic_models import Model, model_of
from gateway.simulator.anthropic_schema import check_schema
from gateway.simulator.content import Conversation, Tool, tokens
from gateway.simulator.dialect import Asked, Circumstances

MEMBERS = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "stop_sequences", "stream", "tools", "tool_choice", "thinking"),
        *("output_config", "metadata", "service_tier", "cache_control", "container", "diagnostics", "inference_geo"),
        *("speed", "user_profile_id", "temperature", "top_p", "top_k"),
    )
)
SAMPLING = ("temperature", "top_p", "top_k")
MIN_CACHED_PROMPT = 1024  # tokens; shorter prefixes are never cached
MIN_BUDGET = 1024  # tokens of manual thinking
_REFUSAL = "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL"  # the vendor's own switches for tests
_REDACTED = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
_EFFORTS = {"low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 512}
_TOOL_MEMBERS = frozenset(
    (
        *("name", "description", "input_schema", "type", "strict", "cache_control", "allowed_callers"),
        *("defer_loading", "eager_input_streaming", "input_examples"),
    )
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Chat:
    """A request that has passed every check."""

    model: str
    conversation: Conversation
    prompt_tokens: int  # all of them
    cache_read_tokens: int
    cache_written_tokens: int
    shows_thinking: bool
    redacts_thinking: bool
    refuses: bool


def checked(asked: Asked, body: Body, circumstances: Circumstances, version: str) -> Chat:
    model = model_of(asked.model)
    limit = members.integer(body, "max_tokens", "max_tokens", least=1)
    if limit is None:
        raise missing("max_tokens")
    if limit > model.max_tokens:
        raise invalid(
            f"max_tokens: {limit} > {model.max_tokens}, which is the maximum allowed number of output tokens for "
            f"{asked.model}"
        )
    check_sampling(body, model, version)
    members.boolean(body, "stream", "stream")
    messages, tools = _checked_prompt(body, model, version)
    reasoning = _checked_thinking(body, model, limit, messages)
    schema = _checked_output(body, model)
    last = messages[-1]
    results = [block for block in blocks_of(last["content"]) if block["type"] == "tool_result"]
    said = text_of(last["content"])
    read, written = _cached(body, messages, circumstances)
    conversation = Conversation(
        last_text=said or "\n".join(text_of(block.get("content")) for block in results),
        after_tool=bool(results),
        images=tuple(images_of(last["content"])),
        tools=_called_tools(body, tools, fresh=not results),
        parallel="parallel" in said.casefold() and not _one_at_a_time(body),
        json_schema=schema,
        max_tokens=limit,
        stop=_checked_stops(body),
        reasoning_tokens=reasoning,
        giant=circumstances.giant,
    )
    return Chat(
        model=asked.model,
        conversation=conversation,
        prompt_tokens=prompt_tokens(body, messages),
        cache_read_tokens=read,
        cache_written_tokens=written,
        shows_thinking=(body.get("thinking") or {}).get("display") != "omitted",
        redacts_thinking=_REDACTED in said,
        refuses=_REFUSAL in said,
    )


def checked_prompt(asked: Asked, body: Body, version: str) -> int:
    """Return the tokens of a prompt that is only to be counted. Raises Refused."""
    messages, _ = _checked_prompt(body, model_of(asked.model), version)
    return prompt_tokens(body, messages)


def check_sampling(body: Body, model: Model, version: str) -> None:
    """Check the numbers that steer sampling, which the newest version of the API and the newest models do not have."""
    for name in SAMPLING:
        if body.get(name) is not None and version == NEWEST_VERSION:
            raise extra(name)
    temperature = members.share(body, "temperature")
    top_p = members.share(body, "top_p")
    members.integer(body, "top_k", "top_k", least=0)
    if not model.sampling:
        for name in SAMPLING:
            if body.get(name) is not None and not (name == "temperature" and body[name] == 1):
                raise invalid(f"`{name}` is deprecated for this model.")
    elif temperature is not None and top_p is not None:
        raise invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def prompt_tokens(body: Body, messages: list[Body]) -> int:
    return sum(size for size, _, _ in _parts(body, messages))


def _parts(body: Body, messages: list[Body]) -> list[tuple[int, bool, Any]]:
    """Return the prompt in the order of the cache: tokens, whether the cache may end behind it, and the part."""
    parts: list[tuple[int, bool, Any]] = [
        (tokens(msgspec.json.encode(tool).decode()), "cache_control" in tool, tool) for tool in body.get("tools") or ()
    ]
    contents = [body.get("system"), *(message["content"] for message in messages)]
    parts.extend(
        (counted(block), "cache_control" in block, block) for content in contents for block in blocks_of(content)
    )
    if body.get("cache_control") and parts:
        parts[-1] = (parts[-1][0], True, parts[-1][2])
    return parts


def _cached(body: Body, messages: list[Body], circumstances: Circumstances) -> tuple[int, int]:
    """Return the tokens that were read from the cache and those written to it: all up to the last mark."""
    parts = _parts(body, messages)
    end = max((place for place, (_, marked, _) in enumerate(parts, start=1) if marked), default=0)
    size = sum(tokens_ for tokens_, _, _ in parts[:end])
    if size < MIN_CACHED_PROMPT:
        return 0, 0
    prefix = msgspec.json.encode([body["model"], [part for _, _, part in parts[:end]]])
    return (size, 0) if circumstances.seen_before(prefix) else (0, size)


def _checked_prompt(body: Body, model: Model, version: str) -> tuple[list[Body], tuple[Tool, ...]]:
    messages = check_messages(body, version)
    check_system(body)
    if messages[-1]["role"] == "assistant":
        if not model.prefill:
            raise invalid(
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
        if text_of(messages[-1]["content"]).endswith((" ", "\n", "\t")):
            raise invalid("messages: final assistant content cannot end with trailing whitespace")
    tools = _checked_tools(body)
    _check_choice(body, tools)
    return messages, tools


def _checked_tools(body: Body) -> tuple[Tool, ...]:
    found = []
    for index, tool in enumerate(members.items(body, "tools", "tools") or ()):
        where = f"tools.{index}.custom"
        if not isinstance(tool, dict):
            raise invalid(f"{where}: Input should be a valid dictionary or object to extract fields from")
        if tool.get("type") not in (None, "custom"):
            continue  # a tool that the vendor's own servers run: it is never called here
        members.only(tool, _TOOL_MEMBERS, where)
        name = members.required_text(tool, "name", f"{where}.name")
        if not _TOOL_NAME.match(name):
            raise invalid(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        members.text(tool, "description", f"{where}.description")
        schema = members.mapping(tool, "input_schema", f"{where}.input_schema")
        if schema is None:
            raise missing(f"{where}.input_schema")
        if schema.get("type") is None:
            raise missing(f"{where}.input_schema.type")
        members.one_of(schema, "type", ("object",), f"{where}.input_schema.type")
        if members.boolean(tool, "strict", f"{where}.strict"):
            check_schema(schema, f"{where}.input_schema")
        found.append(Tool(name, schema))
    if len({tool.name for tool in found}) < len(found):
        raise invalid("tools: Tool names must be unique.")
    return tuple(found)


def _check_choice(body: Body, tools: tuple[Tool, ...]) -> None:
    choice = members.mapping(body, "tool_choice", "tool_choice")
    if choice is None:
        return
    kind = members.tag(choice, ("auto", "any", "tool", "none"), "tool_choice")
    known = (
        {"type"}
        | ({"disable_parallel_tool_use"} if kind != "none" else set())
        | ({"name"} if kind == "tool" else set())
    )
    members.only(choice, frozenset(known), f"tool_choice.{kind}")
    members.boolean(choice, "disable_parallel_tool_use", f"tool_choice.{kind}.disable_parallel_tool_use")
    if not body.get("tools"):
        raise invalid("tool_choice: may only be specified while providing `tools`.")
    if kind == "tool":
        name = members.required_text(choice, "name", "tool_choice.tool.name")
        if name not in {tool.name for tool in tools}:
            raise invalid(f"tool_choice.tool.name: Tool '{name}' not found in provided tools")


def _called_tools(body: Body, tools: tuple[Tool, ...], *, fresh: bool) -> tuple[Tool, ...]:
    """Return the tools that the answer calls: none where the choice says so, or after a tool's result."""
    choice = body.get("tool_choice") or {"type": "auto"}
    if choice["type"] == "tool":
        return tuple(tool for tool in tools if tool.name == choice["name"])
    return tools if choice["type"] == "any" or (choice["type"] == "auto" and fresh) else ()


def _one_at_a_time(body: Body) -> bool:
    return bool((body.get("tool_choice") or {}).get("disable_parallel_tool_use"))


def _checked_thinking(body: Body, model: Model, limit: int, messages: list[Body]) -> int:
    """Check how the model shall think; return the tokens that it does."""
    thinking = members.mapping(body, "thinking", "thinking")
    kind = "disabled"
    if thinking is not None:
        kind = members.tag(thinking, ("adaptive", "between_tools", "disabled", "enabled"), "thinking")
        if kind not in model.thinking:
            raise invalid(_unsupported_thinking(kind))
    effort = (body.get("output_config") or {}).get("effort") or "high"
    if kind in ("disabled", "between_tools") or thinking is None:
        return 0
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if body.get("temperature") not in (None, 1):
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if kind == "adaptive":
        return _EFFORTS.get(effort, 0)
    _check_budget(thinking, limit)
    _check_continued(messages)
    return 64


def _unsupported_thinking(kind: str) -> str:
    if kind == "adaptive":
        return "adaptive thinking is not supported on this model"
    if kind == "disabled":
        return '"thinking.type.disabled" is not supported for this model.'
    return (
        f'"thinking.type.{kind}" is not supported for this model. Use "thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.'
    )


def _check_budget(thinking: Body, limit: int) -> None:
    budget = members.integer(thinking, "budget_tokens", "thinking.enabled.budget_tokens", least=MIN_BUDGET)
    if budget is None:
        raise missing("thinking.enabled.budget_tokens")
    if budget >= limit:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_continued(messages: list[Body]) -> None:
    """Refuse a tool's result for a turn that does not begin with the thoughts that led to the call."""
    if not any(block["type"] == "tool_result" for block in blocks_of(messages[-1]["content"])):
        return
    first = blocks_of(messages[-2]["content"])[0]["type"]
    if first not in ("thinking", "redacted_thinking"):
        raise invalid(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the lastmost set of `tool_use` and `tool_result` blocks). To avoid this requirement, disable "
            "`thinking`."
        )


def _checked_output(body: Body, model: Model) -> Body | None:
    """Check the output's settings; return the schema that the text has to fit."""
    config = members.mapping(body, "output_config", "output_config")
    if config is None:
        return None
    members.only(config, frozenset(("effort", "format")), "output_config")
    effort = members.one_of(config, "effort", tuple(_EFFORTS), "output_config.effort")
    if effort is not None and not model.effort:
        raise invalid("This model does not support the effort parameter.")
    wanted = members.mapping(config, "format", "output_config.format")
    if wanted is None:
        return None
    members.tag(wanted, ("json_schema",), "output_config.format")
    members.only(wanted, frozenset(("type", "schema")), "output_config.format")
    schema = members.mapping(wanted, "schema", "output_config.format.schema")
    if schema is None:
        raise missing("output_config.format.schema")
    check_schema(schema, "output_config.format.schema")
    return schema


def _checked_stops(body: Body) -> tuple[str, ...]:
    stops = members.items(body, "stop_sequences", "stop_sequences") or []
    for index, stop in enumerate(stops):
        if not isinstance(stop, str):
            raise invalid(f"stop_sequences.{index}: Input should be a valid string")
        if not stop.strip():
            raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
    return tuple(stops)
