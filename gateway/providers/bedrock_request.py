"""From a chat to the body of a Converse request. Pure.

Wire facts: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

import re
from typing import Any

import msgspec

from gateway.providers.anthropic_models import traits_of
from gateway.providers.anthropic_schema import enforceable
from gateway.providers.base import Unsupported
from gateway.providers.bedrock_messages import Block, continues_without_thoughts, conversation
from gateway.providers.chat import Chat, Tool

JSON_TOOL = "nexus_json_answer"  # what a model is made to call where it knows no JSON output of its own

_HONOURED = frozenset(
    (
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice"),
        *("response_format", "reasoning_effort", "user", "safety_identifier", "metadata"),
    )
)
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}\Z")
_MOST_METADATA = 16
# Models, wherever the region's or the profile's prefix ends, that lack a part of the API.
_NO_JSON_SCHEMA = re.compile(
    r"(?:^|[./])(?:amazon|meta|cohere|ai21|writer)\.|claude-3|claude-(?:sonnet|opus)-4-(?:20|1)|deepseek\.r1"
)
_NO_FORCED_TOOLS = re.compile(r"(?:^|[./])(?:meta|cohere|ai21|deepseek)\.")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_BUDGETS = {"low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}  # tokens
_LEAST_BUDGET = 1024


class Draft:
    """A Converse body in the making, and what had to be left out of it."""

    def __init__(self, chat: Chat, model: str, *, drop: bool) -> None:
        self.chat = chat
        self.model = model
        self._drop = drop
        self.dropped = list(chat.unhonoured(_HONOURED, drop=drop))
        self.body: dict[str, Any] = {}

    def leave_out(self, name: str, message: str = "") -> None:
        """Leave a member out where the connection allows it. Raises Unsupported where it does not."""
        if not self._drop:
            raise Unsupported(name, message)
        self.dropped.append(name)


def converse_body(chat: Chat, model: str, *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body and the names of members that were left out. Raises InvalidRequest, and Unsupported."""
    draft = Draft(chat, model, drop=drop)
    body = draft.body
    tools = chat.tools if chat.tool_choice is None or chat.tool_choice.mode != "none" else ()
    _add_tools(draft, tools)
    body["messages"], system = conversation(chat, model, with_tools="toolConfig" in body)
    if system:
        body["system"] = system
    thinks = _add_reasoning(draft)
    config = _inference(draft, thinks=thinks)
    if config:
        body["inferenceConfig"] = config
    metadata = _metadata(draft)
    if metadata:
        body["requestMetadata"] = metadata
    return body, tuple(draft.dropped)


# --- tools and JSON


def _add_tools(draft: Draft, tools: tuple[Tool, ...]) -> None:
    """Write the tools and how to choose among them, and JSON output, which may have to be one of them."""
    specs = [_spec(tool) for tool in tools]
    choice = draft.chat.tool_choice
    chosen: Block | None = None
    if choice is not None and choice.mode == "required":
        chosen = {"any": {}}
    elif choice is not None and choice.mode == "named":
        chosen = {"tool": {"name": choice.name}}
    if draft.chat.json_output is not None and not _has_json_schema(draft):
        specs.append(_json_tool(draft.chat))
        chosen = chosen or ({"any": {}} if tools else {"tool": {"name": JSON_TOOL}})
    if not specs:
        return
    draft.body["toolConfig"] = {"tools": specs}
    if chosen is not None and _NO_FORCED_TOOLS.search(draft.model):
        what = "tool_choice" if draft.chat.json_output is None else "response_format"
        draft.leave_out(what)
        if what == "response_format":
            specs.pop()
            if not specs:
                del draft.body["toolConfig"]
    elif chosen is not None:
        draft.body["toolConfig"]["toolChoice"] = chosen


def _spec(tool: Tool) -> Block:
    parameters = tool.parameters or {}
    spec: Block = {"name": tool.name, "inputSchema": {"json": {"type": "object", "properties": {}, **parameters}}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def _has_json_schema(draft: Draft) -> bool:
    """Write the schema of the answer where the model takes one; return whether it does."""
    wanted = draft.chat.json_output
    if wanted is None or wanted.schema is None or _NO_JSON_SCHEMA.search(draft.model):
        return False
    schema = enforceable(wanted.schema) if "claude" in draft.model else wanted.schema
    named: Block = {"schema": msgspec.json.encode(schema).decode()}
    if wanted.name:
        named["name"] = wanted.name
    draft.body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": named}}}
    return True


def _json_tool(chat: Chat) -> Block:
    wanted = chat.json_output
    schema = wanted.schema if wanted is not None and wanted.schema is not None else {}
    return {
        "toolSpec": {
            "name": JSON_TOOL,
            "description": "Give the whole answer as this tool's input: the JSON object that was asked for.",
            "inputSchema": {"json": {"type": "object", **schema}},
        }
    }


# --- how to generate


def _add_reasoning(draft: Draft) -> bool:
    """Write how much the model shall reason; return whether it will."""
    asked = draft.chat.reasoning_effort
    if asked is None or asked == "none":
        return False
    effort, model = _EFFORTS.get(asked, ""), draft.model
    if not effort:
        draft.leave_out("reasoning_effort")
        return False
    if "claude" in model:
        return _add_thinking(draft, effort)
    if "gpt-oss" in model:
        draft.body["additionalModelRequestFields"] = {"reasoning_effort": min(effort, "high", key=list(_BUDGETS).index)}
        return False
    if "nova-2" in model:
        capped = min(effort, "high", key=list(_BUDGETS).index)
        draft.body["additionalModelRequestFields"] = {
            "reasoningConfig": {"type": "enabled", "maxReasoningEffort": capped}
        }
        return False
    draft.leave_out("reasoning_effort")
    return False


def _add_thinking(draft: Draft, effort: str) -> bool:
    traits = traits_of(draft.model)
    if traits.thinking == "none":
        draft.leave_out("reasoning_effort")
        return False
    if traits.thinking == "budget":
        thinking = _budget(draft, effort)
    else:
        thinking = {"type": "adaptive", "display": "summarized"}
        effort = effort if traits.extra_high_effort or effort != "xhigh" else "high"
        draft.body.setdefault("outputConfig", {})["effort"] = effort
    if thinking is None or ("toolChoice" in draft.body.get("toolConfig", {}) and traits.thinking != "always"):
        draft.dropped.append("reasoning_effort")  # what was asked for is answered, with less thought
        return False
    draft.body["additionalModelRequestFields"] = {"thinking": thinking}
    return True


def _budget(draft: Draft, effort: str) -> Block | None:
    """Return how many tokens may go into thought; None where there is no room for it, or no way back to it."""
    most, budget = draft.chat.max_tokens, _BUDGETS[effort]
    if most is not None:
        budget = min(budget, max(_LEAST_BUDGET, most // 2))
        if most <= _LEAST_BUDGET:
            return None
    if continues_without_thoughts(draft.body["messages"]):
        return None
    return {"type": "enabled", "budget_tokens": budget}


def _inference(draft: Draft, *, thinks: bool) -> dict[str, Any]:
    chat, claude = draft.chat, "claude" in draft.model
    config: dict[str, Any] = {}
    if chat.max_tokens is not None:
        config["maxTokens"] = chat.max_tokens
    # 1 is what Claude takes by default, and newer generations take nothing else, not even that.
    temperature = None if claude and chat.temperature == 1 else chat.temperature
    top_p = None if chat.top_p == 1 else chat.top_p
    if claude and (thinks or not traits_of(draft.model).sampling):
        for name, value in (("temperature", temperature), ("top_p", top_p)):
            if value is not None:
                draft.leave_out(name)
        temperature = top_p = None
    if claude and temperature is not None and top_p is not None:
        draft.leave_out("top_p", "Claude takes `temperature` or `top_p`, not both.")
        top_p = None
    if temperature is not None:
        config["temperature"] = min(temperature, 1)
    if top_p is not None:
        config["topP"] = top_p
    stop = [text for text in chat.stop if text.strip()] if claude else list(chat.stop)
    if len(stop) < len(chat.stop):
        draft.leave_out("stop", "Claude takes no stop sequence that is nothing but white space.")
    if stop:
        config["stopSequences"] = stop
    return config


def _metadata(draft: Draft) -> dict[str, str]:
    """Return what the request's log at AWS shall say of it: metadata, and whose request it is."""
    payload = draft.chat.payload
    given = payload.get("metadata")
    told = dict(given) if isinstance(given, dict) else {}
    told |= {name: payload[name] for name in ("user", "safety_identifier") if isinstance(payload.get(name), str)}
    good = {
        name: value
        for name, value in told.items()
        if isinstance(value, str) and _METADATA.match(name) and _METADATA.match(value)
    }
    kept = dict(list(good.items())[:_MOST_METADATA])
    if isinstance(given, dict) and not set(given) <= set(kept):
        draft.dropped.append("metadata")
    draft.dropped.extend(name for name in ("user", "safety_identifier") if payload.get(name) and name not in kept)
    return kept
