"""What a simulated model says: a fixed function of the conversation, the same for every family.

Tokens are counted by one rule so that costs can be checked to the cent: a text has as many tokens as a fourth of its
UTF-8 bytes, rounded up. Texts are counted one by one: each message, each tool's definition, each call's arguments.
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.simulator.instances import instance_of

PREFIX = "[simulated] "
GIANT_BYTES = 1024 * 1024
IMAGE_TOKENS = 85  # each, whatever its size
_WORDS = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call, and the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request asks the model, in no family's words."""

    last_text: str
    after_tool: bool = False  # the last message is a tool's result
    images: tuple[str, ...] = ()  # a description of each in the last message
    tools: tuple[Tool, ...] = ()  # those that shall be called now, if any
    parallel: bool = False
    json_schema: dict[str, Any] | None = None
    json_object: bool = False
    max_tokens: int | None = None  # reasoning included
    stop: tuple[str, ...] = ()
    reasoning_tokens: int = 0
    giant: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; `arguments` is JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says: text or calls."""

    text: str
    calls: tuple[Call, ...]
    cut: bool  # max_tokens ended it
    reasoning_tokens: int

    @property
    def tokens(self) -> int:
        """Return the tokens of all of it, reasoning included."""
        called = sum(tokens(call.name) + tokens(call.arguments) for call in self.calls)
        return tokens(self.text) + called + self.reasoning_tokens


def tokens(text: str) -> int:
    """Count tokens by the rule."""
    size = len(text) if text.isascii() else len(text.encode())
    return -(-size // 4)


def words(text: str) -> list[str]:
    """Cut a text into words, each with the space behind it; joined they are the text."""
    return _WORDS.findall(text)


def answer(conversation: Conversation, choice: int = 0) -> Answer:
    """Return what the model says; `choice` counts the answers to the same question from 0."""
    limit = conversation.max_tokens
    reasoning = conversation.reasoning_tokens
    if limit is not None:
        reasoning = min(reasoning, limit)
        limit -= reasoning
    if conversation.tools:
        calls = _calls(conversation)
        kept = _within(calls, limit)
        return Answer("", kept, kept != calls, reasoning)
    text = _text(conversation, choice)
    for stop in conversation.stop:
        found = text.find(stop, len(PREFIX) if text.startswith(PREFIX) else 0)
        if stop and found >= 0:
            text = text[:found]
    kept_text = text if limit is None else _first_tokens(text, limit)
    return Answer(kept_text, (), len(kept_text) < len(text), reasoning)


def _text(conversation: Conversation, choice: int) -> str:
    if conversation.json_schema is not None:
        return _json(instance_of(conversation.json_schema))
    said = conversation.last_text
    if conversation.json_object:
        return _json({"simulated": True, "reply": f"You said: {said}"})
    text = f"{PREFIX}The tool answered: {said}" if conversation.after_tool else f"{PREFIX}You said: {said}"
    if conversation.images:
        text += f" [{len(conversation.images)} image(s): {', '.join(conversation.images)}]"
    if choice:
        text += f" (answer {choice + 1})"
    return f"{text} {'x' * GIANT_BYTES}" if conversation.giant else text


def _calls(conversation: Conversation) -> tuple[Call, ...]:
    chosen = conversation.tools[:1]
    if conversation.parallel:
        chosen = (conversation.tools * 2)[:2]
    return tuple(Call(tool.name, _json(instance_of(tool.schema))) for tool in chosen)


def _within(calls: tuple[Call, ...], limit: int | None) -> tuple[Call, ...]:
    """Cut calls where the tokens end, as models do: in the midst of the arguments."""
    kept: list[Call] = []
    for call in calls:
        if limit is None:
            return calls
        limit -= tokens(call.name)
        if limit < 0:
            break
        arguments = _first_tokens(call.arguments, limit)
        kept.append(Call(call.name, arguments))
        limit -= tokens(arguments)
        if arguments != call.arguments:
            break
    return tuple(kept)


def _first_tokens(text: str, limit: int) -> str:
    return text.encode()[: 4 * limit].decode(errors="ignore")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
