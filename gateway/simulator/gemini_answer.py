"""generateContent as Gemini answers it: in one piece, as server-sent events, and as a JSON array that grows."""

import base64
from typing import Any

import msgspec

from gateway.simulator.content import Answer, Call, answer, tokens, words
from gateway.simulator.dialect import Circumstances, Event, Kind, Reply, Stream
from gateway.simulator.gemini_messages import Body
from gateway.simulator.gemini_request import Generation
from gateway.simulator.gemini_tools import signature

CONTENT_TYPE = "application/json; charset=UTF-8"
_TEXT_SIGNATURE = base64.b64encode(b"simulated-signature of a text").decode()
_WITHOUT_CONTENT = frozenset(
    ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "MALFORMED_FUNCTION_CALL")
)


def whole(generation: Generation, circumstances: Circumstances) -> Reply:
    """Answer in one piece."""
    response = _Response(generation, circumstances)
    if generation.block_reason:
        return Reply(200, msgspec.json.encode(response.blocked()), content_type=CONTENT_TYPE)
    candidates = []
    for index, said in enumerate(response.answers):
        parts = _joined([part for step in _steps(generation, said, circumstances, index) for part in step])
        candidates.append(_candidate(generation, said, index, parts, last=True))
    return Reply(200, msgspec.json.encode(response.of(candidates)), content_type=CONTENT_TYPE)


def streamed(generation: Generation, circumstances: Circumstances, *, sse: bool) -> Stream:
    """Answer in events, or with `sse` false as a JSON array, an element at a time."""
    response = _Response(generation, circumstances)
    chunks = [(Kind.FINISH_WITH_USAGE, response.blocked())] if generation.block_reason else list(response.chunks())
    if sse:
        events = (Event(kind, b"data: %b\r\n\r\n" % msgspec.json.encode(chunk)) for kind, chunk in chunks)
        return Stream(tuple(events), content_type="text/event-stream")
    pieces = [
        Event(kind, (b"," if at else b"[") + msgspec.json.encode(chunk) + b"\r\n")
        for at, (kind, chunk) in enumerate(chunks)
    ]
    return Stream((*pieces, Event(Kind.DONE, b"]")), content_type=CONTENT_TYPE)


class _Response:
    """Makes one answer's responses; a stream's chunks are responses too."""

    def __init__(self, generation: Generation, circumstances: Circumstances) -> None:
        self._generation = generation
        self._circumstances = circumstances
        self.answers = [answer(generation.conversation, index) for index in range(generation.candidates)]

    def of(self, candidates: list[Body], *, so_far: int | None = None) -> Body:
        """Return a response; `so_far` is how many tokens a stream has brought, None at its end."""
        response: Body = {"candidates": candidates}
        if self._circumstances.with_usage:
            response["usageMetadata"] = self._usage(so_far)
        return response | self._signed_off()

    def blocked(self) -> Body:
        response: Body = {"promptFeedback": {"blockReason": self._generation.block_reason}}
        if self._circumstances.with_usage:
            prompt = self._generation.prompt_tokens
            response["usageMetadata"] = {"promptTokenCount": prompt, "totalTokenCount": prompt}
        return response | self._signed_off()

    def chunks(self) -> Any:
        """Yield the responses of a stream and what each is for; the candidates grow side by side."""
        generation = self._generation
        steps = [_steps(generation, said, self._circumstances, index) for index, said in enumerate(self.answers)]
        brought = 0
        for round_ in range(max(len(step) for step in steps)):
            for index, said in enumerate(self.answers):
                if round_ >= len(steps[index]):
                    continue
                parts = steps[index][round_]
                brought += sum(_part_tokens(part) for part in parts)
                candidate = _candidate(generation, said, index, parts, last=False)
                yield Kind.CONTENT, self.of([candidate], so_far=brought)
        for index, said in enumerate(self.answers):
            end: Body = {"text": ""}
            if generation.signs and said.text:
                end["thoughtSignature"] = _TEXT_SIGNATURE
            yield Kind.FINISH_WITH_USAGE, self.of([_candidate(generation, said, index, [end], last=True)])

    def _usage(self, so_far: int | None) -> Body:
        generation = self._generation
        thoughts = sum(said.reasoning_tokens for said in self.answers)
        brought = sum(said.tokens for said in self.answers) - thoughts if so_far is None else so_far
        details = [{"modality": "TEXT", "tokenCount": generation.prompt_tokens - generation.image_tokens}]
        if generation.image_tokens:
            details.append({"modality": "IMAGE", "tokenCount": generation.image_tokens})
        usage: Body = {
            "promptTokenCount": generation.prompt_tokens,
            "candidatesTokenCount": brought,
            "totalTokenCount": generation.prompt_tokens + brought + thoughts,
            "promptTokensDetails": details,
        }
        if generation.cached_tokens:
            usage["cachedContentTokenCount"] = generation.cached_tokens
        return usage | ({"thoughtsTokenCount": thoughts} if thoughts else {})

    def _signed_off(self) -> Body:
        return {"modelVersion": self._generation.model, "responseId": self._circumstances.token[:22]}


def _steps(generation: Generation, said: Answer, circumstances: Circumstances, index: int) -> list[list[Body]]:
    """Return the parts of an answer, those that come together in one list: thoughts, then calls or words."""
    steps: list[list[Body]] = []
    if generation.thoughts:
        steps.append([{"text": generation.thoughts, "thought": True}])
    if generation.finish_reason in _WITHOUT_CONTENT:
        return steps
    calls = said.calls[:-1] if said.cut else said.calls  # a call comes whole or not at all
    for number, call in enumerate(calls):
        call_id = f"{circumstances.token[:6]}{index:x}{number:x}" if generation.with_ids else ""
        steps.append([_call_part(call, call_id, signed=generation.signs and number == 0)])
    return [*steps, *([{"text": word}] for word in words(said.text))]


def _call_part(call: Call, call_id: str, *, signed: bool) -> Body:
    args = msgspec.json.decode(call.arguments)
    function: Body = {"name": call.name, "args": args}
    if call_id:
        function["id"] = call_id
    return {"functionCall": function} | ({"thoughtSignature": signature(call.name, args)} if signed else {})


def _joined(parts: list[Body]) -> list[Body]:
    """Return parts with neighbouring words joined: whole answers have a text in one part."""
    joined: list[Body] = []
    for part in parts:
        if joined and set(part) == {"text"} and set(joined[-1]) == {"text"}:
            joined[-1] = {"text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _candidate(generation: Generation, said: Answer, index: int, parts: list[Body], *, last: bool) -> Body:
    content: Body = {"role": "model"}
    candidate: Body = {"content": {"parts": parts, **content} if parts else content}
    if last:
        candidate["finishReason"] = generation.finish_reason or ("MAX_TOKENS" if said.cut else "STOP")
    candidate["index"] = index
    if generation.logprobs:
        pieces = [word for part in parts if not part.get("thought") for word in words(part.get("text", ""))]
        if pieces:
            candidate["logprobsResult"] = _logprobs(pieces, generation.top_logprobs)
    return candidate


def _logprobs(pieces: list[str], top: int) -> Body:
    """Return a log-probability per word; a word stands for a token here."""
    return {
        "chosenCandidates": [_logprob(piece, 0) for piece in pieces],
        "topCandidates": [
            {"candidates": [_logprob(piece if rank == 0 else f"{piece}~{rank}", rank) for rank in range(top)]}
            for piece in pieces
        ],
    }


def _logprob(piece: str, rank: int) -> Body:
    return {"token": piece, "tokenId": tokens(piece) + rank, "logProbability": -0.125 * tokens(piece) - rank}


def _part_tokens(part: Body) -> int:
    if part.get("thought"):
        return 0
    call = part.get("functionCall")
    if call is not None:
        return tokens(call["name"]) + tokens(msgspec.json.encode(call["args"]).decode())
    return tokens(part["text"])
