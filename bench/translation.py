"""What a family's translation costs: CPU time for a request of 1 KB with its answer, and for one event of a stream.

The simulator's answers are read, which are made once and before the clock runs. What OpenAI's family needs, whose bytes
pass through, is the measure for the others.
"""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from urllib.parse import unquote

from bench.programs import CannotMeasure
from bench.result import Translation
from gateway.providers.base import Adapter, Completion, Target
from gateway.providers.registry import FAMILIES
from gateway.schema import Endpoint, ModelRequest, parse
from gateway.simulator.dialect import Circumstances, Reply, Request, Stream
from gateway.simulator.registry import DIALECTS

_BASELINE = "openai"
_MODELS = {
    "anthropic": "claude-sonnet-4-6",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere": "command-a-03-2025",
    "gemini": "gemini-2.5-flash",
    "mistral": "mistral-small-latest",
}
_OPTIONS: dict[str, dict[str, Any]] = {"bedrock": {"region": "us-east-1"}}
_CIRCUMSTANCES = Circumstances(1_700_000_000, "5" * 32, 0, giant=False, with_usage=True, seen_before=lambda _: False)
_PASSES = 7
_CALLS = 400  # of a pass
_STREAM_CALLS = 40
_SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog lets it. "
_READ_BYTES = 4096  # what a read of the socket brings, about


def main(arguments: list[str]) -> list[Translation]:
    """Measure every family, OpenAI's first. Raises CannotMeasure where a simulator's answer is none."""
    names = sorted(FAMILIES, key=lambda name: (name != _BASELINE, name))
    costs = [(name, *_costs(FAMILIES[name])) for name in names]
    _, plain, event = costs[0]
    return [
        Translation(name, round(one, 1), round(one - plain, 1), round(each, 2), round(each - event, 2))
        for name, one, each in costs
    ]


def _costs(adapter: Adapter) -> tuple[float, float]:
    """Return microseconds for a plain request, and for an event of a stream."""
    target = Target(
        DIALECTS[adapter.family].base_path,
        "key",
        _MODELS.get(adapter.family, "gpt-4o"),
        _OPTIONS.get(adapter.family, {}),
    )
    plain, streamed = _asked(stream=False), _asked(stream=True)
    reply = _answer(adapter, plain, target)
    stream = _answer(adapter, streamed, target)
    if not isinstance(reply, Reply) or not isinstance(stream, Stream):
        raise CannotMeasure(f"The simulator of {adapter.family} did not answer as it should.")
    body, events = reply.body, stream.events
    data = b"".join(event.wire for event in events)
    reads = [data[at : at + _READ_BYTES] for at in range(0, len(data), _READ_BYTES)]

    def whole() -> None:
        adapter.build_request(plain, target)
        if not isinstance(adapter.parse_response(plain, body), Completion):
            raise CannotMeasure(f"{adapter.family} did not understand its simulator.")

    def piece_by_piece() -> None:
        decoder = adapter.stream_decoder(streamed)
        for read in reads:
            decoder.feed(read)
        if not decoder.finished:
            raise CannotMeasure(f"{adapter.family} did not understand its simulator's stream.")

    return _microseconds(whole, _CALLS), _microseconds(piece_by_piece, _STREAM_CALLS) / len(events)


def _asked(*, stream: bool) -> ModelRequest:
    messages = [{"role": "system", "content": _SENTENCE * 2}, {"role": "user", "content": _SENTENCE * 12}]
    body = {"model": "public-name", "messages": messages, "max_tokens": 1000, "temperature": 0.5, "stream": stream}
    return parse(Endpoint.CHAT, json.dumps(body).encode())


def _answer(adapter: Adapter, request: ModelRequest, target: Target) -> Reply | Stream:
    built = adapter.build_request(request, target)
    path, _, query = built.path.decode().partition("?")
    headers = {name.decode(): value.decode() for name, value in built.headers}
    received = Request("POST", unquote(path), query, headers, built.body, path)
    dialect = DIALECTS[adapter.family]
    return dialect.answer(received, dialect.look(received), _CIRCUMSTANCES)


def _microseconds(work: Callable[[], None], calls: int) -> float:
    """Return the CPU time of one call, the median of the passes."""
    passes = []
    for _ in range(_PASSES):
        began = time.process_time()
        for _ in range(calls):
            work()
        passes.append((time.process_time() - began) / calls * 1e6)
    return median(passes)
