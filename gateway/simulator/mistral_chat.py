"""Chat completions as Mistral answers them: usage always, tool calls whole, thoughts as a part of the content."""

import zlib
from typing import Any

import msgspec

from gateway.simulator.content import Answer, answer, tokens, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream
from gateway.simulator.mistral_members import Body
from gateway.simulator.mistral_request import Chat, checked
from gateway.simulator.openai_wire import DONE, event

_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_VOCABULARY = 131072
_THOUGHT = "[simulated] thinking "


def complete(asked: Asked, body: Body, circumstances: Circumstances) -> Reply | Stream:
    """Answer a chat. Raises Refused."""
    chat = checked(asked, body, circumstances)
    answers = [answer(chat.conversation, choice) for choice in range(chat.choices)]
    if asked.stream:
        return Stream(_events(chat, answers, circumstances))
    content: Body = {
        **_shared(chat, circumstances, "chat.completion"),
        "choices": [_choice(chat, said, index, circumstances) for index, said in enumerate(answers)],
    }
    if circumstances.with_usage:
        content["usage"] = _usage(chat, answers)
    return Reply(200, msgspec.json.encode(content))


def thought_of(said: Answer) -> str:
    """Return what was thought: a text of as many tokens as were."""
    return (_THOUGHT * said.reasoning_tokens)[: 4 * said.reasoning_tokens]


def _shared(chat: Chat, circumstances: Circumstances, kind: str) -> Body:
    return {"id": circumstances.token, "object": kind, "created": circumstances.now, "model": chat.model}


def _choice(chat: Chat, said: Answer, index: int, circumstances: Circumstances) -> Body:
    content: Any = said.text
    if said.reasoning_tokens:
        content = [_thinking(thought_of(said), closed=True), {"type": "text", "text": said.text}]
    message = {"role": "assistant", "content": content, "tool_calls": _calls(said, index, circumstances) or None}
    choice: Body = {"index": index, "message": message, "finish_reason": _finish_reason(said)}
    if chat.logprobs:
        choice["logprobs"] = _logprobs(chat, words(said.text))
    return choice


def _thinking(text: str, *, closed: bool) -> Body:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}], "closed": closed}


def _calls(said: Answer, choice: int, circumstances: Circumstances) -> list[Body]:
    return [
        {
            "id": _call_id(circumstances, choice, number),
            "function": {"name": call.name, "arguments": call.arguments},
            "index": number,
        }
        for number, call in enumerate(said.calls)
    ]


def _call_id(circumstances: Circumstances, choice: int, number: int) -> str:
    value = int(circumstances.token, 16) + 1000 * choice + number
    digits = []
    for _ in range(9):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def _finish_reason(said: Answer) -> str:
    return "length" if said.cut else "tool_calls" if said.calls else "stop"


def _usage(chat: Chat, answers: list[Answer]) -> Body:
    completion = sum(said.tokens for said in answers)
    return {
        "prompt_tokens": chat.prompt_tokens,
        "total_tokens": chat.prompt_tokens + completion,
        "completion_tokens": completion,
    }


def _logprobs(chat: Chat, pieces: list[str]) -> Body:
    """Return a log-probability per word; a word stands for a token here."""

    def one(piece: str, rank: int) -> Body:
        data = piece.encode()
        told = {"token": piece, "logprob": -0.125 * tokens(piece) - rank, "bytes": list(data)}
        return {**told, "token_id": zlib.crc32(data) % _VOCABULARY}

    ranks = range(chat.top_logprobs)
    return {
        "content": [
            {**one(piece, 0), "top_logprobs": [one(f"{piece}~{rank}" if rank else piece, rank) for rank in ranks]}
            for piece in pieces
        ]
    }


def _events(chat: Chat, answers: list[Answer], circumstances: Circumstances) -> tuple[Event, ...]:
    shared = _shared(chat, circumstances, "chat.completion.chunk")

    def chunk(
        kind: Kind, index: int, delta: Body, *, finish: str | None = None, usage: Body | None = None, piece: str = ""
    ) -> Event:
        choice: Body = {"index": index, "delta": delta, "finish_reason": finish}
        if chat.logprobs and piece:
            choice["logprobs"] = _logprobs(chat, [piece])
        content = {**shared, "choices": [choice]} | ({} if usage is None else {"usage": usage})
        return event(kind, msgspec.json.encode(content))

    events = [chunk(Kind.START, index, {"role": "assistant", "content": ""}) for index in range(len(answers))]
    for index, said in enumerate(answers):
        for piece in words(thought_of(said)):
            events.append(chunk(Kind.CONTENT, index, {"content": [_thinking(piece, closed=False)]}))
        events += [chunk(Kind.CONTENT, index, {"content": piece}, piece=piece) for piece in words(said.text)]
    for index, said in enumerate(answers):
        delta: Body = {"content": ""}
        if said.calls:
            delta["tool_calls"] = _calls(said, index, circumstances)
        last = index == len(answers) - 1
        usage = _usage(chat, answers) if last and circumstances.with_usage else None
        kind = Kind.FINISH_WITH_USAGE if last else Kind.FINISH
        events.append(chunk(kind, index, delta, finish=_finish_reason(said), usage=usage))
    return (*events, DONE)
