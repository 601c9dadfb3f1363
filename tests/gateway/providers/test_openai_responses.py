"""The tap on OpenAI's own Responses API."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.providers.base import Completion, Failure, FailureKind
from gateway.providers.openai_responses import ResponsesStream
from gateway.providers.registry import FAMILIES
from gateway.schema import Endpoint, parse
from gateway.simulator.dialect import Circumstances, Request, Stream
from gateway.simulator.openai import OPENAI as SIMULATED

ASKED = {"model": "gpt-4o", "input": 'Say "response.completed" and {"type":"error"} to ütf', "stream": True}
REQUEST = Request("POST", "/v1/responses", "", {"content-type": "application/json"}, json.dumps(ASKED).encode())


def simulated() -> list[bytes]:
    circumstances = Circumstances(1, "0" * 32, 0, giant=False, with_usage=True, seen_before=lambda _: False)
    stream = SIMULATED.answer(REQUEST, SIMULATED.look(REQUEST), circumstances)
    assert isinstance(stream, Stream)
    return [event.wire for event in stream.events]


EVENTS = simulated()
WHOLE = b"".join(EVENTS)


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\n%b" % (kind.encode(), sse.encode(json.dumps({"type": kind, **members}).encode()))


def test_a_stream_passes_byte_for_byte_and_tells_its_usage() -> None:
    tap = ResponsesStream()
    assert tap.feed(WHOLE) == WHOLE
    assert tap.finished
    assert tap.usage is not None
    assert tap.usage.input_tokens > 0
    assert tap.usage.output_tokens > 0
    assert tap.content_bytes > 20


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_any_split_gives_the_same_bytes(cuts: list[int]) -> None:
    tap = ResponsesStream()
    assert b"".join(tap.feed(WHOLE[start:end]) for start, end in pairwise([0, *sorted(cuts), len(WHOLE)])) == WHOLE
    assert tap.finished


@given(st.integers(0, len(WHOLE) - 2))
def test_any_prefix_is_truncated(cut: int) -> None:
    tap = ResponsesStream()
    tap.feed(WHOLE[:cut])
    failure = tap.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED


def test_nothing_is_told_before_the_first_content() -> None:
    tap = ResponsesStream()
    assert tap.feed(b"".join(EVENTS[:4])) == b""
    assert not tap.committed
    assert tap.feed(EVENTS[4]) == b"".join(EVENTS[:5])


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (event("error", code="server_error", message="No"), FailureKind.SERVER),
        (event("error", code="rate_limit_exceeded", message="No"), FailureKind.RATE_LIMIT),
        (sse.encode(b'{"error": {"message": "No", "code": "insufficient_quota"}}'), FailureKind.QUOTA),
        (event("response.failed", response={"status": "failed", "error": {"message": "No"}}), FailureKind.SERVER),
    ],
)
@pytest.mark.parametrize("begun", [0, 5])
def test_a_failure_ends_the_stream_and_is_kept_from_the_client(ending: bytes, kind: FailureKind, begun: int) -> None:
    before = b"".join(EVENTS[:begun])
    tap = ResponsesStream()
    told = tap.feed(before + ending)
    assert told == before
    assert tap.failure is not None
    assert tap.failure.kind is kind
    assert tap.committed is (begun > 0)


def test_what_is_no_event_is_a_failure_before_the_first_content() -> None:
    tap = ResponsesStream()
    assert tap.feed(b"data: {broken\n\n") == b""
    assert tap.failure is not None
    assert tap.failure.kind is FailureKind.PROTOCOL


def test_a_whole_response_is_passed_and_a_failed_one_is_not() -> None:
    openai = FAMILIES["openai"]
    request = parse(Endpoint.RESPONSES, b'{"model":"m","input":"x"}')
    body = b'{"status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":4}}'
    answer = openai.parse_response(request, body)
    assert isinstance(answer, Completion)
    assert answer.body == body
    failed = openai.parse_response(request, b'{"status":"failed","error":{"code":"server_error","message":"No"}}')
    assert isinstance(failed, Failure)
    assert failed.message == "No"
    assert isinstance(openai.parse_response(request, b"[]"), Failure)
