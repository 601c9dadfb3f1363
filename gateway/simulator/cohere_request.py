"""Checks of a chat request as Cohere makes them, and what it asks for once it has passed them."""

from dataclasses import dataclass

from gateway.simulator import cohere_members as members
from gateway.simulator.cohere_errors import invalid
from gateway.simulator.cohere_members import Body
from gateway.simulator.cohere_messages import check_messages, text_of
from gateway.simulator.content import Conversation, Tool
from gateway.simulator.dialect import Asked, Circumstances
from gateway.simulator.openai_messages import images_of, prompt_tokens
from gateway.simulator.openai_wire import cached_tokens

MEMBERS = frozenset(
    (
        *("model", "messages", "stream", "tools", "strict_tools", "documents", "citation_options", "response_format"),
        *("safety_mode", "max_tokens", "stop_sequences", "temperature", "seed", "frequency_penalty", "p", "k"),
        *("presence_penalty", "logprobs", "tool_choice", "thinking", "priority", "raw_prompting"),
    )
)
_REASONING_TOKENS = 64
_MOST_STOPS = 5
_MIN_CACHED_PROMPT = 1024  # tokens


@dataclass(frozen=True, slots=True)
class Chat:
    """A request that has passed every check."""

    conversation: Conversation
    prompt_tokens: int
    cached_tokens: int
    logprobs: bool


def checked(asked: Asked, body: Body, circumstances: Circumstances) -> Chat:
    """Raises Refused."""
    members.nothing_else(body, MEMBERS)
    _check_sampling(body)
    messages = check_messages(body)
    tools = _checked_tools(body)
    schema, json_object = _checked_format(body, tools)
    last = messages[-1]
    counted = prompt_tokens(messages, body.get("tools") or [])
    conversation = Conversation(
        last_text=text_of(last if last["role"] == "tool" else _last_user(messages)),
        after_tool=last["role"] == "tool",
        images=tuple(images_of(last)),
        tools=_called_tools(body, tools, last),
        parallel="parallel" in text_of(last).casefold(),
        json_schema=schema,
        json_object=json_object,
        max_tokens=members.integer(body, "max_tokens", 0, 1_000_000),
        stop=members.texts(body, "stop_sequences", _MOST_STOPS),
        reasoning_tokens=_reasoning_tokens(asked.model, body),
        giant=circumstances.giant,
    )
    seen = cached_tokens(counted, asked.model, [messages, body.get("tools")], circumstances, least=_MIN_CACHED_PROMPT)
    return Chat(conversation, counted, seen, members.boolean(body, "logprobs") or False)


def _check_sampling(body: Body) -> None:
    members.number(body, "temperature", 0, 1)
    members.number(body, "p", 0.01, 0.99)
    members.integer(body, "k", 0, 500)
    members.number(body, "frequency_penalty", 0, 1)
    members.number(body, "presence_penalty", 0, 1)
    members.integer(body, "seed", 0, 2**64 - 1)
    members.one_of(body, "safety_mode", ("CONTEXTUAL", "STRICT", "OFF", "NONE"))
    for name in ("stream", "strict_tools"):
        members.boolean(body, name)


def _reasoning_tokens(model: str, body: Body) -> int:
    """Return how many tokens are thought: reasoning models think unless they are told not to."""
    thinking = members.mapping(body, "thinking") or {}
    kind = members.one_of(thinking, "type", ("enabled", "disabled"))
    budget = members.integer(thinking, "token_budget", 1, 1_000_000)
    if "reasoning" not in model:
        if kind == "enabled":
            raise invalid(f"invalid request: thinking is not supported by the model '{model}'.")
        return 0
    if kind == "disabled":
        return 0
    return _REASONING_TOKENS if budget is None else min(_REASONING_TOKENS, budget)


def _checked_tools(body: Body) -> tuple[Tool, ...]:
    found = []
    for tool in members.array(body, "tools") or ():
        if not isinstance(tool, dict):
            raise members.wrong_type("tools", "object", tool)
        members.one_of(tool, "type", ("function",))
        members.required(tool, "function")
        function = members.mapping(tool, "function") or {}
        members.required(function, "name")
        members.required(function, "parameters")
        found.append(Tool(members.text(function, "name") or "", members.mapping(function, "parameters") or {}))
    return tuple(found)


def _called_tools(body: Body, tools: tuple[Tool, ...], last: Body) -> tuple[Tool, ...]:
    """Return the tools that the answer calls: none where the choice says so, or after a tool's result."""
    choice = members.one_of(body, "tool_choice", ("REQUIRED", "NONE"))
    if choice is not None and not tools:
        raise invalid("invalid request: tool_choice can only be specified with tools.")
    if choice == "NONE":
        return ()
    return tools if last["role"] == "user" or choice == "REQUIRED" else ()


def _checked_format(body: Body, tools: tuple[Tool, ...]) -> tuple[Body | None, bool]:
    """Return the schema that the text has to fit, and whether it has to be any JSON object."""
    wanted = members.mapping(body, "response_format")
    if wanted is None:
        return None, False
    kind = members.one_of(wanted, "type", ("text", "json_object"))
    if kind != "json_object":
        if wanted.get("json_schema") is not None:
            raise invalid("invalid request: json_schema can only be specified with the type json_object.")
        return None, False
    if tools:
        raise invalid("invalid request: response_format is not supported with tools.")
    schema = members.mapping(wanted, "json_schema") or members.mapping(wanted, "schema")
    return schema, schema is None


def _last_user(messages: list[Body]) -> Body:
    return next((message for message in reversed(messages) if message["role"] == "user"), messages[-1])
