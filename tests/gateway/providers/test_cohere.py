"""The Cohere family: what is translated, what it cannot do, and what comes back."""

import base64
import json
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway import sse
from gateway.providers.base import Completion, Failure, FailureKind, Unsupported
from gateway.providers.cohere import COHERE
from gateway.schema import Endpoint
from gateway.simulator import cohere as simulator
from gateway.simulator.cohere_errors import failure as failure_of
from tests.gateway.providers.round_trip import HELLO, IMAGE, TIME, WEATHER, RoundTrip, chunks_of, joined, request
from tests.gateway.test_sse import pieces

FAMILY = RoundTrip(COHERE, simulator.COHERE, "command-a-03-2025")
THINKER = "command-a-reasoning-08-2025"
CALL = {"id": "call_abc", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_abc", "content": "18 degrees"}
TEXT = "[simulated] You said: Hello there"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.3}, {"temperature": 0.3}),
        ({"temperature": 2}, {"temperature": 1}),
        ({"top_p": 0.5}, {"p": 0.5}),
        ({"top_p": 1}, {"p": 0.99}),
        ({"top_p": 0}, {"p": 0.01}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": list("abcde")}, {"stop_sequences": list("abcde")}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {"seed": 2**63 - 1}),
        ({"presence_penalty": 1, "frequency_penalty": 0.5}, {"presence_penalty": 1, "frequency_penalty": 0.5}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"logprobs": False}, {}),
        ({"k": 3, "safety_mode": "OFF"}, {"k": 3, "safety_mode": "OFF"}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": WANTED}, {"response_format": {"type": "json_object", "json_schema": SCHEMA}}),
        ({"n": 1, "parallel_tool_calls": True}, {}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ],
)
def test_each_parameter_has_its_name_and_range(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert FAMILY.sent(request(**given)) == {"model": "command-a-03-2025", "messages": HELLO, **sent}
    if not given.get("stream"):
        assert isinstance(FAMILY.outcome(request(**given)), Completion)


@pytest.mark.parametrize(("effort", "thinking"), [("high", "enabled"), ("minimal", "enabled"), ("none", "disabled")])
def test_reasoning_effort_is_a_switch(effort: str, thinking: str) -> None:
    asked = request(reasoning_effort=effort)
    assert FAMILY.sent(asked, model=THINKER)["thinking"] == {"type": thinking}
    message = FAMILY.answer(asked, model=THINKER)["choices"][0]["message"]
    assert ("reasoning_content" in message) is (thinking == "enabled")


@pytest.mark.parametrize(
    ("choice", "sent", "names"),
    [
        (None, None, ["weather", "time"]),
        ("auto", None, ["weather", "time"]),
        ("none", "NONE", ["weather", "time"]),
        ("required", "REQUIRED", ["weather", "time"]),
        ({"type": "function", "function": {"name": "time"}}, "REQUIRED", ["time"]),
    ],
)
def test_each_tool_choice_has_its_word(choice: Any, sent: str | None, names: list[str]) -> None:
    body = FAMILY.sent(request(tools=[WEATHER, TIME], **({} if choice is None else {"tool_choice": choice})))
    assert body.get("tool_choice") == sent
    assert [tool["function"]["name"] for tool in body["tools"]] == names


def test_a_tool_always_has_parameters_and_strictness_is_for_all() -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    body = FAMILY.sent(request(tools=[bare]))
    assert body["tools"][0]["function"] == {
        "name": "now", "description": "", "parameters": {"type": "object", "properties": {}},
    }  # fmt: skip
    assert body["strict_tools"] is True


@pytest.mark.parametrize("name", ["user", "safety_identifier", "store", "service_tier", "metadata", "prompt_cache_key"])
def test_hints_are_left_out_and_named(name: str) -> None:
    hint: dict[str, Any] = {name: "x"}
    built = COHERE.build_request(request(**hint), FAMILY.target())
    assert built.dropped == (name,)
    assert name not in json.loads(built.body)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
        ({"tools": [WEATHER], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"frequency_penalty": 1.5}, "frequency_penalty"),
        ({"stop": list("abcdef")}, "stop"),
        ({"tools": [WEATHER], "response_format": WANTED}, "response_format"),
        ({"verbosity": "low"}, "verbosity"),
    ],
)
def test_what_cohere_cannot_do_is_refused_by_name_or_dropped(given: dict[str, Any], name: str) -> None:
    with pytest.raises(Unsupported) as refused:
        FAMILY.sent(request(**given))
    assert refused.value.param == name
    assert FAMILY.dropped(request(**given)) == {name}
    assert isinstance(FAMILY.outcome(request(**given), drop_unsupported=True), Completion)


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        (
            [{"role": "developer", "content": "Be brief."}, *HELLO],
            [{"role": "system", "content": "Be brief."}, *HELLO],
        ),
        (
            [*HELLO, {"role": "assistant", "content": ""}, {"role": "user", "content": "x", "name": "ada"}],
            [*HELLO, {"role": "user", "content": "x"}],
        ),
        (
            [*HELLO, {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}, *HELLO],
            [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO],
        ),
        (
            [*HELLO, CALLED, RESULT],
            [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, RESULT],
        ),
        (
            [*HELLO, {**CALLED, "content": "I will look."}, RESULT],
            [*HELLO, {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [CALL]}, RESULT],
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}],
            [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}],
        ),
    ],
)
def test_each_message_is_written_as_cohere_takes_it(messages: list[Any], sent: list[Any]) -> None:
    assert FAMILY.sent(request(messages=messages))["messages"] == sent
    assert isinstance(FAMILY.outcome(request(messages=messages)), Completion)


@pytest.mark.parametrize("path", ["", "/v1", "/v2"])
def test_a_version_in_the_base_url_is_not_doubled(path: str) -> None:
    assert COHERE.build_request(request(), FAMILY.target(path)).path == b"/v2/chat"
    assert COHERE.models_request(FAMILY.target(path)).path == b"/v1/models?page_size=1000"


def test_a_whole_answer_is_openais_and_costs_what_is_billed() -> None:
    answer = FAMILY.answer(request())
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 9)


def test_a_stream_says_what_the_whole_answer_says() -> None:
    decoder, chunks = FAMILY.streamed(request(stream=True, stream_options={"include_usage": True}))
    assert joined(chunks) == TEXT
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["usage"]["completion_tokens"] == 9
    assert chunks[-1] == "DONE"
    assert decoder.usage == Usage(input_tokens=3, output_tokens=9)


def test_thoughts_and_plans_are_reasoning_whole_and_streamed() -> None:
    message = FAMILY.answer(request(), model=THINKER)["choices"][0]["message"]
    assert message["content"] == TEXT
    assert message["reasoning_content"].startswith("[simulated] thinking")
    _, chunks = FAMILY.streamed(request(stream=True), model=THINKER)
    assert (joined(chunks), joined(chunks, "reasoning_content")) == (TEXT, message["reasoning_content"])
    planned = FAMILY.answer(request(tools=[WEATHER]))["choices"][0]["message"]
    assert planned["reasoning_content"] == "[simulated] I will call weather."
    _, chunks = FAMILY.streamed(request(tools=[WEATHER], stream=True))
    assert joined(chunks, "reasoning_content") == planned["reasoning_content"]


def test_tool_calls_come_whole_and_streamed() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "in parallel"}], "tools": [WEATHER, TIME]}
    choice = FAMILY.answer(request(**body))["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    calls = choice["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["weather", "time"]
    _, chunks = FAMILY.streamed(request(stream=True, **body))
    arguments = ["", ""]
    names: list[tuple[int, str, str]] = []
    for chunk in chunks[:-1]:
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
            arguments[call["index"]] += call["function"]["arguments"]
            if "id" in call:
                names.append((call["index"], call["id"], call["function"]["name"]))
    assert names == [(number, call["id"], call["function"]["name"]) for number, call in enumerate(calls)]
    assert arguments == [call["function"]["arguments"] for call in calls]
    finishes = [c["choices"][0]["finish_reason"] for c in chunks[:-1] if c["choices"][0]["finish_reason"]]
    assert finishes == ["tool_calls"]


def test_log_probabilities_come_whole_and_streamed() -> None:
    whole = FAMILY.answer(request(logprobs=True))["choices"][0]["logprobs"]["content"]
    _, chunks = FAMILY.streamed(request(stream=True, logprobs=True))
    streamed = [item for c in chunks[:-1] for item in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert streamed == whole
    assert "".join(item["token"] for item in whole) == TEXT
    assert all(item["logprob"] < 0 for item in whole)


def event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **members}).encode())


START = event("message-start", id="1", delta={"message": {"role": "assistant", "content": [], "tool_calls": []}})
WORD = event("content-delta", index=0, delta={"message": {"content": {"text": "Hi"}}})


def end(reason: str | None, **delta: Any) -> bytes:
    return event("message-end", delta={"finish_reason": reason, **delta})


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_every_finish_has_its_word(native: str, reason: str) -> None:
    decoder = COHERE.stream_decoder(request(stream=True))
    chunks = chunks_of(decoder.feed(START + WORD + end(native)))
    assert chunks[-2]["choices"][0]["finish_reason"] == reason
    body = {"message": {"content": [{"type": "text", "text": "Hi"}]}, "finish_reason": native}
    answer = COHERE.parse_response(request(), json.dumps(body).encode())
    assert isinstance(answer, Completion)
    assert json.loads(answer.body)["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (end("ERROR", error="broke"), FailureKind.SERVER),
        (end("TIMEOUT"), FailureKind.TIMEOUT),
        (end("COMPLETE", error="broke"), FailureKind.SERVER),
        (end(None), FailureKind.TRUNCATED),
        (simulator.COHERE.error_event, FailureKind.SERVER),
    ],
)
@pytest.mark.parametrize("begun", [b"", START, START + WORD])
def test_an_end_by_error_is_a_failure_though_the_sdk_raises_nothing(
    begun: bytes, last: bytes, kind: FailureKind
) -> None:
    decoder = COHERE.stream_decoder(request(stream=True))
    passed = decoder.feed(begun + last)
    assert decoder.failure is not None
    assert decoder.failure.kind is kind
    assert not decoder.finished
    assert bool(passed) is decoder.committed is (WORD in begun)
    assert sse.DONE not in passed


@pytest.mark.parametrize("native", ["ERROR", "TIMEOUT"])
def test_a_whole_answer_that_failed_is_a_failure(native: str) -> None:
    answer = COHERE.parse_response(request(), json.dumps({"message": {}, "finish_reason": native}).encode())
    assert isinstance(answer, Failure)
    assert answer.moves_on


@pytest.mark.parametrize("done", [b"data: [DONE]\n\n", START + WORD + b"data: [DONE]\n\n"])
def test_done_alone_ends_nothing(done: bytes) -> None:
    decoder = COHERE.stream_decoder(request(stream=True))
    decoder.feed(done)
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED


def test_the_start_commits_to_nothing_and_a_second_end_is_not_told() -> None:
    decoder = COHERE.stream_decoder(request(stream=True))
    started = event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
    assert decoder.feed(START + started) == b""
    assert not decoder.committed
    chunks = chunks_of(decoder.feed(WORD + end("COMPLETE") + end("COMPLETE") + b"data: [DONE]\n\n"))
    assert chunks.count("DONE") == 1


@pytest.mark.parametrize(
    "data", [b"data: {oops\n\n", b"data: [1]\n\n", b'data: {"type":7}\n\n', b"data: " + b"[" * 100_000 + b"\n\n"]
)
def test_what_is_no_event_of_cohere_is_a_failure(data: bytes) -> None:
    decoder = COHERE.stream_decoder(request(stream=True))
    assert decoder.feed(START + data) == b""
    assert decoder.failure is not None
    assert decoder.failure.kind is FailureKind.PROTOCOL


WHOLE_REQUEST = request(stream=True, stream_options={"include_usage": True}, tools=[WEATHER])
WHOLE = FAMILY.stream(WHOLE_REQUEST)
LAST = WHOLE.index(b"event: message-end")
EVENTS = WHOLE.split(b"\n\n")[:-1]


def shape(data: bytes) -> list[Any]:
    return [c if c == "DONE" else {**c, "created": 0} for c in chunks_of(data)]


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_gives_the_same_chunks(cuts: list[int]) -> None:
    decoder = COHERE.stream_decoder(WHOLE_REQUEST)
    passed = b"".join(decoder.feed(piece) for piece in pieces(WHOLE, cuts))
    assert shape(passed) == shape(COHERE.stream_decoder(WHOLE_REQUEST).feed(WHOLE))
    assert decoder.end() is None


@given(st.integers(0, LAST))
def test_any_prefix_without_the_end_is_truncated(length: int) -> None:
    decoder = COHERE.stream_decoder(WHOLE_REQUEST)
    passed = decoder.feed(WHOLE[:length])
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert b'"finish_reason":"' not in passed


@given(
    st.lists(
        st.sampled_from([b": ping", b"", b'event: new\ndata: {"type":"new","delta":{}}', event("citation-end")[:-2]]),
        min_size=len(EVENTS),
    )
)
def test_comments_and_unknown_events_change_nothing(noise: list[bytes]) -> None:
    mixed = b"".join(b"%b\n\n%b\n\n" % pair for pair in zip(noise, EVENTS, strict=False))
    decoder = COHERE.stream_decoder(WHOLE_REQUEST)
    assert shape(decoder.feed(mixed)) == shape(COHERE.stream_decoder(WHOLE_REQUEST).feed(WHOLE))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message": null}', b'{"id": 1}', b"[" * 100_000])
def test_a_200_that_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    answer = COHERE.parse_response(request(), body)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.PROTOCOL


def test_a_200_with_an_error_in_it_is_that_failure() -> None:
    answer = COHERE.parse_response(request(), failure_of(500, None).body)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.SERVER


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, FailureKind.REQUEST), (401, FailureKind.AUTH), (402, FailureKind.AUTH), (403, FailureKind.AUTH)),
        *((404, FailureKind.REQUEST), (422, FailureKind.REQUEST), (429, FailureKind.RATE_LIMIT)),
        *((498, FailureKind.AUTH), (499, FailureKind.RATE_LIMIT), (500, FailureKind.SERVER)),
        *((501, FailureKind.SERVER), (503, FailureKind.SERVER), (504, FailureKind.SERVER)),
    ],
)
def test_every_status_has_its_class(status: int, kind: FailureKind) -> None:
    failure = COHERE.parse_error(status, ((b"retry-after", b"2"),), failure_of(status, None).body)
    assert (failure.kind, failure.status, failure.retry_after_seconds) == (kind, status, 2.0)
    assert failure.message


def test_words_tell_what_a_status_does_not() -> None:
    assert COHERE.parse_error(429, (), simulator.COHERE.quota_failure.body).kind is FailureKind.QUOTA
    assert COHERE.parse_error(498, (), b'{"message":"blocked output"}').kind is FailureKind.REQUEST
    assert COHERE.parse_error(502, (), b"<html>").kind is FailureKind.SERVER


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"billed_units": {"input_tokens": 5.0, "output_tokens": 7}, "tokens": {"input_tokens": 99}}, Usage(5, 7)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 2}}, Usage(9, 2)),
        ({"billed_units": {"input_tokens": 5}, "cached_tokens": 3}, Usage(5, 0, 3)),
        ({"billed_units": {"input_tokens": 5}, "cached_tokens": 30}, Usage(5, 0, 5)),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_what_is_billed(usage: Any, counted: Usage | None) -> None:
    body = {"message": {"content": []}, "finish_reason": "COMPLETE", "usage": usage}
    answer = COHERE.parse_response(request(), json.dumps(body).encode())
    assert isinstance(answer, Completion)
    assert answer.usage == counted
    decoder = COHERE.stream_decoder(request(stream=True))
    decoder.feed(START + WORD + end("COMPLETE", usage=usage))
    assert decoder.usage == counted


def test_embeddings_are_asked_for_and_answered_in_either_encoding() -> None:
    asked = request(Endpoint.EMBEDDINGS, input=["a", "b"], dimensions=256, user="u")
    built = COHERE.build_request(asked, FAMILY.target(model="embed-v4.0"))
    assert built.path == b"/v2/embed"
    assert built.dropped == ("user",)
    assert json.loads(built.body) == {
        "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 256,
        "model": "embed-v4.0",
    }  # fmt: skip
    plain = FAMILY.answer(asked, model="embed-v4.0")
    assert [len(item["embedding"]) for item in plain["data"]] == [256, 256]
    assert plain["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    packed = FAMILY.answer(
        request(Endpoint.EMBEDDINGS, input="a", dimensions=256, encoding_format="base64", input_type="search_query"),
        model="embed-v4.0",
    )
    numbers = array("f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(numbers) == pytest.approx(plain["data"][0]["embedding"])


@pytest.mark.parametrize("given", [[[1, 2]], [1, 2], ["x"] * 97])
def test_tokens_and_too_many_texts_are_refused(given: Any) -> None:
    with pytest.raises(Unsupported):
        FAMILY.sent(request(Endpoint.EMBEDDINGS, input=given))


def test_a_legacy_completion_is_a_chat_of_one() -> None:
    asked = request(Endpoint.COMPLETIONS, prompt="Hello there", max_tokens=5)
    assert FAMILY.answer(asked)["choices"][0]["text"] == "[simulated] You said"
    with pytest.raises(Unsupported):
        FAMILY.sent(request(Endpoint.COMPLETIONS, prompt="x", logprobs=2))


def test_models_are_listed_without_the_deprecated() -> None:
    body = b'{"models":[{"name":"a"},{"name":"b","is_deprecated":true},{"name":null}]}'
    assert COHERE.parse_models(body) == ["a"]
    with pytest.raises(ValueError, match="models"):
        COHERE.parse_models(b'{"data":[]}')
