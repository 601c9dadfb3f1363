"""From the canonical chat to a request for a message of Claude's. Pure.

Wire facts: https://platform.claude.com/docs/en/api/messages; what it refuses is described in
https://platform.claude.com/docs/en/api/errors.
"""

import hashlib
import re
from typing import Any

from gateway.providers.anthropic_models import Traits, traits_of
from gateway.providers.anthropic_schema import enforceable
from gateway.providers.base import Unsupported
from gateway.providers.chat import Chat, Image, Message, Part, Text, Tool
from nexus.errors import InvalidRequest

FORMAT = "anthropic"  # of the reasoning that is ours to send back
WITHOUT_SAMPLING = "2026-10-21"  # from this version of the API on there are no sampling parameters
_HONOURED = frozenset(
    (
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "max_tokens", "max_completion_tokens"),
        *("temperature", "top_p", "stop", "reasoning_effort", "user", "safety_identifier", "thinking"),
        "cache_control",
    )
)
_IMAGE_TYPES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+\Z")
_LONGEST_USER = 256  # characters of metadata.user_id
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_BUDGETS = {"low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}  # tokens
_LEAST_BUDGET = 1024  # the API's own least
_ANY_OBJECT = "Answer with one valid JSON object and nothing else: no words around it, no code fence."
_FIRST = "(The conversation begins.)"  # the API wants the user to speak first
_CONTINUE = "Continue."  # and, with newer models, to speak last

Body = dict[str, Any]


class Translated:
    """A request in the making: its body, and the members of the client's request that it leaves out."""

    def __init__(self, chat: Chat, model: str, *, version: str, drop: bool) -> None:
        self.chat = chat
        self.model = model
        self.traits: Traits = traits_of(model)
        self.sampling = self.traits.sampling and version < WITHOUT_SAMPLING
        self._drop = drop
        self._unhonoured: set[str] = set()
        self._dropped: list[str] = []
        self.body: Body = {"model": model, "max_tokens": chat.max_tokens or self.traits.default_max_tokens}

    def build(self) -> tuple[Body, tuple[str, ...]]:
        """Return the body and the names of what was left out. Raises InvalidRequest, and Unsupported."""
        self._messages()
        self._tools()
        self._thinking()
        self._sampling()
        self._output()
        dropped = self.chat.unhonoured(_HONOURED - self._unhonoured, drop=self._drop)
        return self.body, (*self._dropped, *dropped)

    def _messages(self) -> None:
        chat = self.chat
        system = [
            _part(part)
            for message in chat.messages
            if message.role == "system"
            for part in message.parts
            if isinstance(part, Text) and part.text.strip()
        ]
        if chat.json_output is not None and chat.json_output.schema is None:
            system.append({"type": "text", "text": _ANY_OBJECT})
        turns = turns_of(chat)
        if not turns:
            turns, system = [{"role": "user", "content": system or [{"type": "text", "text": _FIRST}]}], []
        if turns[0]["role"] == "assistant":
            turns.insert(0, _said_by_user(_FIRST))
        last = turns[-1]
        if last["role"] == "assistant" and not self.traits.prefill:
            turns.append(_said_by_user(_CONTINUE))
        elif last["role"] == "assistant" and last["content"][-1]["type"] == "text":
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
        self.body["messages"] = turns
        if isinstance(chat.payload.get("cache_control"), dict):
            self.body["cache_control"] = chat.payload["cache_control"]
        if system:
            self.body["system"] = system

    def _tools(self) -> None:
        chat, body = self.chat, self.body
        called = {call.name: None for message in chat.turns for call in message.tool_calls}
        if not chat.tools:
            if called:  # a history with calls must define what it calls, even where nothing more may be called
                body["tools"] = [_tool(Tool(name)) for name in called]
                body["tool_choice"] = {"type": "none"}
            return
        body["tools"] = [_tool(tool) for tool in chat.tools]
        choice: Body = {"type": "auto"}
        if chat.tool_choice is not None:
            kinds = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
            choice = {"type": kinds[chat.tool_choice.mode]}
            if chat.tool_choice.mode == "named":
                choice["name"] = chat.tool_choice.name
        if chat.parallel_tool_calls is False and choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        if choice != {"type": "auto"}:
            body["tool_choice"] = choice

    def _thinking(self) -> None:
        given, effort = self.chat.payload.get("thinking"), self.chat.reasoning_effort
        if given is not None:
            if not isinstance(given, dict):
                raise InvalidRequest("`thinking` must be an object, as Anthropic's API has it.", param="thinking")
            self.body["thinking"] = given
        if effort is None:
            return
        if effort != "none" and effort not in _EFFORTS:
            known = ", ".join(("none", *_EFFORTS))
            raise InvalidRequest(f"`reasoning_effort` must be one of: {known}.", param="reasoning_effort")
        traits = self.traits
        if effort == "none":
            if traits.thinking == "always":
                self._unhonoured.add("reasoning_effort")
            elif traits.thinking != "none":
                self.body.setdefault("thinking", {"type": "disabled"})
            return
        level = _EFFORTS[effort]
        if traits.effort:
            self.body["output_config"] = {"effort": level if level != "xhigh" or traits.extra_high_effort else "high"}
        if traits.thinking == "none":
            self._unhonoured.add("reasoning_effort")
        elif given is None:
            self._think(level)

    def _think(self, level: str) -> None:
        """Let the model think, where this request lets it: it may not while it is forced to call a tool."""
        forced = self.body.get("tool_choice", {}).get("type") in ("any", "tool")
        if self.traits.thinking != "budget":
            if not forced:
                self.body["thinking"] = {"type": "adaptive", "display": "summarized"}
            return
        most = self.body["max_tokens"]
        if forced or most <= _LEAST_BUDGET or _continues_without_thoughts(self.body["messages"]):
            if not self.traits.effort:
                self._dropped.append("reasoning_effort")
            return
        budget = min(_BUDGETS[level], max(_LEAST_BUDGET, most // 2))
        self.body["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def _sampling(self) -> None:
        """OpenAI's default of both numbers is 1, as is Anthropic's: there it needs no saying."""
        temperature, top_p = self.chat.temperature, self.chat.top_p
        thinks = self.body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        if temperature is not None and temperature != 1:
            if not self.sampling or (thinks and temperature < 1):
                self._unhonoured.add("temperature")
            elif not thinks:
                self.body["temperature"] = min(temperature, 1.0)
        if top_p is not None and top_p != 1:
            if not self.sampling or thinks or "temperature" in self.body:  # one of the two, not both
                self._unhonoured.add("top_p")
            else:
                self.body["top_p"] = top_p

    def _output(self) -> None:
        chat, body = self.chat, self.body
        if chat.json_output is not None and chat.json_output.schema is not None:
            wanted = {"type": "json_schema", "schema": enforceable(chat.json_output.schema)}
            body["output_config"] = {**body.get("output_config", {}), "format": wanted}
        stops = [stop for stop in chat.stop if stop.strip()]
        if len(stops) < len([stop for stop in chat.stop if stop]):
            self._unhonoured.add("stop")  # the API refuses sequences of white space
        if stops:
            body["stop_sequences"] = stops
        user = chat.payload.get("safety_identifier") or chat.user
        if isinstance(user, str) and 0 < len(user) <= _LONGEST_USER:
            body["metadata"] = {"user_id": user}


def turns_of(chat: Chat) -> list[Body]:
    """Return the messages: neighbours of one role are one turn, whose tool results come first."""
    turns: list[Body] = []
    for message in chat.turns:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return turns


def call_id(given: str) -> str:
    """Return a call's id as the API takes it: another provider's may have other characters."""
    if _CALL_ID.match(given):
        return given
    return f"toolu_{hashlib.blake2b(given.encode(), digest_size=12).hexdigest()}"


def _said_by_user(text: str) -> Body:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _blocks(message: Message) -> list[Body]:
    blocks = [_part(part) for part in message.parts if not isinstance(part, Text) or part.text.strip()]
    if message.role == "tool":
        result: Body = {"type": "tool_result", "tool_use_id": call_id(message.tool_call_id)}
        return [{**result, "content": blocks} if blocks else result]
    if message.role == "assistant":
        calls = [
            {"type": "tool_use", "id": call_id(call.id), "name": call.name, "input": call.input()}
            for call in message.tool_calls
        ]
        return [*_thoughts(message), *blocks, *calls]
    return blocks


def _thoughts(message: Message) -> list[Body]:
    """Return the thoughts of this family that came back, unchanged: without its signature a thought is refused."""
    thoughts: list[Body] = []
    for detail in message.reasoning:
        if detail.get("format") != FORMAT:
            continue
        text, signature, data = detail.get("text", ""), detail.get("signature"), detail.get("data")
        if detail.get("type") == "reasoning.text" and isinstance(text, str) and isinstance(signature, str):
            thoughts.append({"type": "thinking", "thinking": text, "signature": signature})
        elif detail.get("type") == "reasoning.encrypted" and isinstance(data, str):
            thoughts.append({"type": "redacted_thinking", "data": data})
    return thoughts


def _part(part: Part) -> Body:
    block: Body = {"type": "text", "text": part.text} if isinstance(part, Text) else _shown(part)
    if part.cache_control is not None:
        block["cache_control"] = part.cache_control
    return block


def _shown(image: Image) -> Body:
    return {"type": "image", "source": _source(image)}


def _source(image: Image) -> Body:
    if image.url:
        if not image.url.startswith("https://"):
            raise Unsupported("messages", "This provider fetches images from https addresses only.")
        return {"type": "url", "url": image.url}
    media_type = "image/jpeg" if image.media_type == "image/jpg" else image.media_type
    if media_type not in _IMAGE_TYPES:
        raise Unsupported("messages", f"This provider takes no images of the type {media_type}.")
    return {"type": "base64", "media_type": media_type, "data": image.data}


def _tool(tool: Tool) -> Body:
    schema = {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
    if "type" not in schema:
        schema = {"type": "object", **schema}
    told: Body = {"name": tool.name, "input_schema": enforceable(schema) if tool.strict else schema}
    if tool.description:
        told["description"] = tool.description
    if tool.strict:
        told["strict"] = True
    return told


def _continues_without_thoughts(turns: list[Body]) -> bool:
    """Whether the client has not sent back what led to the last calls: with a budget the API wants to have it."""
    if len(turns) < 2 or turns[-1]["content"][0]["type"] != "tool_result":
        return False
    return turns[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")
