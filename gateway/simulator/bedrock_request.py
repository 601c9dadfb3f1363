"""Checks of a Converse request, and what it asks for once it has passed them."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.simulator import bedrock_messages
from gateway.simulator.bedrock_errors import by_the_model, constraint, invalid
from gateway.simulator.bedrock_messages import Body
from gateway.simulator.content import Conversation, Tool, tokens
from gateway.simulator.dialect import Asked, Circumstances, Refused

MIN_CACHED_PROMPT = 1024  # tokens before a cache point; shorter ones are not cached
MIN_BUDGET = 1024  # tokens of manual thinking
_EFFORTS = {"low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 512}  # tokens of simulated reasoning
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_NO_SAMPLING = re.compile(r"claude-(?:opus-4-[78]|(?:opus|sonnet|haiku|fable)-[5-9])")
_ONE_OF_TWO = re.compile(r"claude-(?:opus-4-[1-6]|sonnet-4-[56]|haiku-4-5)")
_NO_TEXT_FORMAT = re.compile(
    r"(?:^|\.)(?:amazon|meta|cohere|ai21)\.|claude-3|claude-(?:sonnet|opus)-4-(?:20|1)|deepseek\.r1"
)
_NO_FORCED_TOOLS = re.compile(r"(?:^|\.)(?:meta|cohere|deepseek)\.")


@dataclass(frozen=True, slots=True)
class Chat:
    """A request that has passed every check."""

    model: str
    conversation: Conversation
    input_tokens: int  # without those of the cache
    cache_read_tokens: int
    cache_write_tokens: int
    signed: bool  # reasoning comes with a signature


def checked(asked: Asked, body: Body, circumstances: Circumstances) -> Chat:
    """Read a request. Raises Refused."""
    model = asked.model
    claude = "claude" in model
    messages = bedrock_messages.check_messages(body, claude=claude)
    system = _checked_system(body, model)
    limit, stop = _checked_inference(body, model)
    tools, choice = _checked_tools(body, messages, model)
    bedrock_messages.check_tool_turns(messages)
    schema = _checked_format(body, model)
    reasoning = _checked_reasoning(body, model, limit, forced=choice != "auto")
    said, after_tool = bedrock_messages.last_words(messages)
    conversation = Conversation(
        last_text=said,
        after_tool=after_tool,
        images=tuple(bedrock_messages.images_of(messages[-1])),
        tools=() if after_tool and choice == "auto" else tools,
        parallel="parallel" in said.casefold(),
        json_schema=schema,
        max_tokens=limit,
        stop=stop,
        reasoning_tokens=reasoning,
        giant=circumstances.giant,
    )
    fresh, read, written = _prompt_tokens(body, system, messages, model, circumstances)
    return Chat(model, conversation, fresh, read, written, signed=claude)


def _checked_system(body: Body, model: str) -> list[Body]:
    system = body.get("system")
    if system is None or system == []:
        return []
    if "titan" in model:
        raise invalid(
            "This model doesn't support system messages. Try again without a system message or use a model that "
            "supports system messages."
        )
    for index, block in enumerate(system if isinstance(system, list) else ["?"]):
        if not isinstance(block, dict) or not ("cachePoint" in block or isinstance(block.get("text"), str)):
            raise invalid(f"The system block at system.{index} must set one of the following keys: text, cachePoint.")
        if "text" in block and not block["text"]:
            raise constraint(f"system.{index}.member.text", "", "have length greater than or equal to 1")
    return list(system)


def _checked_inference(body: Body, model: str) -> tuple[int | None, tuple[str, ...]]:
    config = body.get("inferenceConfig")
    if config is None:
        return None, ()
    if not isinstance(config, dict):
        raise constraint("inferenceConfig", config, "be an object")
    limit = config.get("maxTokens")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise constraint("inferenceConfig.maxTokens", limit, "have value greater than or equal to 1")
    for name in ("temperature", "topP"):
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise constraint(f"inferenceConfig.{name}", value, "have value greater than or equal to 0")
        if value > 1:
            raise constraint(f"inferenceConfig.{name}", value, "have value less than or equal to 1")
        if _NO_SAMPLING.search(model):
            raise by_the_model(f"`{'top_p' if name == 'topP' else name}` is deprecated for this model.")
    if _ONE_OF_TWO.search(model) and {"temperature", "topP"} <= set(config):
        raise by_the_model("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    return limit, _checked_stop(config.get("stopSequences"), model)


def _checked_stop(stop: Any, model: str) -> tuple[str, ...]:
    if stop is None:
        return ()
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise constraint("inferenceConfig.stopSequences", stop, "have length greater than or equal to 1")
    if "claude" in model and not all(text.strip() for text in stop):
        raise by_the_model("stop_sequences: each stop sequence must contain non-whitespace")
    if "nova" in model and len(stop) > 4:
        raise by_the_model("Malformed input request: #/inferenceConfig/stopSequences: expected maximum item count: 4")
    return tuple(stop)


def _checked_tools(body: Body, messages: list[Body], model: str) -> tuple[tuple[Tool, ...], str]:
    """Return the tools that may be called, and how they are to be chosen: auto, any or tool."""
    config = body.get("toolConfig")
    if config is None:
        if bedrock_messages.uses_tools(messages):
            raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return (), "auto"
    tools = config.get("tools") if isinstance(config, dict) else None
    if not isinstance(tools, list) or not tools:
        raise constraint("toolConfig.tools", tools, "have length greater than or equal to 1")
    found = tuple(
        _checked_tool(tool, f"toolConfig.tools.{index}.member")
        for index, tool in enumerate(tools)
        if not (isinstance(tool, dict) and "cachePoint" in tool)
    )
    choice = config.get("toolChoice")
    if choice is None:
        return found, "auto"
    kind = next(iter(choice), "") if isinstance(choice, dict) and len(choice) == 1 else ""
    if kind not in ("auto", "any", "tool"):
        raise invalid("The tool choice at toolConfig.toolChoice must set one of the following keys: auto, any, tool.")
    if kind != "auto" and _NO_FORCED_TOOLS.search(model):
        raise _unsupported(f"toolConfig.toolChoice.{kind}")
    if kind == "tool":
        found = tuple(
            tool for tool in found if isinstance(choice["tool"], dict) and tool.name == choice["tool"].get("name")
        )
        if not found:
            raise invalid("The tool name at toolConfig.toolChoice.tool.name is not among toolConfig.tools.")
    return found, kind


def _checked_tool(tool: Any, where: str) -> Tool:
    spec = tool.get("toolSpec") if isinstance(tool, dict) else None
    if not isinstance(spec, dict):
        raise invalid(f"The tool at {where} must set one of the following keys: toolSpec, systemTool, cachePoint.")
    name = spec.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.match(name):
        raise constraint(f"{where}.toolSpec.name", name, "satisfy regular expression pattern: [a-zA-Z0-9_-]+")
    if spec.get("description") == "":
        raise constraint(f"{where}.toolSpec.description", "", "have length greater than or equal to 1")
    holder = spec.get("inputSchema")
    schema = holder.get("json") if isinstance(holder, dict) else None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise invalid(f"The value at {where}.toolSpec.inputSchema.json.type must be one of the following: object.")
    return Tool(name, schema)


def _checked_format(body: Body, model: str) -> Body | None:
    config = body.get("outputConfig")
    wanted = config.get("textFormat") if isinstance(config, dict) else None
    if wanted is None:
        return None
    if _NO_TEXT_FORMAT.search(model):
        raise _unsupported("outputConfig.textFormat")
    structure = wanted.get("structure") if isinstance(wanted, dict) else None
    named = structure.get("jsonSchema") if isinstance(structure, dict) else None
    written = named.get("schema") if isinstance(named, dict) else None
    if wanted.get("type") != "json_schema" or not isinstance(written, str):
        raise constraint("outputConfig.textFormat", wanted, "set type json_schema and structure.jsonSchema.schema")
    try:
        schema = msgspec.json.decode(written)
    except msgspec.DecodeError:
        schema = None
    if not isinstance(schema, dict):
        raise invalid("The schema at outputConfig.textFormat.structure.jsonSchema.schema is not valid JSON.")
    if "claude" in model and schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise by_the_model(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
    return schema


def _checked_reasoning(body: Body, model: str, limit: int | None, *, forced: bool) -> int:
    """Return how many tokens the model reasons before it answers."""
    more = body.get("additionalModelRequestFields") or {}
    effort = (body.get("outputConfig") or {}).get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise by_the_model("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if "claude" in model:
        return _checked_thinking(more.get("thinking"), body, model, limit, effort, forced=forced)
    if "nova" in model and isinstance(more.get("reasoningConfig"), dict):
        asked = more["reasoningConfig"]
        return _EFFORTS.get(str(asked.get("maxReasoningEffort")), 0) if asked.get("type") == "enabled" else 0
    return _EFFORTS.get(str(more.get("reasoning_effort")), 0) if "gpt-oss" in model else 0


def _checked_thinking(
    thinking: Any, body: Body, model: str, limit: int | None, effort: str | None, *, forced: bool
) -> int:
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "adaptive"):
        return 0
    if kind == "enabled" and _NO_SAMPLING.search(model):
        raise by_the_model('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".')
    if forced:
        raise by_the_model("Thinking may not be enabled when tool_choice forces tool use.")
    if (body.get("inferenceConfig") or {}).get("temperature") not in (None, 1):
        raise by_the_model("`temperature` may only be set to 1 when thinking is enabled.")
    if kind == "adaptive":
        return _EFFORTS[effort or "high"]
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < MIN_BUDGET:
        raise by_the_model(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {MIN_BUDGET}")
    if limit is not None and limit <= budget:
        raise by_the_model("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return budget // 32


def _unsupported(field: str) -> Refused:
    return invalid(f"This model doesn't support the {field} field. Remove {field} and try again.")


def _prompt_tokens(
    body: Body, system: list[Body], messages: list[Body], model: str, circumstances: Circumstances
) -> tuple[int, int, int]:
    """Count the prompt: what is fresh, what is read from the cache and what is written to it.

    What stands before the last cache point is cached, if it is long enough.
    """
    tools = (body.get("toolConfig") or {}).get("tools") or []
    counted = before_point = 0
    point: list[Body] | None = None
    seen: list[Body] = []
    for block in (*tools, *system, *(block for message in messages for block in message["content"])):
        if "cachePoint" in block:
            before_point, point = counted, list(seen)
            continue
        seen.append(block)
        counted += (
            tokens(msgspec.json.encode(block).decode()) if "toolSpec" in block else bedrock_messages.block_tokens(block)
        )
    if point is None or before_point < MIN_CACHED_PROMPT:
        return counted, 0, 0
    if circumstances.seen_before(msgspec.json.encode([model, point])):
        return counted - before_point, before_point, 0
    return counted - before_point, 0, before_point
