"""Checks of a generateContent request, and what it asks for once it has passed them."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.simulator.content import IMAGE_TOKENS, Conversation, tokens
from gateway.simulator.dialect import Circumstances
from gateway.simulator.gemini_errors import invalid
from gateway.simulator.gemini_messages import Body, read
from gateway.simulator.gemini_tools import called_tools, check_turns, checked_tools, json_schema_of
from gateway.simulator.gemini_turns import check_contents, images_of, said_in
from gateway.simulator.openai_wire import cached_tokens

MIN_CACHED_PROMPT = 1024  # tokens; shorter prompts are never cached
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_COMMAND = re.compile(r"simulate (blockReason|finishReason) ([A-Z_]+)")
_MIME_TYPES = ("text/plain", "application/json", "text/x.enum")
_LEVEL_TOKENS = {"MINIMAL": 8, "LOW": 32, "MEDIUM": 64, "HIGH": 128}
_MOST_THOUGHT = 128  # tokens, whatever the budget
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
    "candidateCount": (1, 8),
    "maxOutputTokens": (1, 2**31 - 1),
    "logprobs": (0, 20),
}


@dataclass(frozen=True, slots=True)
class Generation:
    """A request that has passed every check."""

    model: str
    conversation: Conversation
    prompt_tokens: int
    image_tokens: int
    cached_tokens: int
    candidates: int
    thoughts: str  # the summary that is shown, if any
    logprobs: bool
    top_logprobs: int
    signs: bool  # its calls carry thought signatures
    with_ids: bool  # its calls carry ids
    block_reason: str
    finish_reason: str  # instead of STOP


def is_thinking(model: str) -> bool:
    return _version(model) >= (2, 5)


def checked(model: str, payload: Any, circumstances: Circumstances) -> Generation:
    """Return what a request asks for. Raises Refused."""
    body = read("GenerateContentRequest", payload)
    contents = check_contents(body.get("contents"))
    modern = _version(model) >= (3, 0)
    tools = checked_tools(body)
    check_turns(contents, signed=modern)
    config = body.get("generationConfig", {})
    _check_ranges(config)
    schema, json_object = _checked_format(config, with_tools=bool(tools) and not modern)
    reasoning = _thinking_tokens(model, config.get("thinkingConfig"))
    last = contents[-1]
    text, after_tool = said_in(last)
    counted = prompt_tokens(body)
    image_tokens = IMAGE_TOKENS * sum(1 for content in contents for _ in images_of(content))
    conversation = Conversation(
        last_text=text,
        after_tool=after_tool,
        images=tuple(images_of(last)),
        tools=called_tools(body, tools, after_tool=after_tool),
        parallel="parallel" in text.casefold(),
        json_schema=schema,
        json_object=json_object,
        max_tokens=config.get("maxOutputTokens"),
        stop=tuple(config.get("stopSequences", ())),
        reasoning_tokens=reasoning,
        giant=circumstances.giant,
    )
    command = dict(_COMMAND.findall(text))
    cached = cached_tokens(counted, model, [contents, body.get("tools")], circumstances, least=MIN_CACHED_PROMPT)
    return Generation(
        model=model,
        conversation=conversation,
        prompt_tokens=counted,
        image_tokens=image_tokens,
        cached_tokens=cached,
        candidates=config.get("candidateCount", 1),
        thoughts=f"[simulated] Thinking about: {text}" if reasoning and _shows_thoughts(config) else "",
        logprobs=config.get("responseLogprobs", False),
        top_logprobs=config.get("logprobs", 0),
        signs=modern or (reasoning > 0 and bool(tools)),
        with_ids=modern,
        block_reason=command.get("blockReason", ""),
        finish_reason=command.get("finishReason", ""),
    )


def prompt_tokens(body: Body) -> int:
    """Count a prompt by the rule of `content`."""
    total = sum(
        tokens(msgspec.json.encode(declaration).decode())
        for tool in body.get("tools", ())
        for declaration in tool.get("functionDeclarations", ())
    )
    system = body.get("systemInstruction")
    for content in (*([system] if system else ()), *body.get("contents", ())):
        total += IMAGE_TOKENS * sum(1 for _ in images_of(content))
        for part in content.get("parts", ()):
            total += _part_tokens(part)
    return total


def _part_tokens(part: Body) -> int:
    total = tokens(part.get("text", ""))
    for name, inner in (("functionCall", "args"), ("functionResponse", "response")):
        if name in part:
            said = part[name]
            total += tokens(said.get("name", "")) + tokens(msgspec.json.encode(said.get(inner, {})).decode())
    return total


def _check_ranges(config: Body) -> None:
    for name, (low, high) in _RANGES.items():
        value = config.get(name)
        if value is not None and not low <= value <= high:
            snake = re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)
            raise invalid(
                f"* GenerateContentRequest.generation_config.{snake}: {snake} must be in the range [{low}, {high}].\n"
            )
    if len(config.get("stopSequences", ())) > 5:
        raise invalid("* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences.\n")
    if not all(config.get("stopSequences", ())):
        raise invalid("* GenerateContentRequest.generation_config.stop_sequences: must not be empty.\n")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise invalid("Logprobs is only allowed to be set when response_logprobs is true.")


def _checked_format(config: Body, *, with_tools: bool) -> tuple[Body | None, bool]:
    """Return the schema that the text has to fit, and whether it has to be any JSON."""
    mime = config.get("responseMimeType", "text/plain")
    openapi, schema = config.get("responseSchema"), config.get("responseJsonSchema")
    if mime not in _MIME_TYPES:
        raise invalid(
            f"* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are "
            f"{', '.join(f'`{one}`' for one in _MIME_TYPES)}.\n"
        )
    if openapi is not None and schema is not None:
        raise invalid("Only one of response_schema and response_json_schema can be set.")
    if (openapi is not None or schema is not None) and mime == "text/plain":
        raise invalid("Response schema requires a response mime type of application/json or text/x.enum.")
    if mime == "application/json" and with_tools:
        raise invalid("Function calling with a response mime type: 'application/json' is unsupported")
    if openapi is not None:
        return json_schema_of(openapi), False
    if schema is not None:
        if not isinstance(schema, dict):
            raise invalid("Invalid value at 'generation_config.response_json_schema': not a JSON schema.")
        return schema, False
    return None, mime == "application/json"


def _thinking_tokens(model: str, config: Body | None) -> int:
    """Return how many tokens the model thinks before it answers. Raises Refused."""
    config = config or {}
    budget: int | None = config.get("thinkingBudget")
    level: str | None = config.get("thinkingLevel")
    if budget is not None and level is not None:
        raise invalid("You can only set only one of thinking budget and thinking level.")
    if not is_thinking(model):
        if config.get("includeThoughts") or budget or level:
            raise invalid("Thinking is not enabled for this model.")
        return 0
    if level is not None and _version(model) < (3, 0):
        raise invalid("Thinking level is not supported for this model.")
    if level == "MINIMAL" and "pro" in model:
        raise invalid("Thinking level MINIMAL is not supported for this model. Please retry with other thinking level.")
    if budget == 0 and "pro" in model:
        raise invalid("Budget 0 is invalid. This model only works in thinking mode.")
    if budget is not None and not -1 <= budget <= 32768:
        raise invalid(f"The thinking budget {budget} is invalid. Please choose a value between 0 and 32768.")
    if budget is not None and budget >= 0:
        return min(budget, _MOST_THOUGHT)
    return _LEVEL_TOKENS.get(level or "MEDIUM", _LEVEL_TOKENS["MEDIUM"])


def _shows_thoughts(config: Body) -> bool:
    return bool(config.get("thinkingConfig", {}).get("includeThoughts"))


def _version(model: str) -> tuple[int, int]:
    """Return a model's version; names that tell none, `gemini-flash-latest` too, are of the newest kind."""
    matched = _VERSION.match(model)
    if matched is None:
        return (0, 0) if not model.startswith("gemini") else (3, 0)
    return int(matched[1]), int(matched[2] or 0)
