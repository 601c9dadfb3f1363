"""Chat completions as OpenAI answers them, in one piece and in chunks."""

from typing import Any

import msgspec

from gateway.simulator.content import Answer, answer, tokens, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream
from gateway.simulator.openai_chat_request import Chat, checked
from gateway.simulator.openai_members import Body
from gateway.simulator.openai_wire import DONE, FINGERPRINT, event, obfuscation


def complete(asked: Asked, body: Body, circumstances: Circumstances, *, strict: bool) -> Reply | Stream:
    """Answer a chat. Raises Refused."""
    chat = checked(asked, body, circumstances, strict=strict)
    answers = [answer(chat.conversation, choice) for choice in range(chat.choices)]
    if asked.stream:
        return Stream(_events(chat, answers, circumstances))
    content: dict[str, Any] = {
        "id": f"chatcmpl-{circumstances.token}",
        "object": "chat.completion",
        "created": circumstances.now,
        "model": chat.model,
        "choices": [_choice(chat, said, index, circumstances) for index, said in enumerate(answers)],
    }
    if circumstances.with_usage:
        content["usage"] = _usage(chat, answers)
    content |= {"service_tier": "default", "system_fingerprint": FINGERPRINT}
    return Reply(200, msgspec.json.encode(content))


def _choice(chat: Chat, said: Answer, index: int, circumstances: Circumstances) -> Body:
    message: Body = {"role": "assistant", "content": None if said.calls else said.text, "refusal": None}
    if said.calls:
        message["tool_calls"] = [
            {
                "id": _call_id(circumstances, index, number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(said.calls)
        ]
    message["annotations"] = []
    logprobs = {"content": _logprobs(chat, words(said.text)), "refusal": None} if chat.logprobs else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": _finish_reason(said)}


def _call_id(circumstances: Circumstances, choice: int, number: int) -> str:
    return f"call_{circumstances.token[:20]}{choice:02x}{number:02x}"


def _finish_reason(said: Answer) -> str:
    return "length" if said.cut else "tool_calls" if said.calls else "stop"


def _usage(chat: Chat, answers: list[Answer]) -> Body:
    completion = sum(said.tokens for said in answers)
    return {
        "prompt_tokens": chat.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": chat.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": chat.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(said.reasoning_tokens for said in answers),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _logprobs(chat: Chat, pieces: list[str]) -> list[Body]:
    """Return a log-probability per word; a word stands for a token here."""
    return [
        {
            **_logprob(piece, 0),
            "top_logprobs": [
                _logprob(piece if rank == 0 else f"{piece}~{rank}", rank) for rank in range(chat.top_logprobs)
            ],
        }
        for piece in pieces
    ]


def _logprob(piece: str, rank: int) -> Body:
    return {"token": piece, "logprob": -0.125 * tokens(piece) - rank, "bytes": list(piece.encode())}


def _events(chat: Chat, answers: list[Answer], circumstances: Circumstances) -> tuple[Event, ...]:
    chunks = _Chunks(chat, circumstances)
    events = [chunks.chunk(Kind.START, index, _first_delta(said)) for index, said in enumerate(answers)]
    bodies = [chunks.body(said, index) for index, said in enumerate(answers)]
    for round_ in range(max(len(body) for body in bodies)):  # the choices grow side by side
        events.extend(body[round_] for body in bodies if round_ < len(body))
    events.extend(
        chunks.chunk(Kind.FINISH, index, b"{}", finish=_finish_reason(said)) for index, said in enumerate(answers)
    )
    if chat.include_usage:
        events.append(chunks.usage(_usage(chat, answers)))
    events.append(DONE)
    return tuple(events)


def _first_delta(said: Answer) -> bytes:
    return msgspec.json.encode({"role": "assistant", "content": None if said.calls else "", "refusal": None})


class _Chunks:
    """Makes one stream's chunks; what they share is encoded once."""

    def __init__(self, chat: Chat, circumstances: Circumstances) -> None:
        self._chat = chat
        self._circumstances = circumstances
        shared = {
            "id": f"chatcmpl-{circumstances.token}",
            "object": "chat.completion.chunk",
            "created": circumstances.now,
            "model": chat.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self._shared = msgspec.json.encode(shared)[:-1]
        self._no_usage = b',"usage":null' if chat.include_usage else b""

    def chunk(
        self, kind: Kind, index: int, delta: bytes, *, finish: str | None = None, logprobs: bytes = b"null"
    ) -> Event:
        reason = b"null" if finish is None else b'"%b"' % finish.encode()
        data = b'%b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            *(self._shared, index, delta, logprobs, reason, self._no_usage),
        )
        return event(kind, data + obfuscation(delta) + b"}" if self._chat.obfuscated else data + b"}")

    def body(self, said: Answer, index: int) -> list[Event]:
        """Return the chunks of one choice's text or calls."""
        if said.calls:
            return [
                self.chunk(Kind.CONTENT, index, msgspec.json.encode({"tool_calls": [fragment]}))
                for number, call in enumerate(said.calls)
                for fragment in _fragments(
                    call.name, call.arguments, number, _call_id(self._circumstances, index, number)
                )
            ]
        return [
            self.chunk(
                Kind.CONTENT, index, b'{"content":%b}' % msgspec.json.encode(piece), logprobs=self._logprobs_of(piece)
            )
            for piece in words(said.text)
        ]

    def usage(self, usage: Body) -> Event:
        return event(Kind.USAGE, b'%b,"choices":[],"usage":%b}' % (self._shared, msgspec.json.encode(usage)))

    def _logprobs_of(self, piece: str) -> bytes:
        if not self._chat.logprobs:
            return b"null"
        return msgspec.json.encode({"content": _logprobs(self._chat, [piece]), "refusal": None})


def _fragments(name: str, arguments: str, number: int, call_id: str) -> list[Body]:
    """Return a call as it is streamed: id and name first, then the arguments in pieces."""
    start = {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [arguments[at : at + 8] for at in range(0, len(arguments), 8)]
    return [start, *({"index": number, "function": {"arguments": piece}} for piece in pieces)]
