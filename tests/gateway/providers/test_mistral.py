"""The Mistral family: what is translated, what is put right in histories, and what comes back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway.providers.base import Completion, Failure, FailureKind, Unsupported
from gateway.providers.mistral import MISTRAL
from gateway.providers.mistral_request import BRIDGE, call_id
from gateway.schema import Endpoint
from gateway.simulator import mistral as simulator
from gateway.simulator.mistral_errors import failure as failure_of
from nexus.errors import InvalidRequest
from tests.gateway.providers.round_trip import HELLO, IMAGE, TIME, WEATHER, RoundTrip, chunks_of, joined, request
from tests.gateway.test_sse import pieces

FAMILY = RoundTrip(MISTRAL, simulator.MISTRAL, "mistral-small-latest")
CALL = {"id": "call_abc", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_abc", "content": "18 degrees"}
TEXT = "[simulated] You said: Hello there"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.3}, {"temperature": 0.3}),
        ({"temperature": 2}, {"temperature": 1.5}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}),
        ({"n": 2}, {"n": 2}),
        ({"seed": 7}, {"random_seed": 7}),
        ({"seed": -1}, {"random_seed": 2**63 - 1}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1, "frequency_penalty": -1}),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"safe_prompt": True, "top_k": 3}, {"safe_prompt": True, "top_k": 3}),
        ({"prediction": {"type": "content", "content": "x"}}, {"prediction": {"type": "content", "content": "x"}}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": {}, "strict": True}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": {}, "strict": True}}},
        ),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ],
)
def test_each_parameter_has_its_name_and_range(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert FAMILY.sent(request(**given)) == {"model": "mistral-small-latest", "messages": HELLO, **sent}
    assert not isinstance(FAMILY.reply(request(**given)), Failure)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "any"),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_each_tool_choice_has_its_word(choice: Any, sent: Any) -> None:
    body = FAMILY.sent(request(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False))
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (sent, False)


def test_a_tool_always_has_parameters() -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    assert FAMILY.sent(request(tools=[bare]))["tools"][0]["function"] == {
        "name": "now", "description": "", "parameters": {"type": "object", "properties": {}}, "strict": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["user", "safety_identifier", "store", "service_tier"])
def test_hints_are_left_out_and_named(name: str) -> None:
    hint: dict[str, Any] = {name: "x"}
    built = MISTRAL.build_request(request(**hint), FAMILY.target())
    assert built.dropped == (name,)
    assert name not in json.loads(built.body)


@pytest.mark.parametrize(
    "given",
    [
        {"logit_bias": {"5": 1}},
        {"verbosity": "low"},
        {"web_search_options": {}},
        {"audio": {"voice": "x"}},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    ],
)
def test_what_mistral_cannot_do_is_refused_by_name_or_dropped(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(Unsupported) as refused:
        FAMILY.sent(request(**given))
    assert refused.value.param == name
    assert FAMILY.dropped(request(**given)) == {name}


def test_images_go_by_address_or_in_base64() -> None:
    parts = [
        {"type": "text", "text": "What?"},
        IMAGE,
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    ]
    content = FAMILY.sent(request(messages=[{"role": "user", "content": parts}]))["messages"][0]["content"]
    assert content == parts


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        (
            [{"role": "developer", "content": "Be brief."}, *HELLO],
            [{"role": "system", "content": "Be brief."}, *HELLO],
        ),
        (
            [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Rule"}, *HELLO],
            [{"role": "system", "content": "Rule"}, *HELLO, {"role": "assistant", "content": "Hi"}, *HELLO],
        ),
        ([{"role": "system", "content": "Alone"}], [{"role": "user", "content": "Alone"}]),
        (
            [*HELLO, {"role": "assistant", "content": "Hi"}],
            [*HELLO, {"role": "assistant", "content": "Hi", "prefix": True}],
        ),
        ([*HELLO, {"role": "assistant", "content": ""}, *HELLO], [*HELLO, *HELLO]),
        (
            [*HELLO, {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}, *HELLO],
            [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO],
        ),
        ([{"role": "user", "content": "x", "name": "ada"}], [{"role": "user", "content": "x"}]),
    ],
)
def test_histories_are_put_in_an_order_that_mistral_takes(messages: list[Any], sent: list[Any]) -> None:
    assert FAMILY.sent(request(messages=messages))["messages"] == sent
    assert isinstance(FAMILY.outcome(request(messages=messages)), Completion)


def test_calls_of_other_families_get_ids_that_fit_in_call_and_result_alike() -> None:
    sent = FAMILY.sent(request(messages=[*HELLO, CALLED, RESULT], tools=[WEATHER]))["messages"]
    rewritten = call_id("call_abc")
    assert sent[1] == {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": rewritten}]}
    assert sent[2] == {"role": "tool", "tool_call_id": rewritten, "name": "weather", "content": "18 degrees"}
    assert FAMILY.answer(request(messages=[*HELLO, CALLED, RESULT]))["choices"][0]["message"]["content"] == (
        "[simulated] The tool answered: 18 degrees"
    )


@given(st.text(max_size=40))
def test_every_id_becomes_one_of_nine_and_always_the_same(given: str) -> None:
    made = call_id(given)
    assert len(made) == 9
    assert made.isascii()
    assert made.isalnum()
    assert call_id(given) == made == call_id(made)


def test_a_user_behind_a_tools_result_is_preceded_by_a_word_of_the_assistant() -> None:
    messages = [*HELLO, CALLED, RESULT, *HELLO]
    assert FAMILY.sent(request(messages=messages))["messages"][-2] == {"role": "assistant", "content": BRIDGE}
    assert isinstance(FAMILY.outcome(request(messages=messages)), Completion)


def test_a_result_without_its_call_is_the_clients_mistake() -> None:
    with pytest.raises(InvalidRequest):
        FAMILY.sent(request(messages=[*HELLO, RESULT]))


def test_signed_thoughts_go_back_and_those_of_others_do_not() -> None:
    own = {"type": "reasoning.text", "text": "Hm", "signature": "sig", "format": "mistral", "index": 0}
    other = {**own, "format": "anthropic"}
    said = {"role": "assistant", "content": "Hi", "reasoning_details": [own, other]}
    content = FAMILY.sent(request(messages=[*HELLO, said, *HELLO]))["messages"][1]["content"]
    assert content == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}], "signature": "sig", "closed": True},
        {"type": "text", "text": "Hi"},
    ]


@pytest.mark.parametrize("path", ["", "/v1"])
def test_the_version_in_the_base_url_is_not_doubled(path: str) -> None:
    assert MISTRAL.build_request(request(), FAMILY.target(path)).path == b"/v1/chat/completions"
    assert MISTRAL.models_request(FAMILY.target(path)).path == b"/v1/models"


def test_a_whole_answer_is_openais() -> None:
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
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-3:-2]] == ["stop"]
    assert chunks[-2]["usage"]["completion_tokens"] == 9
    assert chunks[-1] == "DONE"
    assert decoder.usage == Usage(input_tokens=3, output_tokens=9)


def test_thoughts_come_as_reasoning_content_whole_and_streamed() -> None:
    asked = {"model": "magistral-medium-latest"}
    message = FAMILY.answer(request(), **asked)["choices"][0]["message"]
    assert message["content"] == TEXT
    assert message["reasoning_content"].startswith("[simulated] thinking")
    _, chunks = FAMILY.streamed(request(stream=True), **asked)
    assert joined(chunks) == TEXT
    assert joined(chunks, "reasoning_content") == message["reasoning_content"]


def test_tool_calls_come_whole_and_streamed() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "in parallel"}], "tools": [WEATHER, TIME]}
    choice = FAMILY.answer(request(**body))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    calls = choice["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["weather", "time"]
    _, chunks = FAMILY.streamed(request(stream=True, **body))
    told = [c for chunk in chunks[:-1] for c in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["index"], call["id"], call["function"]) for call in told] == [
        (number, call["id"], call["function"]) for number, call in enumerate(calls)
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_log_probabilities_come_whole_and_streamed() -> None:
    body: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    whole = FAMILY.answer(request(**body))["choices"][0]["logprobs"]["content"]
    _, chunks = FAMILY.streamed(request(stream=True, **body))
    streamed = [item for c in chunks[:-1] for item in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert streamed == whole
    assert "".join(item["token"] for item in whole) == TEXT


def test_choices_stay_apart() -> None:
    texts = [choice["message"]["content"] for choice in FAMILY.answer(request(n=2))["choices"]]
    _, chunks = FAMILY.streamed(request(stream=True, n=2))
    for index, text in enumerate(texts):
        said = [c["choices"][0]["delta"].get("content") or "" for c in chunks[:-1] if c["choices"][0]["index"] == index]
        assert "".join(said) == text
    assert [c["choices"][0]["finish_reason"] for c in chunks[-3:-1]] == ["stop", "stop"]


def chunk(finish: str | None = None, **members: Any) -> bytes:
    delta = members.pop("delta", {"content": "Hi"})
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice], **members}).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_every_finish_has_its_word(native: str, reason: str) -> None:
    decoder = MISTRAL.stream_decoder(request(stream=True))
    chunks = chunks_of(decoder.feed(chunk(native) + b"data: [DONE]\n\n"))
    assert chunks[-2]["choices"][0]["finish_reason"] == reason
    body = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": native}]}
    answer = MISTRAL.parse_response(request(), json.dumps(body).encode())
    assert isinstance(answer, Completion)
    assert json.loads(answer.body)["choices"][0]["finish_reason"] == reason


def test_a_finish_by_error_is_a_failure() -> None:
    decoder = MISTRAL.stream_decoder(request(stream=True))
    assert decoder.feed(simulator.MISTRAL.error_event) == b""
    assert decoder.failure is not None
    assert decoder.failure.kind is FailureKind.SERVER
    body = b'{"choices":[{"message":{"content":""},"finish_reason":"error"}]}'
    answer = MISTRAL.parse_response(request(), body)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.SERVER


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'data: {"object":"error","message":"overloaded","type":"x","code":"3000"}\n\n', FailureKind.SERVER),
        (b'data: {"error":{"message":"overloaded"}}\n\n', FailureKind.SERVER),
        (b'data: {"id":1}\n\n', FailureKind.PROTOCOL),
        (b"data: [1]\n\n", FailureKind.PROTOCOL),
        (b"data: {oops\n\n", FailureKind.PROTOCOL),
        (b"data: " + b"[" * 100_000 + b"\n\n", FailureKind.PROTOCOL),
    ],
)
def test_what_is_no_chunk_is_a_failure(data: bytes, kind: FailureKind) -> None:
    decoder = MISTRAL.stream_decoder(request(stream=True))
    assert decoder.feed(data) == b""
    assert decoder.failure is not None
    assert decoder.failure.kind is kind


def test_calls_without_an_id_get_one_and_arguments_as_an_object_are_written_out() -> None:
    calls = [{"id": "null", "function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g"}}]
    decoder = MISTRAL.stream_decoder(request(stream=True))
    chunks = chunks_of(decoder.feed(chunk("tool_calls", delta={"tool_calls": calls}) + b"data: [DONE]\n\n"))
    told = [call for c in chunks[:-1] for call in c["choices"][0]["delta"].get("tool_calls", ())]
    assert [call["function"] for call in told] == [
        {"name": "f", "arguments": '{"a":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert len({call["id"] for call in told}) == 2


WHOLE_REQUEST = request(stream=True, stream_options={"include_usage": True}, n=2)
WHOLE = FAMILY.stream(WHOLE_REQUEST)
EVENTS = WHOLE.split(b"\n\n")[:-1]


def shape(data: bytes) -> list[Any]:
    return [c if c == "DONE" else {**c, "created": 0} for c in chunks_of(data)]


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_gives_the_same_chunks(cuts: list[int]) -> None:
    decoder = MISTRAL.stream_decoder(WHOLE_REQUEST)
    passed = b"".join(decoder.feed(piece) for piece in pieces(WHOLE, cuts))
    assert shape(passed) == shape(MISTRAL.stream_decoder(WHOLE_REQUEST).feed(WHOLE))
    assert decoder.finished
    assert decoder.end() is None


@given(st.integers(0, len(WHOLE) - 15))
def test_any_prefix_without_the_end_marker_is_truncated(length: int) -> None:
    decoder = MISTRAL.stream_decoder(WHOLE_REQUEST)
    passed = decoder.feed(WHOLE[:length])
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert b"[DONE]" not in passed
    assert b'"finish_reason":"' not in passed


@given(st.lists(st.sampled_from([b": ping", b"", b"event: mystery", b": keep-alive\nevent: x"]), min_size=len(EVENTS)))
def test_comments_between_the_events_change_nothing(noise: list[bytes]) -> None:
    mixed = b"".join(b"%b\n\n%b\n\n" % pair for pair in zip(noise, EVENTS, strict=False))
    decoder = MISTRAL.stream_decoder(WHOLE_REQUEST)
    assert shape(decoder.feed(mixed)) == shape(MISTRAL.stream_decoder(WHOLE_REQUEST).feed(WHOLE))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": null}', b'{"id": 1}', b"[" * 100_000])
def test_a_200_that_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    answer = MISTRAL.parse_response(request(), body)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.PROTOCOL


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, FailureKind.REQUEST), (401, FailureKind.AUTH), (402, FailureKind.AUTH), (403, FailureKind.AUTH)),
        *((404, FailureKind.REQUEST), (408, FailureKind.RATE_LIMIT), (422, FailureKind.REQUEST)),
        *((429, FailureKind.RATE_LIMIT), (500, FailureKind.SERVER), (503, FailureKind.SERVER)),
    ],
)
def test_every_status_has_its_class(status: int, kind: FailureKind) -> None:
    failure = MISTRAL.parse_error(status, ((b"retry-after", b"2"),), failure_of(status, None).body)
    assert (failure.kind, failure.status, failure.retry_after_seconds) == (kind, status, 2.0)
    assert MISTRAL.parse_error(status, (), b"<html>").kind is kind


def test_a_tiers_capacity_that_is_used_up_is_not_waited_for() -> None:
    failure = MISTRAL.parse_error(429, (), simulator.MISTRAL.quota_failure.body)
    assert failure.kind is FailureKind.QUOTA
    assert failure.code == "3505"


def test_what_breaks_the_schema_is_told_with_its_place() -> None:
    nested = {"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, "type": "t"}
    failure = MISTRAL.parse_error(422, (), json.dumps(nested).encode())
    assert (failure.message, failure.param, failure.type) == ("n: too many", "n", "t")
    outcome = FAMILY.outcome(request(top_p=7))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.param) == (FailureKind.REQUEST, "top_p")


def test_embeddings_pass_through_with_their_own_names() -> None:
    asked = request(Endpoint.EMBEDDINGS, input=["a", "b"], dimensions=64, encoding_format="float", user="u")
    built = MISTRAL.build_request(asked, FAMILY.target(model="codestral-embed"))
    assert built.dropped == ("user",)
    assert json.loads(built.body) == {
        "input": ["a", "b"], "output_dimension": 64, "encoding_format": "float", "model": "codestral-embed",
    }  # fmt: skip
    answer = FAMILY.answer(asked, model="codestral-embed")
    assert [len(item["embedding"]) for item in answer["data"]] == [64, 64]
    assert answer["usage"]["prompt_tokens"] == 2
    with pytest.raises(Unsupported):
        FAMILY.sent(request(Endpoint.EMBEDDINGS, input=[[1, 2]]))


def test_a_legacy_completion_is_a_chat_of_one() -> None:
    asked = request(Endpoint.COMPLETIONS, prompt="Hello there", max_tokens=5)
    assert FAMILY.sent(asked)["messages"] == HELLO
    assert FAMILY.answer(asked)["choices"][0]["text"] == "[simulated] You said"
    with pytest.raises(Unsupported):
        FAMILY.sent(request(Endpoint.COMPLETIONS, prompt="x", logprobs=2))


def test_models_are_listed() -> None:
    assert MISTRAL.parse_models(b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}') == ["a", "b"]
