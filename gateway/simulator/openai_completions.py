"""Legacy completions as OpenAI answers them."""

from typing import Any

import msgspec

from gateway.simulator import openai_members as members
from gateway.simulator.content import Answer, Conversation, answer, tokens, words
from gateway.simulator.dialect import Asked, Circumstances, Event, Kind, Reply, Stream
from gateway.simulator.openai_members import Body
from gateway.simulator.openai_wire import DONE, FINGERPRINT, event, stream_options

MEMBERS = frozenset(
    (
        *("model", "prompt", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n"),
        *("presence_penalty", "seed", "stop", "stream", "stream_options", "suffix", "temperature", "top_p", "user"),
    )
)
DEFAULT_MAX_TOKENS = 1024  # OpenAI's is 16, too few to say anything


def complete(asked: Asked, body: Body, circumstances: Circumstances) -> Reply | Stream:
    """Answer each prompt `n` times. Raises Refused."""
    prompts = prompts_of(body, "prompt", default="")
    members.number(body, "temperature", 0, 2)
    members.number(body, "top_p", 0, 1)
    members.integer(body, "logprobs", 0, 5)
    limit = members.integer(body, "max_tokens", 0)
    times = members.integer(body, "n", 1, 128) or 1
    members.boolean(body, "echo")
    stop = members.stop_sequences(body)
    answers = [
        answer(
            Conversation(
                last_text=prompt,
                max_tokens=DEFAULT_MAX_TOKENS if limit is None else limit,
                stop=stop,
                giant=circumstances.giant,
            ),
            choice,
        )
        for prompt in prompts
        for choice in range(times)
    ]
    echoed = [prompt if body.get("echo") else "" for prompt in prompts for _ in range(times)]
    usage = _usage(prompts, answers) if circumstances.with_usage else None
    shared: Body = {
        "id": f"cmpl-{circumstances.token}",
        "object": "text_completion",
        "created": circumstances.now,
        "model": asked.model,
        "system_fingerprint": FINGERPRINT,
    }
    options = stream_options(body)
    if asked.stream:
        return Stream(_events(shared, echoed, answers, usage if options.get("include_usage") else None))
    choices = [
        _choice(index, before + said.text, "length" if said.cut else "stop")
        for index, (before, said) in enumerate(zip(echoed, answers, strict=True))
    ]
    return Reply(200, msgspec.json.encode({**shared, "choices": choices, **({"usage": usage} if usage else {})}))


def prompts_of(body: Body, name: str, *, default: str | None = None) -> list[str]:
    """Return the texts of a member that is a text, texts, tokens, or lists of tokens. Raises Refused.

    Tokens are numbers of a vocabulary that the simulator does not have: their text is the numbers themselves.
    """
    value = body.get(name, default)
    if value is None:
        raise members.missing(name)
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return list(value)
        if _is_tokens(value):
            return [_text_of_tokens(value)]
        if all(_is_tokens(item) for item in value):
            return [_text_of_tokens(item) for item in value]
    raise members.wrong_type(name, "a string, an array of strings, or arrays of token numbers", value)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)


def _text_of_tokens(value: list[int]) -> str:
    return " ".join(str(number) for number in value)


def _usage(prompts: list[str], answers: list[Answer]) -> Body:
    prompt, completion = sum(map(tokens, prompts)), sum(said.tokens for said in answers)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _choice(index: int, text: str, finish: str | None) -> Body:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _events(shared: Body, echoed: list[str], answers: list[Answer], usage: Body | None) -> tuple[Event, ...]:
    events = []
    for index, (before, said) in enumerate(zip(echoed, answers, strict=True)):
        pieces = words(before + said.text) or [""]
        choices = [_choice(index, piece, None) for piece in pieces]
        choices.append(_choice(index, "", "length" if said.cut else "stop"))
        for choice in choices:
            kind = Kind.CONTENT if choice["finish_reason"] is None else Kind.FINISH
            events.append(event(kind, msgspec.json.encode({**shared, "choices": [choice]})))
    if usage is not None:
        events.append(event(Kind.USAGE, msgspec.json.encode({**shared, "choices": [], "usage": usage})))
    return (*events, DONE)
