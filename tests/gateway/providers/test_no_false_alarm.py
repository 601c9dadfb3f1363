"""A good stream is never taken for a broken one, however its bytes arrive."""

from random import Random
from typing import Any

import pytest

from gateway.providers.registry import FAMILIES
from gateway.simulator.registry import DIALECTS
from tests.gateway.families import NAMES, UPSTREAM_MODELS
from tests.gateway.providers.round_trip import TIME, WEATHER, RoundTrip, request

PIECES = (
    "Hello",
    "Zürich",
    "日本",
    "🙂",
    '"usage"',
    '{"error":1}',
    "data: [DONE]",
    "\n\n",
    "\\",
    "message_stop",
    "  ",
    "\t",
)


def asked(rng: Random) -> dict[str, Any]:
    """Make up a request: a text that looks like a stream's own words, with tools, a schema, or few tokens."""
    text = " ".join(rng.choices(PIECES, k=rng.randint(1, 20))) + "?"
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": 500}
    match rng.randrange(5):
        case 0:
            body |= {"tools": [WEATHER, TIME]}
        case 1:
            body |= {"max_tokens": rng.randint(1, 9)}
        case 2:
            body |= {"stream_options": {"include_usage": True}}
    return body


def check(family: str, streams: int) -> None:
    dialect = DIALECTS[family]
    trip = RoundTrip(FAMILIES[family], dialect, UPSTREAM_MODELS.get(family, "gpt-4o"))
    rng = Random(family)  # makes up requests, no secrets
    for number in range(streams):
        body = asked(rng)
        data = trip.stream(request(**body), path=dialect.base_path)
        decoder = trip.adapter.stream_decoder(request(**body))
        at = 0
        told = b""
        while at < len(data):
            size = rng.choice((1, 7, 100, 4096, 65536))
            told += decoder.feed(data[at : at + size])
            at += size
        assert decoder.failure is None, f"{number}: {body}: {decoder.failure}"
        assert decoder.finished, f"{number}: {body}"
        assert told.endswith(b"data: [DONE]\n\n"), f"{number}: {body}"
        assert decoder.usage is not None, f"{number}: {body}"
        assert decoder.usage.output_tokens > 0, f"{number}: {body}"


@pytest.mark.parametrize("family", NAMES)
def test_a_good_stream_raises_no_alarm(family: str) -> None:
    check(family, 150)


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", NAMES)
def test_ten_thousand_good_streams_raise_no_alarm(family: str) -> None:
    check(family, 10_000)
