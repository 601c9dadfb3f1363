"""Checks of a chat request, and what it asks for once it has passed them."""

import re
from dataclasses import dataclass

from gateway.simulator import openai_members as members
from gateway.simulator.content import Conversation, Tool
from gateway.simulator.dialect import Asked, Circumstances
from gateway.simulator.openai_errors import invalid
from gateway.simulator.openai_members import Body
from gateway.simulator.openai_messages import check_messages, images_of, prompt_tokens, text_of
from gateway.simulator.openai_wire import cached_tokens, stream_options

MEMBERS = frozenset(
    (
        *("messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls"),
        *("prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *(
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "service_tier",
            "stop",
            "store",
            "stream",
        ),
        *("stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity"),
        "web_search_options",
    )
)
MIN_CACHED_PROMPT = 1024  # tokens; shorter prompts are never cached
_REASONING_MODEL = re.compile(r"(?:.*/)?(?:o[134](?:-|$)|gpt-5)")
REASONING_TOKENS = {"none": 0, "minimal": 0, "low": 32, "medium": 64, "high": 128, "xhigh": 256}
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Chat:
    """A request that has passed every check."""

    model: str
    conversation: Conversation
    prompt_tokens: int
    cached_tokens: int
    choices: int
    logprobs: bool
    top_logprobs: int
    include_usage: bool
    obfuscated: bool


def is_reasoning_model(model: str) -> bool:
    return _REASONING_MODEL.match(model) is not None and "chat" not in model


def checked(asked: Asked, body: Body, circumstances: Circumstances, *, strict: bool) -> Chat:
    messages = check_messages(body)
    reasoning = is_reasoning_model(asked.model)
    limit = _checked_sampling(body, reasoning=reasoning and strict)
    tools = _checked_tools(body)
    options = stream_options(body)
    schema, json_object = _checked_format(body, messages, strict=strict)
    last = messages[-1]
    counted = prompt_tokens(messages, body.get("tools") or [])
    effort = members.one_of(body, "reasoning_effort", tuple(REASONING_TOKENS)) or "medium"
    conversation = Conversation(
        last_text=text_of(last if last["role"] in ("tool", "function") else _last_user(messages)),
        after_tool=last["role"] in ("tool", "function"),
        images=tuple(images_of(last)),
        tools=_called_tools(body, tools, last),
        parallel=body.get("parallel_tool_calls") is not False and "parallel" in text_of(last).casefold(),
        json_schema=schema,
        json_object=json_object,
        max_tokens=limit,
        stop=members.stop_sequences(body),
        reasoning_tokens=REASONING_TOKENS[effort] if reasoning else 0,
        giant=circumstances.giant,
    )
    return Chat(
        model=asked.model,
        conversation=conversation,
        prompt_tokens=counted,
        cached_tokens=cached_tokens(counted, asked.model, [messages, tools], circumstances, least=MIN_CACHED_PROMPT),
        choices=members.integer(body, "n", 1, 128) or 1,
        logprobs=bool(body.get("logprobs")),
        top_logprobs=body.get("top_logprobs") or 0,
        include_usage=bool(options.get("include_usage")) and circumstances.with_usage,
        obfuscated=options.get("include_obfuscation") is True,
    )


def _checked_sampling(body: Body, *, reasoning: bool) -> int | None:
    """Check the numbers that steer sampling; return the limit of tokens."""
    members.number(body, "temperature", 0, 2)
    members.number(body, "top_p", 0, 1)
    members.number(body, "frequency_penalty", -2, 2)
    members.number(body, "presence_penalty", -2, 2)
    members.integer(body, "seed", -(2**63), 2**63 - 1)
    members.boolean(body, "parallel_tool_calls")
    members.boolean(body, "logprobs")
    if members.integer(body, "top_logprobs", 0, 20) is not None and not body.get("logprobs"):
        raise invalid("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    old = members.integer(body, "max_tokens", 1)
    new = members.integer(body, "max_completion_tokens", 1)
    if reasoning:
        if old is not None:
            raise members.unsupported(
                "max_tokens", "is not supported with this model. Use 'max_completion_tokens' instead."
            )
        if body.get("stop") is not None:
            raise members.unsupported("stop", "is not supported with this model.")
        if body.get("temperature") not in (None, 1):
            raise invalid(
                f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. Only the "
                "default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            )
    if old is not None and new is not None:
        raise invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", param="max_tokens"
        )
    return old if new is None else new


def _checked_tools(body: Body) -> tuple[Tool, ...]:
    tools = body.get("tools")
    if tools is None:
        if body.get("tool_choice") not in (None, "none"):
            raise invalid("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.")
        return ()
    if not isinstance(tools, list):
        raise members.wrong_type("tools", "an array of objects", tools)
    if not tools:
        raise invalid(
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="tools",
            code="empty_array",
        )
    found = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise members.wrong_type(f"tools[{index}]", "an object", tool)
        kind = members.one_of(tool, "type", ("function", "custom"), param=f"tools[{index}].type")
        if kind is None:
            raise members.missing(f"tools[{index}].type")
        if kind == "function":
            found.append(_checked_function(tool, f"tools[{index}].function"))
    return tuple(found)


def _checked_function(tool: Body, param: str) -> Tool:
    function = members.mapping(tool, "function", param=param)
    if function is None:
        raise members.missing(param)
    name = members.text(function, "name", param=f"{param}.name")
    if name is None:
        raise members.missing(f"{param}.name")
    if not _FUNCTION_NAME.match(name):
        raise invalid(
            f"Invalid '{param}.name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=f"{param}.name",
            code="invalid_value",
        )
    schema = members.mapping(function, "parameters", param=f"{param}.parameters")
    return Tool(name, schema or {"type": "object", "properties": {}})


def _called_tools(body: Body, tools: tuple[Tool, ...], last: Body) -> tuple[Tool, ...]:
    """Return the tools that the answer calls: none where the choice says so, or after a tool's result."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        named = tuple(tool for tool in tools if tool.name == name)
        if not named:
            raise invalid(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
        return named
    if members.one_of(body, "tool_choice", ("none", "auto", "required")) == "none":
        return ()
    return tools if last["role"] == "user" or choice == "required" else ()


def _checked_format(body: Body, messages: list[Body], *, strict: bool) -> tuple[Body | None, bool]:
    """Return the schema that the text has to fit, and whether it has to be any JSON object."""
    wanted = members.mapping(body, "response_format")
    if wanted is None:
        return None, False
    kind = members.one_of(wanted, "type", ("json_object", "json_schema", "text"), param="response_format.type")
    if kind is None:
        raise members.missing("response_format.type")
    if kind == "json_object":
        if strict and not any("json" in text_of(message).casefold() for message in messages):
            raise invalid(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                param="messages",
            )
        return None, True
    if kind == "text":
        return None, False
    named = members.mapping(wanted, "json_schema", param="response_format.json_schema")
    if named is None:
        raise members.missing("response_format.json_schema")
    if members.text(named, "name", param="response_format.json_schema.name") is None:
        raise members.missing("response_format.json_schema.name")
    return members.mapping(named, "schema", param="response_format.json_schema.schema") or {"type": "object"}, False


def _last_user(messages: list[Body]) -> Body:
    return next((message for message in reversed(messages) if message["role"] == "user"), messages[-1])
