"""The tap on OpenAI streams and answers: what commits, what ends, what is taken out, and that bytes stay bytes."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway.providers.base import Completion, Failure, FailureKind, Target
from gateway.providers.openai import OPENAI, OpenAIStream
from gateway.schema import Endpoint, ModelRequest, parse
from tests.gateway.test_sse import pieces

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", **chunk}).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": finish}])


ROLE = delta(role="assistant", content="")
WORDS = [delta(content="Hé "), delta(content='"usage": {'), delta(content="[DONE"), delta(content='"error": 1')]
FINISH = delta(finish="stop")
USAGE_EVENT = event(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
WHOLE = b"".join([ROLE, *WORDS, FINISH, USAGE_EVENT, DONE])


def request(**body: Any) -> ModelRequest:
    return parse(
        Endpoint.CHAT, json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **body}).encode()
    )


def read(stream: OpenAIStream, parts: list[bytes]) -> bytes:
    return b"".join(stream.feed(part) for part in parts)


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_any_split_of_the_bytes_passes_on_the_same_bytes(cuts: list[int]) -> None:
    stream = OpenAIStream(keep_usage=True)
    assert read(stream, pieces(WHOLE, cuts)) == WHOLE
    assert stream.finished
    assert stream.end() is None
    assert stream.usage == Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3)
    assert stream.content_bytes >= len("Hé ")


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_usage_that_the_client_did_not_ask_for_is_taken_out(cuts: list[int]) -> None:
    stream = OpenAIStream(keep_usage=False)
    assert read(stream, pieces(WHOLE, cuts)) == WHOLE.replace(USAGE_EVENT, b"")
    assert stream.usage is not None
    assert stream.usage.input_tokens == 5


@given(st.integers(0, len(WHOLE) - len(DONE)))
def test_every_prefix_without_the_end_marker_is_truncated(length: int) -> None:
    stream = OpenAIStream(keep_usage=True)
    passed = stream.feed(WHOLE[:length])
    failure = stream.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert DONE not in passed


@given(st.lists(st.sampled_from([b": ping\n\n", b"\n\n", b"event: mystery\ndata: {}\n\n"]), min_size=8, max_size=8))
def test_comments_and_unknown_events_change_nothing(noise: list[bytes]) -> None:
    parts = [part for pair in zip(noise, [ROLE, *WORDS, FINISH, USAGE_EVENT, DONE], strict=True) for part in pair]
    stream = OpenAIStream(keep_usage=True)
    passed = read(stream, parts)
    assert passed == b"".join(parts)
    assert stream.finished


@pytest.mark.parametrize(
    "first",
    [ROLE, event(choices=[], prompt_filter_results=[{"prompt_index": 0}]), b": keep-alive\n\n", delta(content=None)],
)
def test_what_is_not_content_does_not_commit(first: bytes) -> None:
    stream = OpenAIStream(keep_usage=True)
    assert stream.feed(first) == b""
    assert not stream.committed
    assert stream.feed(WORDS[0]) == first + WORDS[0]
    assert stream.committed


@pytest.mark.parametrize(
    "content",
    [
        delta(content="x"),
        delta(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]),
        delta(refusal="no"),
        delta(reasoning_content="hm"),
        delta(finish="content_filter"),
        event(choices=[{"index": 0, "text": "x", "finish_reason": None}]),
    ],
)
def test_content_of_every_kind_commits(content: bytes) -> None:
    stream = OpenAIStream(keep_usage=True)
    assert stream.feed(content) == content


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "overloaded", "type": "server_error"}, FailureKind.SERVER),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, FailureKind.RATE_LIMIT),
        ({"message": "pay", "type": "insufficient_quota"}, FailureKind.QUOTA),
        ({"message": "number", "code": 429}, FailureKind.RATE_LIMIT),
        ("plain words", FailureKind.SERVER),
    ],
)
def test_an_error_as_first_event_is_a_failure_before_the_commit(error: Any, kind: FailureKind) -> None:
    stream = OpenAIStream(keep_usage=True)
    assert stream.feed(ROLE + event(error=error)) == b""
    assert stream.failure is not None
    assert stream.failure.kind is kind
    assert not stream.committed


def test_an_error_after_the_commit_keeps_what_came_before_it() -> None:
    stream = OpenAIStream(keep_usage=True)
    passed = stream.feed(ROLE + WORDS[0] + event(error={"message": "broke"}) + WORDS[1] + DONE)
    assert passed == ROLE + WORDS[0]
    assert stream.failure is not None
    assert not stream.finished


@pytest.mark.parametrize("stream_bytes", [DONE, ROLE + DONE, ROLE + WORDS[0] + DONE])
def test_an_end_marker_without_a_finish_is_a_truncated_answer(stream_bytes: bytes) -> None:
    stream = OpenAIStream(keep_usage=True)
    assert DONE not in stream.feed(stream_bytes)
    assert stream.failure is not None
    assert stream.failure.kind is FailureKind.TRUNCATED


@pytest.mark.parametrize("spelling", ['"finish_reason":"stop"', '"finish_reason": "stop"', '"finish_reason" : "stop"'])
def test_a_finish_is_found_however_it_is_spelt(spelling: str) -> None:
    stream = OpenAIStream(keep_usage=True)
    stream.feed(ROLE + WORDS[0])
    stream.feed(FINISH.replace(b'"finish_reason": "stop"', spelling.encode()))
    stream.feed(USAGE_EVENT)
    stream.feed(DONE)
    assert stream.finished


def test_the_text_of_a_stream_is_estimated_from_its_bytes() -> None:
    stream = OpenAIStream(keep_usage=True)
    words = ["Hello", " there", ", how", " are", " you", "?"] * 50
    stream.feed(ROLE)
    for word in words:
        stream.feed(delta(content=word))
    assert stream.content_bytes == len("".join(words))


def test_an_event_that_is_no_json_fails_before_the_commit() -> None:
    stream = OpenAIStream(keep_usage=True)
    assert stream.feed(b"data: {oops\n\n") == b""
    assert stream.failure is not None
    assert stream.failure.kind is FailureKind.PROTOCOL


def test_an_answer_passes_byte_for_byte_with_its_usage() -> None:
    body = json.dumps(
        {"choices": [{"message": {"content": "hi"}}], "usage": USAGE, "x": [1.0, 2.50]}, indent=3
    ).encode()
    answer = OPENAI.parse_response(request(), body)
    assert isinstance(answer, Completion)
    assert answer.body is body
    assert answer.usage == Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": null}', b'{"id": 1}', b'{"choices": [{}'])
def test_a_200_that_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    answer = OPENAI.parse_response(request(), body)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.PROTOCOL
    assert answer.counts_for_breaker


def test_a_200_with_an_error_in_it_is_that_failure() -> None:
    answer = OPENAI.parse_response(request(), b'{"error": {"message": "busy", "type": "server_error"}}')
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.SERVER


@pytest.mark.parametrize(
    ("status", "kind", "moves_on", "breaker"),
    [
        (400, FailureKind.REQUEST, False, False),
        (401, FailureKind.AUTH, True, False),
        (402, FailureKind.AUTH, True, False),
        (403, FailureKind.AUTH, True, False),
        (404, FailureKind.REQUEST, False, False),
        (408, FailureKind.RATE_LIMIT, True, False),
        (413, FailureKind.REQUEST, False, False),
        (422, FailureKind.REQUEST, False, False),
        (429, FailureKind.RATE_LIMIT, True, False),
        (500, FailureKind.SERVER, True, True),
        (503, FailureKind.SERVER, True, True),
        (529, FailureKind.SERVER, True, True),
        (599, FailureKind.SERVER, True, True),
    ],
)
def test_every_status_has_its_class(status: int, kind: FailureKind, moves_on: bool, breaker: bool) -> None:
    failure = OPENAI.parse_error(status, (), b"<html>Bad Gateway</html>")
    assert (failure.kind, failure.moves_on, failure.counts_for_breaker) == (kind, moves_on, breaker)
    assert failure.fate == str(status)
    assert str(status) in failure.message


def test_an_exhausted_quota_is_not_worth_another_try_at_the_same_provider() -> None:
    failure = OPENAI.parse_error(429, (), b'{"error": {"message": "pay", "code": "insufficient_quota"}}')
    assert failure.moves_on
    assert not failure.may_repeat


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (((b"retry-after", b"2"),), 2.0),
        (((b"retry-after-ms", b"250"), (b"retry-after", b"9")), 0.25),
        (((b"retry-after", b"soon"),), None),
        (((b"retry-after", b"-3"),), None),
        (((b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT"),), 0.0),
        ((), None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: Any, seconds: float | None) -> None:
    assert OPENAI.parse_error(429, headers, b"").retry_after_seconds == seconds


def test_the_request_goes_out_under_our_credential_and_the_upstream_name() -> None:
    chat = request(stream=True, temperature=1.0, unknown={"kept": [1, 2.50]})
    upstream = OPENAI.build_request(chat, Target("/v1", "sk-up", "upstream-model", {"organization": "org-1"}))
    sent = json.loads(upstream.body)
    assert upstream.path == b"/v1/chat/completions"
    assert dict(upstream.headers)[b"authorization"] == b"Bearer sk-up"
    assert dict(upstream.headers)[b"openai-organization"] == b"org-1"
    assert dict(upstream.headers)[b"accept-encoding"] == b"identity"
    assert sent["model"] == "upstream-model"
    assert sent["stream_options"] == {"include_usage": True}
    assert b'"unknown":{"kept": [1, 2.5]}' in upstream.body


def test_a_body_that_needs_no_change_is_not_touched() -> None:
    chat = request(stream=True, stream_options={"include_usage": True})
    assert OPENAI.build_request(chat, Target("", "", "m", {})).body is chat.body


def test_other_stream_options_survive_the_asking_for_usage() -> None:
    chat = request(stream=True, stream_options={"include_obfuscation": False})
    assert json.loads(chat.body_for("m"))["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_what_has_been_passed_on_is_not_kept() -> None:
    """A client that stalls holds its stream's tap for as long; a fast provider's blocks are 256 KiB each."""
    stream, words = OpenAIStream(keep_usage=True), delta(content="x" * 4000)
    stream.feed(ROLE + words)
    tracemalloc.start()
    try:
        for _ in range(20):
            stream.feed(words * 64)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 256 * 1024
