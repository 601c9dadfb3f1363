"""Anthropic's dialect by itself: what a request becomes, and what a stream of chunks becomes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.messages_error import messages_error
from gateway.dialects.messages_request import chat_payload
from gateway.providers.anthropic_native import NativeStream
from gateway.providers.base import Completion, Failure, FailureKind, StreamDecoder, Target, Unsupported
from gateway.providers.registry import FAMILIES
from gateway.schema import Endpoint, ModelRequest, parse
from nexus.errors import InvalidRequest, NotFound
from tests.gateway.providers.test_anthropic_stream import FINISH, START, STOP, event
from tests.gateway.providers.test_anthropic_stream import WHOLE as NATIVE
from tests.gateway.test_sse import pieces

HI = {"role": "user", "content": "Hi"}


def request(**body: Any) -> ModelRequest:
    return parse(Endpoint.MESSAGES, json.dumps({"model": "m", "max_tokens": 9, "messages": [HI], **body}).encode())


def chat(**body: Any) -> dict[str, Any]:
    """Return the canonical body of a request."""
    return chat_payload(request(**body).payload)


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def user(*blocks: dict[str, Any]) -> Any:
    return chat(messages=[{"role": "user", "content": list(blocks)}])["messages"]


def test_a_request_is_a_chat() -> None:
    assert chat(system="Be brief.", stream=True) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, HI],
        "max_completion_tokens": 9,
        "stream": True,
    }
    assert request().most_output_tokens == 9


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"stop_sequences": ["A"]}, {"stop": ["A"]}),
        ({"temperature": 0.5, "top_p": 0.5, "top_k": 7}, {"temperature": 0.5, "top_p": 0.5, "top_k": 7}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"service_tier": "auto", "container": "c", "speed": "fast"}, {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 60_000}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
    ],
)
def test_members_have_their_names_in_a_chat(members: dict[str, Any], told: dict[str, Any]) -> None:
    assert {name: value for name, value in chat(**members).items() if name not in chat()} == told


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_tools_and_their_choice_are_functions(choice: Any, told: dict[str, Any]) -> None:
    body = chat(tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}}], tool_choice=choice)
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert {name: body[name] for name in ("tool_choice", "parallel_tool_calls") if name in body} == told


def test_a_users_blocks_are_parts_and_results_are_messages_of_their_own() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    link = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("18"), image]}
    plain = {"type": "tool_result", "tool_use_id": "t2", "content": "19"}
    assert user(result, plain, text("And?"), link) == [
        {"role": "tool", "tool_call_id": "t1", "content": "18"},
        {"role": "tool", "tool_call_id": "t2", "content": "19"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                text("And?"),
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
    ]


def test_documents_are_texts_or_files() -> None:
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Facts."}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}}
    (message,) = user(plain, pdf)
    assert message["content"] == [
        text("Facts."),
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="}},
    ]


def test_an_assistants_blocks_are_text_and_calls_without_thoughts() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        text("One "),
        text("two"),
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ]
    assert chat(messages=[HI, {"role": "assistant", "content": blocks}])["messages"][1] == {
        "role": "assistant",
        "content": "One two",
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }


@pytest.mark.parametrize(
    "members",
    [
        {"messages": ["Hi"]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user", "content": ["Hi"]}]},
        {"system": 7},
        {"system": {}},
        {"tools": {}},
        {"tools": [7]},
        {"metadata": []},
        {"output_config": "low"},
    ],
)
def test_what_is_no_request_of_anthropics_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        chat(**members)
    assert not isinstance(raised.value, Unsupported)


@pytest.mark.parametrize(
    "members",
    [
        {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        {"messages": [{"role": "judge", "content": "x"}]},
        {"output_config": {"effort": "enormous"}},
        {"tools": [{"name": "f"}], "tool_choice": {"type": "to_come"}},
    ],
)
def test_what_cannot_be_translated_is_left_to_providers_of_the_dialect(members: dict[str, Any]) -> None:
    asked = request(**members)
    with pytest.raises(Unsupported):
        FAMILIES["openai"].build_request(asked, Target("/v1", "", "gpt-4o", {}))
    upstream = FAMILIES["anthropic"].build_request(asked, Target("", "", "claude", {}))
    assert json.loads(upstream.body) == {**asked.payload, "model": "claude"}
    assert upstream.path == b"/v1/messages"


# --- answers


def chunk(**choice: Any) -> bytes:
    return sse.encode(json.dumps({"id": "c1", "model": "gpt", "choices": [{"index": 0, **choice}]}).encode())


def delta(**members: Any) -> bytes:
    return chunk(delta=members, finish_reason=None)


def call(index: int, arguments: str, **members: Any) -> bytes:
    return delta(
        tool_calls=[{"index": index, "function": {"arguments": arguments, **members.pop("function", {})}, **members}]
    )


CHUNKS = [
    delta(role="assistant", content=""),
    delta(reasoning_content="Hm."),
    delta(content="Hé "),
    delta(content="lo"),
    call(0, "", id="t1", type="function", function={"name": "f"}),
    call(0, '{"a":'),
    call(0, "1}"),
    call(1, "{}", id="t2", type="function", function={"name": "g"}),
    chunk(delta={}, finish_reason="tool_calls"),
    sse.encode(
        b'{"id":"c1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9,'
        b'"prompt_tokens_details":{"cached_tokens":2}}}'
    ),
    b"data: [DONE]\n\n",
]
WHOLE = b"".join(CHUNKS)


def stream(data: bytes, *cuts: int) -> tuple[StreamDecoder, bytes]:
    decoder = FAMILIES["openai"].stream_decoder(request(stream=True))
    return decoder, b"".join(decoder.feed(part) for part in pieces(data, list(cuts)))


def test_chunks_are_the_events_of_a_message() -> None:
    decoder, told = stream(WHOLE)
    assert decoder.finished
    events = [json.loads(sse.data_of(one)) for one in sse.events(told)]
    assert all(
        one.startswith(b"event: %b\n" % json.loads(sse.data_of(one))["type"].encode()) for one in sse.events(told)
    )
    starts = [one["content_block"] for one in events if one["type"] == "content_block_start"]
    assert starts == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ]
    assert [one["index"] for one in events if one["type"] == "content_block_stop"] == [0, 1, 2, 3]
    deltas = [one["delta"] for one in events if one["type"] == "content_block_delta"]
    assert "".join(one.get("partial_json", "") for one in deltas) == '{"a":1}{}'
    assert "".join(one.get("text", "") for one in deltas) == "Hé lo"
    assert events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 9,
        },
    }
    assert events[-1] == {"type": "message_stop"}


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    assert stream(WHOLE, *cuts)[1] == stream(WHOLE)[1]
    native = NativeStream()
    assert b"".join(native.feed(part) for part in pieces(NATIVE, cuts)) == NATIVE
    assert native.finished
    assert native.usage is not None
    assert (native.usage.input_tokens, native.usage.output_tokens) == (7, 9)


@given(st.integers(0, len(WHOLE) - 14), st.integers(0, len(NATIVE) - 2))
def test_a_prefix_is_no_message(length: int, native_length: int) -> None:
    for decoder, data in (
        (stream(b"")[0], WHOLE[:length]),
        (NativeStream(), NATIVE[:native_length]),
    ):
        assert b"message_stop" not in decoder.feed(data)
        failure = decoder.end()
        assert failure is not None
        assert failure.kind is FailureKind.TRUNCATED


def test_a_native_stream_fails_on_an_error_and_on_what_is_no_event() -> None:
    for bad, kind in (
        (event("error", error={"type": "overloaded_error", "message": "Overloaded"}), FailureKind.SERVER),
        (b"data: {\n\n", FailureKind.PROTOCOL),
        (STOP, FailureKind.TRUNCATED),
    ):
        decoder = NativeStream()
        assert decoder.feed(START + bad + FINISH + STOP) == b""
        assert decoder.failure is not None
        assert decoder.failure.kind is kind


def test_calls_that_are_woven_into_each_other_are_told_one_after_the_other() -> None:
    late = [call(1, '{"b":', id="t2", type="function", function={"name": "g"}), call(0, '{"a":1}'), call(1, "2}")]
    told = stream(CHUNKS[0] + CHUNKS[4] + b"".join(late) + b"".join(CHUNKS[8:]))[1]
    events = [json.loads(sse.data_of(one)) for one in sse.events(told)]
    assert [(one["index"], one["delta"]["partial_json"]) for one in events if one["type"] == "content_block_delta"] == [
        (0, '{"a":1}'),
        (1, '{"b":2}'),
    ]


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_finish_reasons_are_stop_reasons(finish: str, stop: str) -> None:
    message = {"role": "assistant", "content": "Hi"}
    body = {"id": "c1", "model": "gpt", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    answer = FAMILIES["openai"].parse_response(request(), json.dumps(body).encode())
    assert isinstance(answer, Completion)
    told = json.loads(answer.body)
    assert (told["stop_reason"], told["content"], told["id"]) == (stop, [text("Hi")], "msg_c1")


def test_an_answer_that_is_none_is_a_failure() -> None:
    answer = FAMILIES["openai"].parse_response(request(), b"{}")
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.PROTOCOL


def test_an_error_has_both_shapes() -> None:
    assert messages_error(NotFound("No.").body("id-1"), 404) == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "No.",
            "param": None,
            "code": "NOT_FOUND",
            "request_id": "id-1",
        },
        "request_id": "id-1",
    }
