"""A request of the Responses API as chat, and chat as its answer."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.by_chat import DialectStream
from gateway.dialects.registry import DIALECTS
from gateway.dialects.responses import RESPONSES
from gateway.dialects.responses_request import chat_payload
from gateway.providers.base import FailureKind, Target, Unsupported
from gateway.providers.openai import OPENAI
from gateway.providers.registry import FAMILIES
from gateway.schema import Endpoint, ModelRequest, parse
from nexus.errors import InvalidRequest

PATCH = {"type": "custom", "name": "patch", "description": "Patch", "format": {"type": "grammar", "definition": "G"}}


def request(**members: Any) -> ModelRequest:
    return parse(Endpoint.RESPONSES, json.dumps({"model": "m", "input": "Hi", **members}).encode())


def messages(*items: Any) -> Any:
    return chat_payload({"model": "m", "input": list(items)})["messages"]


def test_settings_go_by_their_names_in_chat() -> None:
    told = chat_payload(
        {
            "model": "m",
            "input": "Hi",
            "instructions": "Be kind.",
            "max_output_tokens": 9,
            "temperature": 0.5,
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
            "tool_choice": {"type": "function", "name": "f"},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None}],
            "include": ["reasoning.encrypted_content"],
            "background": False,
            "truncation": "auto",
        }
    )
    assert told == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }


def test_the_items_of_one_turn_are_one_message() -> None:
    told = messages(
        {"role": "user", "content": [{"type": "input_text", "text": "Sum?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "a stranger's"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
    )
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in told[1]["tool_calls"]] == ["c1", "c2"]
    assert told[1]["content"] == [{"type": "text", "text": "Wait."}]
    assert [message["tool_call_id"] for message in told[2:]] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"a_member_of_next_year": 1}, "a_member_of_next_year"),
    ],
)
def test_what_has_no_counterpart_in_chat_is_unsupported(members: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        chat_payload(request(**members).payload)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "members",
    [
        {"input": [3]},
        {"tools": {}},
        {"text": []},
        {"input": [{"type": "function_call_output", "output": "1"}]},
        {"input": [{"role": "user", "content": 3}]},
    ],
)
def test_what_is_malformed_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        chat_payload(request(**members).payload)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return sse.encode(json.dumps({"id": "c", "model": "up", "choices": choices, **more}).encode())


STREAM = b"".join(
    (
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm"}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s"}]}),
        chunk({"content": "It "}),
        chunk({"content": "is ütf."}),
        chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "patch", "arguments": '{"inp'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ut":"+ line"}'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "add", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 1, "function": {"arguments": '{"a":1}'}}]}),
        chunk({}, "tool_calls"),
        chunk(None, usage={"prompt_tokens": 3, "completion_tokens": 4}),
        b"data: [DONE]\n\n",
    )
)
ASKED = request(stream=True, tools=[PATCH], include=["reasoning.encrypted_content"])


def decoder() -> Any:
    compatible = FAMILIES["openai_compatible"]
    return compatible.stream_decoder(ASKED)


def events_of(told: bytes) -> list[dict[str, Any]]:
    return [json.loads(sse.data_of(event)) for event in sse.events(told)]


def test_a_stream_of_chunks_becomes_typed_events() -> None:
    running = decoder()
    events = events_of(running.feed(STREAM))
    assert running.finished
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in done] == ["reasoning", "message", "custom_tool_call", "function_call"]
    assert done[0]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert done[1]["content"][0]["text"] == "It is ütf."
    assert (done[2]["call_id"], done[2]["input"]) == ("c1", "+ line")
    assert (done[3]["call_id"], done[3]["arguments"]) == ("c2", '{"a":1}')
    last = events[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["output"] == done
    assert last["response"]["usage"]["total_tokens"] == 7
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert added == [item["id"] for item in done]


def test_sealed_reasoning_comes_back_as_it_went() -> None:
    events = events_of(decoder().feed(STREAM))
    item = next(event["item"] for event in events if event["type"] == "response.output_item.done")
    told = messages({"role": "user", "content": "Hi"}, item)
    assert told[1]["reasoning_details"] == [{"type": "reasoning.text", "signature": "s"}]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    running, told = decoder(), b""
    for start, end in pairwise(edges):
        told += running.feed(STREAM[start:end])
    kinds = [(event["type"], event.get("delta")) for event in events_of(told)]
    assert kinds == [(event["type"], event.get("delta")) for event in events_of(decoder().feed(STREAM))]


@given(st.integers(0, len(STREAM) - 2))
def test_any_prefix_is_truncated(cut: int) -> None:
    running = decoder()
    told = running.feed(STREAM[:cut])
    failure = running.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED
    assert b"response.completed" not in told


def test_a_family_that_speaks_the_api_is_left_alone() -> None:
    target = Target("/v1", "sk", "up", {})
    sent = FAMILIES["openai_compatible"].build_request(request(), target)
    assert sent.path == b"/v1/chat/completions"
    assert json.loads(sent.body) == {"model": "up", "messages": [{"role": "user", "content": "Hi"}]}
    assert isinstance(decoder(), DialectStream)
    chat = parse(Endpoint.CHAT, b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}')
    assert isinstance(FAMILIES["openai_compatible"].stream_decoder(chat), type(OPENAI.stream_decoder(chat)))
    assert DIALECTS[Endpoint.RESPONSES] is RESPONSES
