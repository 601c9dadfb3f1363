"""Gemini's streams: what commits, what ends them, and that any split of the bytes says the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway import sse
from gateway.providers.base import Completion, Failure, FailureKind, Target
from gateway.providers.gemini import GEMINI, GeminiStream
from gateway.schema import Endpoint, ModelRequest, parse
from gateway.simulator.dialect import Asked, Circumstances, Reply, Request, Stream
from gateway.simulator.gemini import GEMINI as SIMULATED
from tests.gateway.test_sse import pieces

HELLO = [{"role": "user", "content": "Hello"}]


def request(**body: Any) -> ModelRequest:
    options = {"include_usage": True}
    whole = {"model": "m", "messages": HELLO, "stream": True, "stream_options": options, **body}
    return parse(Endpoint.CHAT, json.dumps(whole).encode())


def event(*candidates: dict[str, Any], usage: dict[str, int] | None = None, **members: Any) -> bytes:
    answer: dict[str, Any] = {"candidates": list(candidates), "modelVersion": "gemini-x", "responseId": "r1", **members}
    if usage is not None:
        answer["usageMetadata"] = usage
    return b"data: %b\r\n\r\n" % json.dumps(answer).encode()


def said(*parts: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    content: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    return content | ({"finishReason": finish} if finish else {})


EVENTS = [
    event(said({"text": "Hm.", "thought": True}), usage={"promptTokenCount": 5}),
    event(said({"text": "Hé "}), usage={"promptTokenCount": 5, "candidatesTokenCount": 1}),
    event(said({"text": 'say "finishReason":"STOP"'})),
    event(said({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"})),
    event(
        said({"text": ""}, finish="STOP"),
        usage={"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "cachedContentTokenCount": 2},
    ),
]
WHOLE = b"".join(EVENTS)


def chunks_in(told: bytes) -> list[Any]:
    """Return the chunks without what the clock puts into them."""
    datas = [sse.data_of(one) for one in sse.events(told)]
    return ["DONE" if data == sse.DONE else json.loads(data) | {"created": 0} for data in datas if data]


def decoded(data: bytes, **body: Any) -> tuple[GeminiStream, list[Any]]:
    decoder = GeminiStream(request(**body))
    return decoder, chunks_in(decoder.feed(data))


def deltas(chunks: list[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk != "DONE" and chunk["choices"]]


def test_a_stream_becomes_openais_chunks() -> None:
    decoder, chunks = decoded(WHOLE)
    call = {
        "index": 0,
        "id": "call_r1_0_0",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": 1}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": "Hé "},
        {"content": 'say "finishReason":"STOP"'},
        {"tool_calls": [call]},
        {},
    ]
    assert {(chunk["id"], chunk["model"]) for chunk in chunks if chunk != "DONE"} == {("r1", "gemini-x")}
    assert chunks[-3]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-2]["usage"]["total_tokens"] == 15
    assert chunks[-1] == "DONE"
    assert decoder.usage == Usage(input_tokens=5, output_tokens=10, cached_tokens=2, reasoning_tokens=3)
    assert decoder.finished
    assert decoder.end() is None


@given(st.lists(st.integers(0, 2_000), max_size=30))
def test_any_split_of_the_bytes_says_the_same(cuts: list[int]) -> None:
    decoder = GeminiStream(request())
    told = b"".join(decoder.feed(piece) for piece in pieces(WHOLE, cuts))
    assert chunks_in(told) == decoded(WHOLE)[1]
    assert decoder.finished


@given(st.integers(0, len(WHOLE) - 1))
def test_every_prefix_without_the_finish_is_truncated(length: int) -> None:
    decoder = GeminiStream(request())
    told = decoder.feed(WHOLE[:length])
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert b"[DONE]" not in told
    assert b'"finish_reason":"' not in told


NOISE = [b": ping\n\n", b"\r\n\r\n", b"event: mystery\ndata: {}\n\n", b'data: {"simulatedUnknown":{"x":1}}\r\n\r\n']


@given(st.lists(st.sampled_from([*NOISE, event(), event(said())]), min_size=len(EVENTS), max_size=len(EVENTS)))
def test_comments_and_unknown_events_change_nothing(noise: list[bytes]) -> None:
    mixed = b"".join(part for pair in zip(noise, EVENTS, strict=True) for part in pair)
    said_by = [chunk for chunk in decoded(mixed)[1] if chunk != "DONE"]
    assert deltas(said_by) == deltas(decoded(WHOLE)[1])


@pytest.mark.parametrize("first", [event(), event(said()), event(said({"text": ""})), b": x\n\n", event(usage={})])
def test_what_is_not_content_does_not_commit(first: bytes) -> None:
    decoder = GeminiStream(request())
    assert decoder.feed(first) == b""
    assert not decoder.committed
    assert decoder.feed(EVENTS[1])
    assert decoder.committed


@pytest.mark.parametrize(
    ("part", "finish"),
    [
        ({"text": "x"}, None),
        ({"text": "x", "thought": True}, None),
        ({"functionCall": {"name": "f"}}, None),
        ({"text": ""}, "SAFETY"),
    ],
)
def test_content_of_every_kind_commits(part: dict[str, Any], finish: str | None) -> None:
    decoder = GeminiStream(request())
    assert decoder.feed(event(said(part, finish=finish)))
    assert decoder.committed


@pytest.mark.parametrize(("finish", "reason"), [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SPII", "content_filter")])
def test_a_finish_reason_ends_the_stream(finish: str, reason: str) -> None:
    decoder, chunks = decoded(EVENTS[1] + event(said(finish=finish)))
    assert chunks[-3]["choices"][0]["finish_reason"] == reason
    assert decoder.finished
    assert decoder.feed(EVENTS[1]) == b""


def test_a_blocked_prompt_is_filtered_content() -> None:
    decoder, chunks = decoded(b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\r\n\r\n')
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk != "DONE"] == [None, "content_filter"]
    assert decoder.finished


@pytest.mark.parametrize("native", ["MALFORMED_FUNCTION_CALL", "OTHER", "SOMETHING_NEW"])
def test_a_finish_without_an_answer_is_a_failure_of_the_stream(native: str) -> None:
    decoder, chunks = decoded(EVENTS[1] + event(said(finish=native)))
    assert decoder.failure is not None
    assert (decoder.failure.kind, decoder.failure.code) == (FailureKind.SERVER, native)
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {"content": "Hé "}]
    assert not decoder.finished


@pytest.mark.parametrize(
    ("code", "kind"), [(503, FailureKind.SERVER), (429, FailureKind.RATE_LIMIT), (403, FailureKind.AUTH)]
)
def test_an_error_event_before_the_commit_leaves_all_open(code: int, kind: FailureKind) -> None:
    decoder, chunks = decoded(event() + event(error={"code": code, "message": "words", "status": "X"}))
    assert chunks == []
    assert decoder.failure is not None
    assert (decoder.failure.kind, decoder.failure.message, decoder.committed) == (kind, "words", False)


@pytest.mark.parametrize("data", [b"data: {oops\n\n", b"data: [1]\n\n", b'data: {"candidates":7}\n\n'])
def test_an_event_that_is_no_answer_is_a_protocol_failure(data: bytes) -> None:
    decoder, _ = decoded(data)
    assert decoder.failure is not None
    assert decoder.failure.kind is FailureKind.PROTOCOL


def test_a_text_signature_is_told_with_the_text() -> None:
    _, chunks = decoded(EVENTS[1] + event(said({"text": "", "thoughtSignature": "c2ln"}, finish="STOP")))
    assert {"reasoning_details": [{"type": "reasoning.encrypted", "data": "c2ln", "format": "gemini", "index": 0}]} in (
        deltas(chunks)
    )


def test_log_probabilities_come_with_their_text() -> None:
    token = {"token": "Hi", "tokenId": 1, "logProbability": -0.5}
    first = said({"text": ""}, {"text": "Hi"}) | {"logprobsResult": {"chosenCandidates": [token]}}
    _, chunks = decoded(event(first) + EVENTS[-1])
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk != "DONE" and chunk["choices"]]
    one = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    assert [content for content in told if content] == [{"content": [one], "refusal": None}]


def test_two_candidates_end_when_both_have() -> None:
    first = event(said({"text": "a"}, finish="STOP", index=0))
    decoder, chunks = decoded(first, n=2)
    assert not decoder.finished
    rest = chunks_in(decoder.feed(event(said({"text": "b"}, finish="MAX_TOKENS", index=1))))
    told = [chunk for chunk in chunks + rest if chunk != "DONE" and chunk["choices"]]
    reasons = {chunk["choices"][0]["index"]: chunk["choices"][0]["finish_reason"] for chunk in told}
    assert reasons == {0: "stop", 1: "length"}
    assert decoder.finished


# --- against the simulator, without any socket

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CIRCUMSTANCES = Circumstances(0, "ab" * 16, 0, giant=False, with_usage=True, seen_before=lambda _: False)


def exchange(model: str, **body: Any) -> Any:
    """Return the message and finish reason of an answer that went through adapter and simulator."""
    asked = (
        request(**body)
        if body.get("stream", True)
        else parse(Endpoint.CHAT, json.dumps({"model": "m", "messages": HELLO, **body}).encode())
    )
    upstream = GEMINI.build_request(asked, Target("", "key", model, {}))
    path, _, query = upstream.path.decode().partition("?")
    headers = {name.decode(): value.decode() for name, value in upstream.headers}
    given_ = Request("POST", path, query, headers, upstream.body)
    seen: Asked = SIMULATED.look(given_)
    SIMULATED.authenticate(given_, "key")
    answer = SIMULATED.answer(given_, seen, CIRCUMSTANCES)
    if isinstance(answer, Reply):
        whole = GEMINI.parse_response(asked, answer.body)
        assert isinstance(whole, Completion), isinstance(whole, Failure) and whole.message
        choice = json.loads(whole.body)["choices"][0]
        return choice["message"], choice["finish_reason"], whole.usage
    assert isinstance(answer, Stream)
    decoder = GeminiStream(asked)
    chunks = chunks_in(b"".join(decoder.feed(one.wire) for one in answer.events))
    assert decoder.finished
    return _joined(chunks), chunks[-3]["choices"][0]["finish_reason"], decoder.usage


def _joined(chunks: list[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    for delta in deltas(chunks):
        message["content"] += delta.get("content", "")
        for name in ("reasoning_content", "reasoning_details", "tool_calls"):
            if name in delta:
                message[name] = message[name] + delta[name] if name in message else delta[name]
    for made in message.get("tool_calls", ()):
        del made["index"]
    if "tool_calls" in message:
        message["content"] = message["content"] or None
    return message


@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-flash-preview"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tools": [WEATHER]},
        {"tools": [WEATHER], "messages": [{"role": "user", "content": "In parallel!"}]},
        {"max_tokens": 200, "temperature": 0.5, "stop": ["lo"], "seed": 7},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "user", "content": "simulate blockReason SAFETY"}]},
        {"messages": [{"role": "user", "content": "simulate finishReason SPII"}]},
    ],
)
def test_whole_and_streamed_answers_are_the_same(model: str, body: dict[str, Any]) -> None:
    whole, streamed = exchange(model, stream=False, **body), exchange(model, **body)
    whole[0].pop("reasoning_details", None)  # only a stream's last part signs a text
    streamed[0].pop("reasoning_details", None)
    assert whole == streamed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-flash-preview"])
def test_a_call_its_result_and_the_answer(model: str, stream: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "In parallel!"}]
    message, reason, _ = exchange(model, stream=stream, messages=asked, tools=[WEATHER])
    assert reason == "tool_calls"
    results = [{"role": "tool", "tool_call_id": one["id"], "content": "18 degrees"} for one in message["tool_calls"]]
    assert len(results) == 2
    answer, reason, _ = exchange(model, stream=stream, messages=[*asked, message, *results], tools=[WEATHER])
    assert answer["content"].startswith("[simulated] The tool answered: 18 degrees")
    assert reason == "stop"


def test_a_call_of_another_vendor_is_taken_by_a_new_model() -> None:
    function = {"name": "weather", "arguments": "{}"}
    made = {"role": "assistant", "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}]}
    messages = [*HELLO, made, {"role": "tool", "tool_call_id": "toolu_1", "content": "18 degrees"}]
    answer, _, _ = exchange("gemini-3-flash-preview", messages=messages, tools=[WEATHER])
    assert answer["content"] == "[simulated] The tool answered: 18 degrees"


def test_thoughts_are_told_and_counted() -> None:
    message, _, usage = exchange("gemini-2.5-flash", reasoning_effort="low")
    assert message["reasoning_content"] == "[simulated] Thinking about: Hello"
    assert usage.reasoning_tokens == 128
    assert usage.output_tokens > 128
