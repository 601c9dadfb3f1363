"""Checks of a chat request as Mistral makes them, and what it asks for once it has passed them."""

from dataclasses import dataclass
from typing import Any

from gateway.simulator import mistral_members as members
from gateway.simulator.content import Conversation, Tool
from gateway.simulator.dialect import Asked, Circumstances
from gateway.simulator.mistral_errors import invalid, misfit
from gateway.simulator.mistral_members import Body
from gateway.simulator.mistral_messages import FUNCTION_NAME, check_messages, openai_message, text_of
from gateway.simulator.openai_messages import images_of, prompt_tokens

MEMBERS = frozenset(
    (
        *("model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata"),
        *("response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "min_tokens", "n"),
        *("repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs"),
        *("prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key"),
        *("service_tier", "safe_prompt"),
    )
)
_EFFORTS = {"none": 0, "minimal": 16, "low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 512}


@dataclass(frozen=True, slots=True)
class Chat:
    """A request that has passed every check."""

    model: str
    conversation: Conversation
    prompt_tokens: int
    choices: int
    logprobs: bool
    top_logprobs: int


def checked(asked: Asked, body: Body, circumstances: Circumstances) -> Chat:
    """Raises Refused."""
    members.nothing_else(body, MEMBERS)
    _check_numbers(body)
    messages = check_messages(body)
    tools = _checked_tools(body)
    schema, json_object = _checked_format(body)
    rewritten = [openai_message(message) for message in messages]
    last = messages[-1]
    effort = members.one_of(body, "reasoning_effort", tuple(_EFFORTS))
    reasons = asked.model.startswith("magistral") or members.one_of(body, "prompt_mode", ("reasoning",)) is not None
    conversation = Conversation(
        last_text=text_of(last if last["role"] == "tool" else _last_user(messages)),
        after_tool=last["role"] == "tool",
        images=tuple(images_of(rewritten[-1])),
        tools=_called_tools(body, tools, last),
        parallel=body.get("parallel_tool_calls") is not False and "parallel" in text_of(last).casefold(),
        json_schema=schema,
        json_object=json_object,
        max_tokens=members.integer(body, "max_tokens", 0),
        stop=members.texts(body, "stop"),
        reasoning_tokens=_EFFORTS[effort or ("medium" if reasons else "none")],
        giant=circumstances.giant,
    )
    return Chat(
        model=asked.model,
        conversation=conversation,
        prompt_tokens=prompt_tokens(rewritten, body.get("tools") or []),
        choices=members.integer(body, "n", 1) or 1,
        logprobs=members.boolean(body, "logprobs") or False,
        top_logprobs=members.integer(body, "top_logprobs", 0, 20) or 0,
    )


def _check_numbers(body: Body) -> None:
    members.number(body, "temperature", 0, 1.5)
    members.number(body, "top_p", 0, 1)
    members.number(body, "presence_penalty", -2, 2)
    members.number(body, "frequency_penalty", -2, 2)
    members.integer(body, "random_seed", 0)
    for name in ("stream", "parallel_tool_calls", "safe_prompt"):
        members.boolean(body, name)


def _checked_tools(body: Body) -> tuple[Tool, ...]:
    found = []
    for index, tool in enumerate(members.array(body, "tools") or ()):
        where = ("tools", index)
        if not isinstance(tool, dict):
            raise misfit("dict_type", where, "Input should be a valid dictionary", tool)
        members.nothing_else(tool, frozenset(("type", "function")), where)
        members.required(tool, "function", where)
        function = members.mapping(tool, "function", where) or {}
        inside = (*where, "function")
        members.nothing_else(function, frozenset(("name", "description", "parameters", "strict")), inside)
        name = members.required(function, "name", inside)
        members.required(function, "parameters", inside)
        if not isinstance(name, str) or not FUNCTION_NAME.match(name):
            raise invalid(
                f"Function name was {name} but must be a-z, A-Z, 0-9, or contain underscores and dashes, with a "
                "maximum length of 64.",
                "invalid_function",
                "3270",
            )
        found.append(Tool(name, members.mapping(function, "parameters", inside) or {}))
    return tuple(found)


def _called_tools(body: Body, tools: tuple[Tool, ...], last: Body) -> tuple[Tool, ...]:
    """Return the tools that the answer calls: none where the choice says so, or after a tool's result."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        named = tuple(tool for tool in tools if tool.name == name)
        if not named:
            raise invalid(f"Tool choice '{name}' is not among the tools.", "invalid_request_error")
        return named
    members.one_of(body, "tool_choice", ("auto", "none", "any", "required"))
    if choice == "none":
        return ()
    return tools if last["role"] == "user" or choice in ("any", "required") else ()


def _checked_format(body: Body) -> tuple[Body | None, bool]:
    """Return the schema that the text has to fit, and whether it has to be any JSON object."""
    wanted = members.mapping(body, "response_format")
    if wanted is None:
        return None, False
    where = ("response_format",)
    members.nothing_else(wanted, frozenset(("type", "json_schema")), where)
    kind = members.one_of(wanted, "type", ("text", "json_object", "json_schema"), where)
    if kind != "json_schema":
        return None, kind == "json_object"
    members.required(wanted, "json_schema", where)
    named = members.mapping(wanted, "json_schema", where) or {}
    inside = (*where, "json_schema")
    members.nothing_else(named, frozenset(("name", "description", "schema", "strict")), inside)
    members.required(named, "name", inside)
    schema: Any = members.required(named, "schema", inside)
    return schema, False


def _last_user(messages: list[Body]) -> Body:
    return next((message for message in reversed(messages) if message["role"] == "user"), messages[-1])
