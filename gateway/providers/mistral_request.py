"""A chat as Mistral takes it: its own names of members, its order of roles, and ids of calls that it accepts.

Mistral refuses what it does not know (422), a user or a system message straight behind a tool's result, an assistant
that says nothing, and ids of calls that are not nine letters and digits. Histories that other families wrote have all
of these; they are put right here, in the request alone.
"""

import hashlib
from typing import Any

from gateway.providers.base import Unsupported
from gateway.providers.chat import Chat, Image, JsonOutput, Message, Part, Text, Tool, ToolChoice

FORMAT = "mistral"
MOST_TEMPERATURE = 1.5
BRIDGE = "OK."  # what an assistant says between a tool's result and the next user
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ID_LENGTH = 9
_TRANSLATED = frozenset(
    (
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "n", "seed", "tools", "tool_choice"),
        *("parallel_tool_calls", "response_format", "reasoning_effort"),
    )
)
# Members that Mistral takes as OpenAI's clients write them, and those of its own.
_PASSED = frozenset(
    (
        *("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "metadata", "prompt_cache_key"),
        *("safe_prompt", "prompt_mode", "random_seed", "top_k", "min_tokens", "repetition_penalty", "guardrails"),
    )
)
_MOST_SEED = 2**63


def chat_body(chat: Chat, *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body but for the model, and the members that were left out. Raises InvalidRequest, and Unsupported."""
    passed = _passed(chat)
    dropped = chat.unhonoured(_TRANSLATED | passed.keys(), drop=drop)
    body: dict[str, Any] = {"messages": _messages(chat)}
    for name, value in (
        ("max_tokens", chat.max_tokens),
        ("temperature", None if chat.temperature is None else min(chat.temperature, MOST_TEMPERATURE)),
        ("top_p", chat.top_p),
        ("stop", list(chat.stop) or None),
        ("n", chat.n if chat.n > 1 else None),
        ("random_seed", None if chat.seed is None else chat.seed % _MOST_SEED),
        ("reasoning_effort", chat.reasoning_effort),
    ):
        if value is not None:
            body[name] = value
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
        if chat.tool_choice is not None:
            body["tool_choice"] = _choice(chat.tool_choice)
        if chat.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.json_output is not None:
        body["response_format"] = _format(chat.json_output)
    return {**body, **passed}, dropped


def embeddings_body(payload: dict[str, Any], *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body of a request for vectors, but for the model. Raises Unsupported."""
    texts = payload.get("input")
    if isinstance(texts, list) and not all(isinstance(text, str) for text in texts):
        raise Unsupported("input", "The provider that serves this model embeds texts, not tokens.")
    body = {"input": texts}
    for name, theirs in (("dimensions", "output_dimension"), ("encoding_format", "encoding_format")):
        if payload.get(name) is not None:
            body[theirs] = payload[name]
    known = frozenset(("model", "input", "dimensions", "encoding_format", "output_dtype", "metadata"))
    body |= {name: payload[name] for name in ("output_dtype", "metadata") if payload.get(name) is not None}
    others = {name: value for name, value in payload.items() if name not in known}
    return body, Chat((), payload=others).unhonoured(frozenset(), drop=drop)


def call_id(given: str) -> str:
    """Return an id that Mistral accepts: the given one, or always the same in its place."""
    if len(given) == _ID_LENGTH and given.isascii() and given.isalnum():
        return given
    value = int.from_bytes(hashlib.blake2b(given.encode(), digest_size=8).digest())
    digits = []
    for _ in range(_ID_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def _passed(chat: Chat) -> dict[str, Any]:
    """Return the members that Mistral takes as they are. The `logprobs` of a legacy completion is another one."""
    passed = {name: chat.payload[name] for name in _PASSED if chat.payload.get(name) is not None}
    if not isinstance(passed.get("logprobs", False), bool):
        del passed["logprobs"]
    prediction = chat.payload.get("prediction")
    if isinstance(prediction, dict) and isinstance(prediction.get("content"), str):
        passed["prediction"] = prediction
    return passed


def _messages(chat: Chat) -> list[dict[str, Any]]:
    """Return the messages in an order of roles that Mistral takes."""
    first: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []
    for message in chat.messages:
        told = _message(message, chat)
        last = written[-1]["role"] if written else ""
        if told is None:
            continue
        if told["role"] == "system" and last in ("assistant", "tool"):
            first.append(told)
            continue
        if told["role"] == "user" and last == "tool":
            written.append({"role": "assistant", "content": BRIDGE})
        written.append(told)
    messages = [*first, *written]
    if messages and messages[-1]["role"] == "system":
        messages[-1] = {**messages[-1], "role": "user"}
    elif messages and messages[-1]["role"] == "assistant":
        messages[-1] = {**messages[-1], "prefix": True}
    return messages


def _message(message: Message, chat: Chat) -> dict[str, Any] | None:
    """Return one message; None for one that says nothing, which Mistral refuses."""
    match message.role:
        case "tool":
            name = chat.tool_name(message.tool_call_id)
            answered = {"tool_call_id": call_id(message.tool_call_id), "name": name}
            return {"role": "tool", **answered, "content": message.text}
        case "assistant":
            return _assistant(message)
    if not message.parts:
        return None
    return {"role": message.role, "content": _content(message.parts)}


def _assistant(message: Message) -> dict[str, Any] | None:
    thoughts = [_thought(detail) for detail in message.reasoning if detail.get("format") == FORMAT]
    content: Any = message.text
    if thoughts:
        content = [*thoughts, {"type": "text", "text": message.text}] if message.text else thoughts
    if not content and not message.tool_calls:
        return None
    told: dict[str, Any] = {"role": "assistant", "content": content}
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call_id(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ]
    return told


def _thought(detail: dict[str, Any]) -> dict[str, Any]:
    thinking = [{"type": "text", "text": detail.get("text", "")}]
    return {"type": "thinking", "thinking": thinking, "signature": detail.get("signature"), "closed": True}


def _content(parts: tuple[Part, ...]) -> Any:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url or f"data:{part.media_type};base64,{part.data}"}}
    return {"type": "text", "text": part.text}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> Any:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return "any" if choice.mode == "required" else choice.mode


def _format(wanted: JsonOutput) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    named: dict[str, Any] = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.strict is not None:
        named["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": named}
