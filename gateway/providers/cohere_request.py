"""A chat and a list of texts as Cohere's version 2 takes them, and what it cannot do."""

from typing import Any

from gateway.providers.base import Unsupported
from gateway.providers.chat import Chat, Image, JsonOutput, Message, Part, Text, Tool, ToolChoice

MOST_TEXTS = 96  # of one request for vectors
DEFAULT_INPUT_TYPE = "search_document"
_TRANSLATED = frozenset(
    (
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "tools", "tool_choice"),
        *("response_format", "reasoning_effort", "logprobs"),
    )
)
# Members of Cohere's own, passed on as they are.
_PASSED = frozenset(("k", "safety_mode", "documents", "citation_options", "thinking", "strict_tools", "priority"))
_PENALTIES = ("frequency_penalty", "presence_penalty")  # at Cohere from 0 to 1
_LEAST_P, _MOST_P = 0.01, 0.99
_MOST_STOPS = 5
_MOST_SEED = 2**63
_EMBEDDING_TYPES = ("float", "base64")


def chat_body(chat: Chat, *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body but for the model, and the members that were left out. Raises InvalidRequest, and Unsupported."""
    passed = {name: chat.payload[name] for name in _PASSED if chat.payload.get(name) is not None}
    passed |= {name: chat.payload[name] for name in _PENALTIES if _is_fraction(chat.payload.get(name))}
    honoured = (_TRANSLATED | passed.keys()) - _impossible(chat)
    dropped = chat.unhonoured(honoured, drop=drop)
    body: dict[str, Any] = {"messages": [told for message in chat.messages if (told := _message(message)) is not None]}
    tools, choice = _tools(chat.tools, chat.tool_choice)
    for name, value in (
        ("max_tokens", chat.max_tokens),
        ("temperature", None if chat.temperature is None else min(chat.temperature, 1)),
        ("p", None if chat.top_p is None else min(max(chat.top_p, _LEAST_P), _MOST_P)),
        ("stop_sequences", list(chat.stop)[:_MOST_STOPS] or None),
        ("seed", None if chat.seed is None else chat.seed % _MOST_SEED),
        ("tools", tools or None),
        ("tool_choice", choice),
        ("strict_tools", True if any(tool.strict for tool in chat.tools) else None),
        ("thinking", _thinking(chat.reasoning_effort)),
        ("logprobs", chat.payload.get("logprobs") is True or None),
    ):
        if value is not None:
            body[name] = value
    if chat.json_output is not None and "response_format" in honoured:
        body["response_format"] = _format(chat.json_output)
    return {**body, **passed}, dropped


def embed_body(payload: dict[str, Any], *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body of a request for vectors, but for the model. Raises Unsupported."""
    given = payload.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Unsupported("input", "The provider that serves this model embeds texts, not tokens.")
    if len(texts) > MOST_TEXTS:
        raise Unsupported("input", f"The provider that serves this model embeds at most {MOST_TEXTS} texts at once.")
    encoding = payload.get("encoding_format")
    body: dict[str, Any] = {
        "texts": texts,
        "input_type": payload.get("input_type") or DEFAULT_INPUT_TYPE,
        "embedding_types": [encoding if encoding in _EMBEDDING_TYPES else "float"],
    }
    if payload.get("dimensions") is not None:
        body["output_dimension"] = payload["dimensions"]
    if payload.get("truncate") is not None:
        body["truncate"] = payload["truncate"]
    known = frozenset(("model", "input", "input_type", "encoding_format", "dimensions", "truncate"))
    others = {name: value for name, value in payload.items() if name not in known}
    return body, Chat((), payload=others).unhonoured(frozenset(), drop=drop)


def _is_fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _impossible(chat: Chat) -> frozenset[str]:
    """Return the members that Cohere knows and cannot honour together with the others."""
    names = set()
    if chat.tools and chat.json_output is not None:
        names.add("response_format")
    if chat.n > 1:
        names.add("n")
    if len(chat.stop) > _MOST_STOPS:
        names.add("stop")
    if not isinstance(chat.payload.get("logprobs", False), bool):
        names.add("logprobs")  # of a legacy completion: a number, and means more
    return frozenset(names)


def _message(message: Message) -> dict[str, Any] | None:
    """Return one message; None for one that says nothing, which Cohere refuses."""
    match message.role:
        case "tool":
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
        case "assistant":
            return _assistant(message)
    if not message.parts:
        return None
    return {"role": message.role, "content": _content(message.parts)}


def _assistant(message: Message) -> dict[str, Any] | None:
    if not message.parts and not message.tool_calls:
        return None
    told: dict[str, Any] = {"role": "assistant"}
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ]
        if message.text:
            told["tool_plan"] = message.text  # beside calls an assistant has no content, but a plan
    else:
        told["content"] = _content(message.parts)
    return told


def _content(parts: tuple[Part, ...]) -> Any:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url or f"data:{part.media_type};base64,{part.data}"}}
    return {"type": "text", "text": part.text}


def _tools(tools: tuple[Tool, ...], choice: ToolChoice | None) -> tuple[list[dict[str, Any]], str | None]:
    """Return the tools, and which choice Cohere has for them: a named one is the only one, and required."""
    if not tools:
        return [], None
    mode = "auto" if choice is None else choice.mode
    if choice is not None and mode == "named":
        named = tuple(tool for tool in tools if tool.name == choice.name)
        if not named:
            raise Unsupported("tool_choice", f"There is no tool named `{choice.name}`.")
        tools = named
    written = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description or "",
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]
    return written, {"none": "NONE", "required": "REQUIRED", "named": "REQUIRED"}.get(mode)


def _thinking(effort: str | None) -> dict[str, Any] | None:
    """Return the switch of thinking: Cohere knows on and off, and thinks by itself where the model can."""
    if effort is None:
        return None
    return {"type": "disabled" if effort == "none" else "enabled"}


def _format(wanted: JsonOutput) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    return {"type": "json_object", "json_schema": wanted.schema}
