"""A stream of Claude's: any split of the bytes, any end too early, and the whole way through the simulator."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway import sse
from gateway.providers.anthropic import ANTHROPIC, AnthropicStream
from gateway.providers.base import Completion, FailureKind, Target
from gateway.schema import Endpoint, ModelRequest, parse
from gateway.simulator import dialect
from gateway.simulator.anthropic import ANTHROPIC as SIMULATED
from tests.gateway.test_sse import pieces

HI = {"role": "user", "content": "Hi"}
CIRCUMSTANCES = dialect.Circumstances(
    now=1, token="0123456789abcdef" * 2, latency_ms=0, giant=False, with_usage=True, seen_before=lambda _: False
)


def request(**body: Any) -> ModelRequest:
    asked = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": [HI], **body}
    return parse(Endpoint.CHAT, json.dumps(asked).encode())


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **members}).encode())


def begin(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def more(index: int, **delta: Any) -> bytes:
    return event("content_block_delta", index=index, delta=delta)


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


USAGE = {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 1}
START = event(
    "message_start", message={"id": "msg_1", "type": "message", "model": "claude", "content": [], "usage": USAGE}
)
PING = event("ping")
THOUGHT = [
    begin(0, type="thinking", thinking="", signature=""),
    more(0, type="thinking_delta", thinking="H"),
    more(0, type="thinking_delta", thinking="m."),
    more(0, type="signature_delta", signature="sig"),
    stop(0),
]
SAID = [begin(1, type="text", text=""), more(1, type="text_delta", text="Hé "), more(1, type="text_delta", text="lo")]
CALLED = [
    stop(1),
    begin(2, type="tool_use", id="toolu_1", name="weather", input={}),
    more(2, type="input_json_delta", partial_json='{"city":'),
    more(2, type="input_json_delta", partial_json='"Rome"}'),
    stop(2),
    begin(3, type="tool_use", id="toolu_2", name="refresh", input={}),
    stop(3),
]
FINISH = event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 9})
STOP = event("message_stop")
WHOLE = b"".join([START, PING, *THOUGHT, *SAID, *CALLED, FINISH, STOP])


def read(data: bytes, *cuts: int, asked: ModelRequest | None = None) -> tuple[AnthropicStream, bytes]:
    decoder = AnthropicStream(asked or request())
    return decoder, b"".join(decoder.feed(part) for part in pieces(data, list(cuts)))


def chunks_of(told: bytes) -> list[dict[str, Any]]:
    data = [sse.data_of(one) for one in sse.events(told)]
    return [json.loads(one) for one in data if one != sse.DONE]


def message_of(told: bytes) -> dict[str, Any]:
    """Put a stream's deltas together, as the clients do."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "reasoning_details": [], "tool_calls": []}
    for choice in [choice for chunk in chunks_of(told) for choice in chunk["choices"]]:
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name) or ""
        message["reasoning_details"] += delta.get("reasoning_details", [])
        for call in delta.get("tool_calls", []):
            if "id" in call:
                message["tool_calls"].append([call["id"], call["function"]["name"], ""])
            message["tool_calls"][call["index"]][2] += call["function"]["arguments"]
        message["finish"] = choice["finish_reason"]
    return message


def without_time(told: bytes) -> list[dict[str, Any]]:
    return [{**chunk, "created": 0} for chunk in chunks_of(told)]


def test_a_stream_is_translated_part_by_part() -> None:
    decoder, told = read(WHOLE)
    assert decoder.finished
    assert message_of(told) == {
        "content": "Hé lo",
        "reasoning_content": "Hm.",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic", "index": 0}
        ],
        "tool_calls": [["toolu_1", "weather", '{"city":"Rome"}'], ["toolu_2", "refresh", "{}"]],
        "finish": "tool_calls",
    }
    assert decoder.usage == Usage(input_tokens=7, output_tokens=9, cached_tokens=2)
    assert {(chunk["id"], chunk["model"]) for chunk in chunks_of(told)} == {("msg_1", "claude")}
    assert chunks_of(told)[-1]["usage"]["total_tokens"] == 16
    assert told.endswith(b"data: [DONE]\n\n")


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_any_split_of_the_bytes_gives_the_same_chunks(cuts: list[int]) -> None:
    decoder, told = read(WHOLE, *cuts)
    assert without_time(told) == without_time(read(WHOLE)[1])
    assert decoder.finished
    assert decoder.end() is None


@given(st.integers(0, len(WHOLE) - 1))
def test_every_prefix_without_the_end_marker_is_truncated(length: int) -> None:
    decoder, told = read(WHOLE[:length])
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert b"[DONE]" not in told
    assert all(choice["finish_reason"] is None for chunk in chunks_of(told) for choice in chunk["choices"])


@given(st.lists(st.sampled_from([PING, b": comment\n\n", b"\n\n", event("to_come", value=[1])]), max_size=8), st.data())
def test_pings_comments_and_events_to_come_change_nothing(noise: list[bytes], data: st.DataObject) -> None:
    parts = list(sse.events(WHOLE))
    for one in noise:
        parts.insert(data.draw(st.integers(0, len(parts) - 1)), one)
    assert without_time(read(b"".join(parts))[1]) == without_time(read(WHOLE)[1])


def test_line_ends_may_be_those_of_windows() -> None:
    assert without_time(read(WHOLE.replace(b"\n", b"\r\n"))[1]) == without_time(read(WHOLE)[1])


def test_a_start_and_a_ping_and_an_empty_block_are_no_content() -> None:
    decoder, told = read(START + PING + SAID[0])
    assert not decoder.committed
    assert told == b""
    assert read(START + THOUGHT[0] + THOUGHT[1])[0].committed
    assert read(START + CALLED[1])[0].committed


def test_an_error_event_is_a_failure_of_its_kind() -> None:
    def failure(kind: str, **error: Any) -> tuple[Any, bytes]:
        told = event("error", error={"type": kind, "message": "No.", **error})
        decoder, passed = read(START + told + b"".join(SAID))
        return decoder.failure, passed

    overloaded, passed = failure("overloaded_error")
    assert (overloaded.kind, overloaded.type, passed) == (FailureKind.SERVER, "overloaded_error", b"")
    assert failure("rate_limit_error")[0].kind is FailureKind.RATE_LIMIT
    spent = {"error_code": "enforced_spend_limit_reached"}
    assert failure("rate_limit_error", details=spent)[0].kind is FailureKind.QUOTA
    assert failure("authentication_error")[0].kind is FailureKind.AUTH
    refused = failure("invalid_request_error")[0]
    assert (refused.kind, refused.status) == (FailureKind.REQUEST, 400)


@pytest.mark.parametrize("bad", [b"data: {\n\n", b"data: []\n\n", b'data: {"type":1}\n\n', b'data: {"x":1}\n\n'])
def test_what_is_no_event_of_anthropics_is_a_broken_answer(bad: bytes) -> None:
    decoder, told = read(START + b"".join(SAID) + bad + STOP)
    assert decoder.failure is not None
    assert decoder.failure.kind is FailureKind.PROTOCOL
    assert message_of(told)["content"] == "Hé lo"


def test_a_marker_without_a_stop_reason_is_truncated() -> None:
    failure = read(START + b"".join(SAID) + STOP)[0].failure
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED


def test_a_refusal_without_content_is_an_answer() -> None:
    decoder, told = read(START + event("message_delta", delta={"stop_reason": "refusal"}) + STOP)
    assert decoder.committed
    assert message_of(told)["finish"] == "content_filter"


def test_a_doubled_finish_is_told_once() -> None:
    told = read(WHOLE.replace(FINISH, FINISH + FINISH))[1]
    assert told.count(b'"finish_reason":"tool_calls"') == 1


def test_sealed_thoughts_and_deltas_without_a_block_are_survived() -> None:
    sealed = begin(0, type="redacted_thinking", data="sealed")
    orphan = more(9, type="input_json_delta", partial_json="{}") + more(9, type="signature_delta", signature="s")
    told = read(START + sealed + stop(0) + orphan + stop(9) + b"".join(SAID) + FINISH + STOP)[1]
    assert message_of(told)["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "sealed", "format": "anthropic", "index": 0}
    ]


# --- the whole way: build the request, let the simulator answer it, read the answer


def asked_upstream(model: str = "claude-sonnet-4-6", **body: Any) -> tuple[ModelRequest, Any]:
    chat = request(**body)
    upstream = ANTHROPIC.build_request(chat, Target("", "sk", model, {}))
    headers = {name.decode(): value.decode() for name, value in upstream.headers}
    wire = dialect.Request("POST", upstream.path.decode(), "", headers, upstream.body)
    SIMULATED.authenticate(wire, "sk")
    return chat, SIMULATED.answer(wire, SIMULATED.look(wire), CIRCUMSTANCES)


def whole(**body: Any) -> dict[str, Any]:
    """Return the message that comes in one piece, after the same has come as a stream."""
    chat, plain = asked_upstream(stream=False, **body)
    answer = ANTHROPIC.parse_response(chat, plain.body)
    assert isinstance(answer, Completion)
    choice = json.loads(answer.body)["choices"][0]
    chat, stream = asked_upstream(**body)
    decoder, told = read(b"".join(one.wire for one in stream.events), asked=chat)
    assert decoder.finished
    assert decoder.usage == answer.usage
    streamed, message = message_of(told), choice["message"]
    assert streamed["content"] == (message["content"] or "")
    assert streamed["finish"] == choice["finish_reason"]
    assert streamed["reasoning_content"] == message.get("reasoning_content", "")
    assert streamed["reasoning_details"] == message.get("reasoning_details", [])
    calls = [
        [one["id"], one["function"]["name"], one["function"]["arguments"]] for one in message.get("tool_calls", [])
    ]
    assert [one[1:] for one in streamed["tool_calls"]] == [one[1:] for one in calls]
    return {**message, "finish": choice["finish_reason"]}


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def test_a_chat_is_answered_in_one_piece_and_in_a_stream() -> None:
    message = whole(messages=[{"role": "system", "content": "Be brief."}, HI])
    assert (message["content"], message["finish"]) == ("[simulated] You said: Hi", "stop")


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-haiku-4-5"])
def test_a_tool_loop_with_thoughts_is_taken_by_every_generation(model: str) -> None:
    options: dict[str, Any] = {"model": model, "tools": [WEATHER], "reasoning_effort": "low"}
    first = whole(**options)
    assert first["finish"] == "tool_calls"
    assert first["reasoning_content"].startswith("[simulated]")
    (call,) = first["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}
    for thoughts in (first["reasoning_details"], None):
        turn = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_details": thoughts}
        answer = whole(**options, messages=[HI, turn, result])
        assert answer["content"] == "[simulated] The tool answered: 18 degrees"


def test_schemas_limits_and_stops_are_kept() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    assert json.loads(whole(response_format=wanted)["content"]) == {"name": "simulated name"}
    assert whole(max_tokens=4)["finish"] == "length"
    assert whole(stop="Hi")["content"] == "[simulated] You said: "
    assert whole(temperature=2, user="u")["finish"] == "stop"
