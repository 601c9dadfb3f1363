"""The half of a stream decoder that all translated families share, over a family of one word each."""

import json
from typing import Any

import pytest

from billing.pricing import Usage
from gateway import sse
from gateway.providers.answers import Said, completion
from gateway.providers.base import FailureKind
from gateway.providers.chat import ToolCall
from gateway.providers.translated_stream import EventStream
from gateway.schema import Endpoint, ModelRequest, parse

CHAT = parse(
    Endpoint.CHAT, b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user"}]}'
)
LEGACY = parse(Endpoint.COMPLETIONS, b'{"model":"m","stream":true,"prompt":"x"}')


class Plain(EventStream):
    """Events are `[word, value…]`, each word a method of the base."""

    def take(self, frame: Any) -> None:
        word, *values = frame
        if word == "usage":
            self.usage = Usage(*values)
        else:
            getattr(self, word)(*values)


def stream(*frames: list[Any]) -> bytes:
    return b"".join(sse.encode(json.dumps(frame).encode()) for frame in frames)


def decoded(data: bytes, request: ModelRequest = CHAT) -> tuple[Plain, list[Any]]:
    decoder = Plain(request)
    told = [sse.data_of(event) for event in sse.events(decoder.feed(data))]
    return decoder, [json.loads(data) if data != sse.DONE else "DONE" for data in told]


WHOLE = stream(
    ["start", "id-1", "upstream-model"],
    ["reasoning", "Hm."],
    ["text", 'Say "hi"'],
    ["tool_call", "call_1", "add"],
    ["arguments", 0, '{"a":'],
    ["arguments", 0, "1}"],
    ["finish", "tool_calls"],
    ["usage", 5, 7, 2, 0, 3],
    ["done"],
)


def test_a_stream_becomes_chunks_that_openais_clients_read() -> None:
    decoder, chunks = decoded(WHOLE)
    assert decoder.committed
    assert decoder.finished
    assert decoder.failure is None
    assert chunks.pop() == "DONE"
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks} == {
        ("id-1", "chat.completion.chunk", "upstream-model")
    }
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": 'Say "hi"'},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


def test_nothing_is_told_before_the_first_content() -> None:
    decoder = Plain(CHAT)
    assert decoder.feed(stream(["start", "id-1", "m"])) == b""
    assert not decoder.committed
    assert b'"role"' in decoder.feed(stream(["text", "Hi"]))
    assert decoder.committed


def test_the_finish_reason_waits_for_the_end_marker() -> None:
    decoder = Plain(CHAT)
    told = decoder.feed(stream(["text", "Hi"], ["finish", "stop"]))
    assert b'"finish_reason":"' not in told
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED


def test_a_finish_alone_is_an_answer_without_content() -> None:
    decoder, chunks = decoded(stream(["finish", "content_filter"], ["done"]))
    assert decoder.committed
    assert decoder.finished
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, "content_filter"]


def test_an_end_marker_without_a_finish_is_a_broken_answer() -> None:
    decoder, chunks = decoded(stream(["start", "id", "m"], ["done"]))
    assert chunks == []
    assert decoder.failure is not None
    assert decoder.failure.kind is FailureKind.TRUNCATED


def test_what_came_before_a_failure_is_told_and_nothing_after_it() -> None:
    decoder, chunks = decoded(stream(["text", "Hi"], ["fail", FailureKind.SERVER.value, "Overloaded"], ["text", "no"]))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "Hi"]
    assert decoder.failure is not None
    assert decoder.failure.message == "Overloaded"
    assert decoder.feed(WHOLE) == b""


@pytest.mark.parametrize("event", [b"data: {broken\n\n", b"data: %b\n\n" % (b"[" * 200_000)])
def test_what_is_no_event_of_the_family_breaks_the_stream(event: bytes) -> None:
    decoder, _ = decoded(event)
    assert decoder.failure is not None
    assert decoder.failure.kind is FailureKind.PROTOCOL


def test_a_legacy_completion_gets_text_alone() -> None:
    decoder, chunks = decoded(WHOLE, LEGACY)
    assert decoder.finished
    assert chunks.pop() == "DONE"
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ['Say "hi"', ""]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}


def test_choices_are_told_apart() -> None:
    _, chunks = decoded(
        stream(["text", "a", 0], ["text", "b", 1], ["finish", "stop", 0], ["finish", "length", 1], ["done"])
    )
    assert [(chunk["choices"][0]["index"], chunk["choices"][0]["finish_reason"]) for chunk in chunks[-3:-1]] == [
        (0, "stop"),
        (1, "length"),
    ]


def test_a_whole_answer_has_the_shape_that_was_asked_for() -> None:
    said = Said("tool_calls", reasoning="Hm.", tool_calls=[ToolCall("call_1", "now", "")])
    body = json.loads(completion(CHAT, "id-1", "upstream-model", [said], Usage(5, 7)))
    assert body["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Hm.",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
                "refusal": None,
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ]
    legacy = json.loads(completion(LEGACY, "", "", [Said("stop", "Once upon")], None))
    assert (legacy["object"], legacy["model"], legacy["choices"][0]["text"]) == ("text_completion", "m", "Once upon")
    assert legacy["id"].startswith("cmpl-")
