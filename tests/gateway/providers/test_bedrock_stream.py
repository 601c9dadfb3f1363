"""Streams from Bedrock: binary frames in, OpenAI's chunks out, however the bytes are cut and whatever is wrong."""

import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway import sse
from gateway.providers.base import Completion, FailureKind, Target
from gateway.providers.bedrock import BEDROCK
from gateway.providers.bedrock_answers import BedrockStream
from gateway.providers.bedrock_request import JSON_TOOL
from gateway.providers.event_stream import Frame, FrameSplitter
from gateway.providers.translated_stream import BadFrame
from gateway.schema import Endpoint, ModelRequest, parse
from gateway.simulator.bedrock import BEDROCK as SIMULATED
from gateway.simulator.bedrock_frames import event_frame, exception_frame, frame
from gateway.simulator.dialect import Circumstances, Request, Stream
from tests.gateway.test_sse import pieces

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
cuts = st.lists(st.integers(0, 10_000), max_size=30)


def request(**body: Any) -> ModelRequest:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello there"}], **body}
    return parse(Endpoint.CHAT, json.dumps(body).encode())


def event(name: str, **content: Any) -> bytes:
    return event_frame(name, json.dumps({**content, "p": "abc"}).encode())


def delta(block: int, **said: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=block, delta=said)


def stop(block: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=block)


def call(block: int, identifier: str, name: str) -> bytes:
    use = {"toolUse": {"toolUseId": identifier, "name": name}}
    return event("contentBlockStart", contentBlockIndex=block, start=use)


START = event("messageStart", role="assistant")
USAGE = {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12, "cacheReadInputTokens": 2}
METADATA = event("metadata", usage=USAGE, metrics={"latencyMs": 1})
THOUGHT = [delta(0, reasoningContent={"text": "Hm"}), delta(0, reasoningContent={"text": "m."})]
SIGNED = delta(0, reasoningContent={"signature": "sig"})
TEXTS = [delta(1, text="Hé "), delta(1, text='"there"'), stop(1)]
CALLS = [
    *(call(2, "tooluse_1", "weather"), delta(2, toolUse={"input": '{"city":'}), delta(2, toolUse={"input": '"Rome"}'})),
    *(stop(2), call(3, "tooluse_2", "now"), stop(3)),
]
MESSAGE_STOP = event("messageStop", stopReason="tool_use")
EVENTS = [START, *THOUGHT, SIGNED, stop(0), *TEXTS, *CALLS, MESSAGE_STOP, METADATA]
WHOLE = b"".join(EVENTS)


def read(data: bytes, where: list[int] | None = None, **body: Any) -> tuple[BedrockStream, list[Any]]:
    """Return the decoder and the chunks that it told."""
    stream = BedrockStream(request(**body))
    told = b"".join(stream.feed(piece) for piece in pieces(data, where or []))
    data_lines = [sse.data_of(one) for one in sse.events(told)]
    return stream, [line if line == sse.DONE else json.loads(line) for line in data_lines]


def deltas(chunks: list[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk != sse.DONE and chunk["choices"]]


@given(cuts)
def test_any_split_of_the_bytes_tells_the_same(where: list[int]) -> None:
    stream, chunks = read(WHOLE, where, stream_options={"include_usage": True})
    assert stream.finished
    assert stream.end() is None
    assert stream.usage == Usage(input_tokens=7, output_tokens=7, cached_tokens=2)
    assert chunks.pop() == sse.DONE
    assert chunks.pop()["usage"]["prompt_tokens"] == 7
    detail = {"type": "reasoning.text", "text": "Hmm.", "signature": "sig", "format": "bedrock", "index": 0}
    first, second = ({"index": n, "id": f"tooluse_{n + 1}", "type": "function"} for n in (0, 1))
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm"},
        {"reasoning_content": "m."},
        {"reasoning_details": [detail]},
        {"content": "Hé "},
        {"content": '"there"'},
        {"tool_calls": [{**first, "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]},
        {"tool_calls": [{**second, "function": {"name": "now", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@given(st.integers(0, len(WHOLE) - 1))
def test_every_prefix_is_truncated(length: int) -> None:
    stream, chunks = read(WHOLE[:length])
    failure = stream.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert sse.DONE not in chunks
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


NOISE = [
    event("ping"),
    event("simulatedUnknown", note=1),
    frame({":message-type": "something-new", ":event-type": "x"}, b"not JSON"),
    delta(1, citation={"title": "x"}),
    event("contentBlockStart", contentBlockIndex=1, start={"image": {"format": "png"}}),
]


@given(st.lists(st.sampled_from(NOISE), min_size=len(EVENTS), max_size=len(EVENTS)))
def test_events_that_nobody_knows_change_nothing(noise: list[bytes]) -> None:
    mixed = b"".join(piece for pair in zip(noise, EVENTS, strict=True) for piece in pair)
    stream, chunks = read(mixed)
    assert stream.finished
    assert deltas(chunks) == deltas(read(WHOLE)[1])


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_never_an_answer(at: int, bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= 1 << bit
    stream, chunks = read(bytes(damaged))
    assert not stream.finished
    assert sse.DONE not in chunks
    failure = stream.end()
    assert failure is not None
    assert failure.kind is FailureKind.PROTOCOL


def test_the_role_alone_does_not_commit_and_content_does() -> None:
    stream = BedrockStream(request())
    assert stream.feed(START) == b""
    assert not stream.committed
    assert stream.feed(TEXTS[0])
    assert stream.committed
    assert stream.content_bytes == 3


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("throttlingException", FailureKind.RATE_LIMIT, 200),
        ("validationException", FailureKind.REQUEST, 400),
        ("modelStreamErrorException", FailureKind.SERVER, 200),
        ("internalServerException", FailureKind.SERVER, 200),
        ("serviceUnavailableException", FailureKind.SERVER, 200),
        ("someNewException", FailureKind.SERVER, 200),
    ],
)
def test_an_exception_is_a_failure_before_and_after_the_commit(name: str, kind: FailureKind, status: int) -> None:
    for before, committed in ((START, False), (START + TEXTS[0], True)):
        stream, chunks = read(before + exception_frame(name, {"message": "Why."}) + WHOLE)
        assert stream.failure is not None
        assert (stream.failure.kind, stream.failure.status, stream.failure.code) == (kind, status, name)
        assert stream.failure.message == "Why."
        assert stream.committed is committed
        assert bool(chunks) is committed
        assert not stream.finished


def test_an_error_message_without_a_body_is_a_failure_too() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "It broke."}
    stream, _ = read(frame(headers, b""))
    assert stream.failure is not None
    assert (stream.failure.kind, stream.failure.message) == (FailureKind.SERVER, "It broke.")


def test_both_ends_are_needed_in_whatever_order() -> None:
    assert not read(START + TEXTS[0] + MESSAGE_STOP)[0].finished
    assert not read(START + TEXTS[0] + METADATA)[0].finished
    assert read(START + TEXTS[0] + METADATA + MESSAGE_STOP)[0].finished


def test_a_malformed_answer_fails() -> None:
    stream, chunks = read(START + TEXTS[0] + event("messageStop", stopReason="malformed_tool_use") + METADATA)
    assert stream.failure is not None
    assert stream.failure.code == "malformed_tool_use"
    assert sse.DONE not in chunks


def test_json_that_comes_as_a_tools_input_is_text() -> None:
    parts = [call(0, "tooluse_1", JSON_TOOL), *(delta(0, toolUse={"input": text}) for text in ('{"a', '":1}'))]
    stream, chunks = read(b"".join([START, *parts, stop(0), MESSAGE_STOP, METADATA]))
    assert stream.finished
    assert "".join(one.get("content", "") for one in deltas(chunks)) == '{"a":1}'
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("payload", [b"{", b"[]", b"{}", b'{"contentBlockIndex": 0}', b'{"delta": {"text": 7}}'])
def test_an_event_of_the_wrong_shape_is_a_protocol_failure(payload: bytes) -> None:
    stream, _ = read(START + event_frame("contentBlockDelta", payload))
    assert stream.failure is not None
    assert stream.failure.kind is FailureKind.PROTOCOL


# --- frames


def test_headers_of_every_type_are_read_over() -> None:
    def header(name: str, kind: int, value: bytes) -> bytes:
        return bytes((len(name),)) + name.encode() + bytes((kind,)) + value

    values = [(0, b""), (1, b""), (2, b"x"), (3, b"xx"), (4, b"xxxx"), (5, b"x" * 8), (6, b"\0\3abc"), (8, b"x" * 8)]
    packed = b"".join(header(f"h{kind}", kind, value) for kind, value in [*values, (9, b"x" * 16)])
    packed += header("word", 7, b"\0\2hi")
    assert FrameSplitter().feed(raw(packed, b"body")) == [Frame({"word": "hi"}, b"body")]


def raw(headers: bytes, payload: bytes, *, size: int | None = None) -> bytes:
    prelude = struct.pack(">II", size or 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (raw(b"", b"")[:8] + b"\0\0\0\0", "prelude"),
        (raw(b"", b"x")[:-1] + b"\0", "wrong checksum"),
        (raw(b"", b"", size=15), "impossible length"),
        (raw(b"", b"", size=2**31), "impossible length"),
        (raw(b"\1a\7\0\x09x", b""), "headers are cut"),
        (raw(b"\1a\x63", b""), "headers cannot be read"),
        (raw(b"\x40a", b""), "headers cannot be read"),
        (raw(b"\1\xff\0", b""), "headers cannot be read"),
    ],
)
def test_what_is_no_frame_is_refused_as_soon_as_it_can_be(data: bytes, words: str) -> None:
    with pytest.raises(BadFrame, match=words):
        FrameSplitter().feed(data)


@given(st.lists(st.tuples(st.dictionaries(st.text("abc:-", min_size=1, max_size=9), st.text()), st.binary())), cuts)
def test_frames_survive_any_split(frames: list[tuple[dict[str, str], bytes]], where: list[int]) -> None:
    splitter = FrameSplitter()
    data = b"".join(frame(headers, payload) for headers, payload in frames)
    found = [one for piece in pieces(data, where) for one in splitter.feed(piece)]
    assert found == [Frame(headers, payload) for headers, payload in frames]


# --- the simulator, without sockets


def simulated(asked: ModelRequest, model: str = MODEL) -> bytes:
    upstream = BEDROCK.build_request(asked, Target("", "k", model, {}))
    path = upstream.path.decode()
    headers = {name.decode(): value.decode() for name, value in upstream.headers}
    wire = Request("POST", path, "", headers, upstream.body, path)
    circumstances = Circumstances(0, "0" * 32, 0, giant=False, with_usage=True, seen_before=lambda _: False)
    said = SIMULATED.answer(wire, SIMULATED.look(wire), circumstances)
    return b"".join(one.wire for one in said.events) if isinstance(said, Stream) else said.body


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (MODEL, {}),
        (MODEL, {"tools": [WEATHER]}),
        (MODEL, {"reasoning_effort": "low"}),
        (MODEL, {"response_format": JSON_SCHEMA}),
        (MODEL, {"max_tokens": 3}),
        (MODEL, {"stop": "there"}),
        ("amazon.nova-lite-v1:0", {"response_format": JSON_SCHEMA}),
        ("anthropic.claude-opus-5-5-v1:0", {"reasoning_effort": "xhigh"}),
    ],
)
def test_a_stream_says_what_the_whole_answer_says(model: str, body: Any) -> None:
    whole = BEDROCK.parse_response(request(**body), simulated(request(stream=False, **body), model))
    assert isinstance(whole, Completion)
    message = json.loads(whole.body)["choices"][0]
    stream, chunks = read(simulated(request(**body), model), [5, 17, 200], **body)
    assert stream.finished
    assert stream.usage == whole.usage
    assert chunks[-2]["choices"][0]["finish_reason"] == message["finish_reason"]
    told = deltas(chunks)
    assert "".join(one.get("content", "") for one in told) == (message["message"]["content"] or "")
    thought = "".join(one.get("reasoning_content", "") for one in told)
    assert thought == message["message"].get("reasoning_content", "")
    details = [detail for one in told for detail in one.get("reasoning_details", ())]
    assert details == message["message"].get("reasoning_details", [])
    fragments = [fragment for one in told for fragment in one.get("tool_calls", ())]
    arguments = "".join(fragment["function"].get("arguments", "") for fragment in fragments)
    calls = message["message"].get("tool_calls", [])
    assert arguments == "".join(one["function"]["arguments"] for one in calls)


def test_thoughts_and_calls_go_back_to_where_they_came_from() -> None:
    body: dict[str, Any] = {"tools": [WEATHER], "reasoning_effort": "low", "stream": False}
    first = BEDROCK.parse_response(request(**body), simulated(request(**body)))
    assert isinstance(first, Completion)
    message = json.loads(first.body)["choices"][0]["message"]
    assert message["reasoning_details"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "18 degrees"}
    history = [{"role": "user", "content": "Hello"}, message, result]
    second = BEDROCK.parse_response(request(**body), simulated(request(**{**body, "messages": history})))
    assert isinstance(second, Completion)
    said = json.loads(second.body)["choices"][0]["message"]
    assert said["content"] == "[simulated] The tool answered: 18 degrees"
    assert said["reasoning_content"]


def test_what_the_simulator_refuses_the_adapter_never_sends() -> None:
    messages = [
        {"role": "assistant", "content": "Hi."},
        {"role": "assistant", "content": " "},
        {"role": "user", "content": ""},
        {"role": "user", "content": "Hello"},
        {"role": "user", "content": "there"},
    ]
    body: dict[str, Any] = {"messages": messages, "temperature": 1, "top_p": 1, "stream": False}
    for model in (MODEL, "anthropic.claude-opus-5-5-v1:0", "amazon.nova-lite-v1:0"):
        answer = BEDROCK.parse_response(request(**body), simulated(request(**body), model))
        assert isinstance(answer, Completion)
