"""From a chat to a generateContent request. Pure.

Wire facts: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/thought-signatures, and
https://ai.google.dev/gemini-api/docs/openai for how Google itself maps reasoning efforts.
"""

import re
from typing import Any

import msgspec

from gateway.providers.base import Unsupported
from gateway.providers.chat import Chat, Image, Message, Part, Text, ToolCall

FORMAT = "gemini"  # of our entries in `reasoning_details`
# What Google takes in the place of a signature, for calls that another model made.
UNSIGNED = "skip_thought_signature_validator"
_HONOURED = frozenset(
    (
        *("tools", "tool_choice", "response_format", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
        *("stop", "n", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"),
    )
)
_VERSION = re.compile(r"(?:.*/)?gemini-(\d{1,3})(?:\.(\d{1,3}))?")
_NEWEST = re.compile(r"(?:.*/)?gemini-(?:flash|pro)")  # `gemini-flash-latest` and its like
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH"}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}  # tokens
_LEAST_PRO_BUDGET = 128  # tokens; the Pro models cannot do without thinking
_MAX_SEED = 2**31


def generate_content(chat: Chat, model: str, *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body, and the names of members that are left out of it. Raises InvalidRequest, and Unsupported."""
    config = _sampling(chat) | _output(chat)
    honoured = _HONOURED
    if chat.reasoning_effort is not None:
        thinking = _thinking(chat.reasoning_effort, model)
        if thinking is not None:
            honoured = honoured | {"reasoning_effort"}
            config["thinkingConfig"] = thinking
    dropped = chat.unhonoured(honoured, drop=drop)
    contents = _contents(chat, signs=version_of(model) >= (3, 0))
    body: dict[str, Any] = {}
    if not contents:  # a chat of system messages alone: Gemini wants somebody to speak
        contents = [{"role": "user", "parts": _texts(chat.system)}]
    elif chat.system:
        body["systemInstruction"] = {"parts": _texts(chat.system)}
    body["contents"] = contents
    body |= _tools(chat)
    if config:
        body["generationConfig"] = config
    return body, dropped


def version_of(model: str) -> tuple[int, int]:
    """Return a model's version; the newest for names that follow it, and 0 for what is no Gemini."""
    matched = _VERSION.match(model)
    if matched is None:
        return (99, 0) if _NEWEST.match(model) else (0, 0)
    return int(matched[1]), int(matched[2] or 0)


def _sampling(chat: Chat) -> dict[str, Any]:
    payload = chat.payload
    wanted = {
        "temperature": None if chat.temperature is None else min(max(chat.temperature, 0), 2),
        "topP": chat.top_p,
        "maxOutputTokens": chat.max_tokens,
        "stopSequences": list(chat.stop) or None,
        "candidateCount": chat.n if chat.n != 1 else None,
        # Google's seeds have 32 bits. Any fixed function of a seed is as good a seed.
        "seed": None if chat.seed is None else chat.seed % _MAX_SEED,
        "presencePenalty": payload.get("presence_penalty"),
        "frequencyPenalty": payload.get("frequency_penalty"),
    }
    if payload.get("logprobs"):
        wanted |= {"responseLogprobs": True, "logprobs": payload.get("top_logprobs")}
    return {name: value for name, value in wanted.items() if value is not None}


def _output(chat: Chat) -> dict[str, Any]:
    if chat.json_output is None:
        return {}
    schema = chat.json_output.schema
    return {"responseMimeType": "application/json"} | ({} if schema is None else {"responseJsonSchema": schema})


def _thinking(effort: str, model: str) -> dict[str, Any] | None:
    """Return how a model shall think, with its thoughts told; None for a model or an effort that has no such thing."""
    version = version_of(model)
    if version < (2, 5) or effort not in _LEVELS:
        return None
    pro = "pro" in model
    shown = {"includeThoughts": True} if effort not in ("none", "minimal") else {}
    if version < (3, 0):
        budget = _BUDGETS[effort]
        return {"thinkingBudget": max(budget, _LEAST_PRO_BUDGET) if pro else budget, **shown}
    level = _LEVELS[effort]
    if pro and level == "MINIMAL":
        level = "LOW"
    if version == (3, 0) and pro and level == "MEDIUM":
        level = "HIGH"
    return {"thinkingLevel": level, **shown}


def _tools(chat: Chat) -> dict[str, Any]:
    if not chat.tools:
        return {}
    declarations = []
    for tool in chat.tools:
        declaration: dict[str, Any] = {"name": tool.name}
        if tool.description:
            declaration["description"] = tool.description
        if tool.parameters:
            declaration["parametersJsonSchema"] = tool.parameters
        declarations.append(declaration)
    body: dict[str, Any] = {"tools": [{"functionDeclarations": declarations}]}
    choice = chat.tool_choice
    if choice is not None:
        calling: dict[str, Any] = {"mode": _MODES[choice.mode]}
        if choice.mode == "named":
            calling["allowedFunctionNames"] = [choice.name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    return body


def _contents(chat: Chat, *, signs: bool) -> list[dict[str, Any]]:
    """Return the turns: results of one step in one content, and calls of this turn never without a signature."""
    turns = chat.turns
    began = max((at for at, message in enumerate(turns) if message.role == "user"), default=-1)
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the calls so far; where an id comes again, the last one is meant
    results: list[dict[str, Any]] | None = None  # of the step that the last messages belong to
    for at, message in enumerate(turns):
        if message.role == "tool":
            if results is None:
                results = []
                contents.append({"role": "user", "parts": results})
            call_id = message.tool_call_id
            results.append(_result(message, names.get(call_id) or chat.tool_name(call_id)))
            continue
        results = None
        if message.role == "assistant":
            names.update((call.id, call.name) for call in message.tool_calls)
            role, parts = "model", _spoken(message, must_sign=signs and at > began)
        else:
            role, parts = "user", [_part(part) for part in message.parts]
        if parts:
            contents.append({"role": role, "parts": parts})
    return contents


def _result(message: Message, name: str) -> dict[str, Any]:
    text = message.text
    try:
        response = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        response = None
    if not isinstance(response, dict):
        response = {"result": text}
    return {"functionResponse": {"id": message.tool_call_id, "name": name, "response": response}}


def _spoken(message: Message, *, must_sign: bool) -> list[dict[str, Any]]:
    """Return what a model said: its text with the signature that came with it, and its calls with theirs."""
    parts = _texts([message.text]) if message.text else []
    signature = next((one.get("data") for one in message.reasoning if one.get("format") == FORMAT), None)
    if parts and isinstance(signature, str):
        parts[0]["thoughtSignature"] = signature
    for number, call in enumerate(message.tool_calls):
        part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": call.input()}}
        signed = _signature(call) or (UNSIGNED if must_sign and number == 0 else None)
        if signed is not None:
            part["thoughtSignature"] = signed
        parts.append(part)
    return parts


def _signature(call: ToolCall) -> str | None:
    """Return the signature of a call as Google's own OpenAI-compatible API carries it."""
    google = (call.extra or {}).get("google")
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    if isinstance(part, Image) and part.data:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    raise Unsupported("messages", "The provider that serves this model takes images as data URLs only, not by address.")


def _texts(texts: Any) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]
