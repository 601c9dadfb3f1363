"""Cohere's own SDK takes the simulator for the real thing, and the simulator refuses what Cohere refuses."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cohere import ClientV2
from cohere.core.api_error import ApiError
from cohere.errors import (
    BadRequestError,
    ForbiddenError,
    GatewayTimeoutError,
    InternalServerError,
    InvalidTokenError,
    NotFoundError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
    UnprocessableEntityError,
)

from tests.upstream import Upstream

MODEL = "command-a-03-2025"
THINKER = "command-a-reasoning-08-2025"
ASK: Any = [{"role": "user", "content": "Hello there"}]
ONCE: Any = {"max_retries": 0}


def function(name: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = function("weather", city={"type": "string"})
TIME = function("time", zone={"enum": ["UTC", "CET"]})


@pytest.fixture(scope="module")
def simulator() -> Iterator[Upstream]:
    with Upstream("cohere") as running:
        yield running


@pytest.fixture
def sdk(simulator: Upstream) -> ClientV2:
    return ClientV2(api_key="key", base_url=simulator.origin, timeout=5)


def chat(sdk: ClientV2, **body: Any) -> Any:
    return sdk.chat(**{"model": MODEL, "messages": ASK, "request_options": ONCE, **body})


def events(sdk: ClientV2, **body: Any) -> list[Any]:
    return list(sdk.chat_stream(**{"model": MODEL, "messages": ASK, "request_options": ONCE, **body}))


def raw(simulator: Upstream, path: str = "/v2/chat", **body: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": ASK, **body} if path == "/v2/chat" else {"model": MODEL, **body}
    return httpx.post(f"{simulator.origin}{path}", json=body, headers={"authorization": "Bearer key"}, timeout=5)


def test_a_plain_answer_echoes_and_bills_less_than_it_reads(sdk: ClientV2) -> None:
    answer = chat(sdk)
    assert [(part.type, part.text) for part in answer.message.content] == [
        ("text", "[simulated] You said: Hello there")
    ]
    assert answer.finish_reason == "COMPLETE"
    assert (answer.usage.billed_units.input_tokens, answer.usage.billed_units.output_tokens) == (3, 9)
    assert answer.usage.tokens.input_tokens == 63


def test_a_stream_is_named_events_from_start_to_end(sdk: ClientV2) -> None:
    streamed = events(sdk)
    names = [event.type for event in streamed]
    assert names == ["message-start", "content-start", *["content-delta"] * 5, "content-end", "message-end"]
    words = [event.delta.message.content.text for event in streamed if event.type == "content-delta"]
    assert "".join(words) == "[simulated] You said: Hello there"
    assert streamed[-1].delta.finish_reason == "COMPLETE"
    assert streamed[-1].delta.usage.billed_units.output_tokens == 9


def test_a_tool_call_is_planned_and_the_same_plain_and_streamed(sdk: ClientV2) -> None:
    plain = chat(sdk, tools=[WEATHER])
    call = plain.message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "simulated city"}
    assert (plain.finish_reason, plain.message.content) == ("TOOL_CALL", None)
    assert plain.message.tool_plan == "[simulated] I will call weather."
    streamed = events(sdk, tools=[WEATHER])
    starts = [event.delta.message.tool_calls for event in streamed if event.type == "tool-call-start"]
    assert [(start.function.name, start.function.arguments) for start in starts] == [("weather", "")]
    pieces = [e.delta.message.tool_calls.function.arguments for e in streamed if e.type == "tool-call-delta"]
    assert "".join(pieces) == call.function.arguments
    plan = [event.delta.message.tool_plan for event in streamed if event.type == "tool-plan-delta"]
    assert "".join(plan) == plain.message.tool_plan
    history = [
        *ASK,
        {"role": "assistant", "tool_plan": plain.message.tool_plan, "tool_calls": plain.message.tool_calls},
        {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"},
    ]
    answer = chat(sdk, messages=history, tools=[WEATHER])
    assert answer.message.content[0].text == "[simulated] The tool answered: 18 degrees"


def test_tools_are_called_in_parallel_or_not_at_all(sdk: ClientV2) -> None:
    messages = [{"role": "user", "content": "Do both in parallel."}]
    both = chat(sdk, messages=messages, tools=[WEATHER, TIME], tool_choice="REQUIRED").message
    assert [call.function.name for call in both.tool_calls] == ["weather", "time"]
    assert chat(sdk, messages=messages, tools=[WEATHER, TIME], tool_choice="NONE").message.tool_calls is None


def test_an_image_is_mentioned_and_counted(sdk: ClientV2) -> None:
    url = {"url": "data:image/png;base64,iVBORw0KGgo="}
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": url}]
    answer = chat(sdk, messages=[{"role": "user", "content": content}])
    assert answer.message.content[0].text == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    assert answer.usage.billed_units.input_tokens == 2 + 85


def test_json_is_kept_to(sdk: ClientV2) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = chat(sdk, response_format={"type": "json_object", "json_schema": schema})
    assert json.loads(answer.message.content[0].text) == {"name": "simulated name"}
    assert json.loads(chat(sdk, response_format={"type": "json_object"}).message.content[0].text)["simulated"] is True


def test_a_reasoning_model_thinks_unless_it_is_told_not_to(sdk: ClientV2) -> None:
    answer = chat(sdk, model=THINKER)
    assert [part.type for part in answer.message.content] == ["thinking", "text"]
    assert answer.usage.billed_units.output_tokens == 64 + 9
    assert [part.type for part in chat(sdk, model=THINKER, thinking={"type": "disabled"}).message.content] == ["text"]
    streamed = events(sdk, model=THINKER, thinking={"type": "enabled", "token_budget": 8})
    thoughts = [
        event.delta.message.content.thinking
        for event in streamed
        if event.type == "content-delta" and event.delta.message.content.thinking
    ]
    assert len("".join(thoughts)) == 4 * 8
    assert [event.index for event in streamed if event.type == "content-start"] == [0, 1]


def test_limits_stops_and_caches_are_kept(sdk: ClientV2) -> None:
    short = chat(sdk, max_tokens=5)
    assert (short.message.content[0].text, short.finish_reason) == ("[simulated] You said", "MAX_TOKENS")
    stopped = chat(sdk, stop_sequences=["there"])
    assert (stopped.message.content[0].text, stopped.finish_reason) == ("[simulated] You said: Hello ", "STOP_SEQUENCE")
    long = [{"role": "user", "content": "y" * 8000}]
    assert [chat(sdk, messages=long, max_tokens=1).usage.cached_tokens for _ in range(2)] == [0, 1920]


def test_logprobs_cover_the_text(sdk: ClientV2) -> None:
    assert "".join(item.text for item in chat(sdk, logprobs=True).logprobs) == "[simulated] You said: Hello there"


def test_embeddings_and_models_are_there(sdk: ClientV2) -> None:
    vectors: Any = sdk.embed(model="embed-v4.0", texts=["a", "b"], input_type="search_query", embedding_types=["float"])
    assert [len(numbers) for numbers in vectors.embeddings.float_] == [1536, 1536]
    assert vectors.meta.billed_units.input_tokens == 2
    short: Any = sdk.embed(model="embed-v4.0", texts=["a"], input_type="image", output_dimension=256)
    assert len(short.embeddings.float_[0]) == 256
    assert MODEL in [model.name for model in sdk.models.list().models]


@pytest.mark.parametrize(
    ("fault", "exception"),
    [
        ("status=400", BadRequestError),
        ("status=401", UnauthorizedError),
        ("status=403", ForbiddenError),
        ("status=404", NotFoundError),
        ("status=422", UnprocessableEntityError),
        ("status=429;retry_after=1", TooManyRequestsError),
        ("insufficient_quota", TooManyRequestsError),
        ("status=498", InvalidTokenError),
        ("status=500", InternalServerError),
        ("status=503", ServiceUnavailableError),
        ("status=504", GatewayTimeoutError),
        ("html502", ApiError),
    ],
)
def test_each_failure_raises_its_exception(sdk: ClientV2, fault: str, exception: type[ApiError]) -> None:
    with pytest.raises(exception) as raised:
        chat(sdk, model=f"{MODEL}!{fault}")
    assert type(raised.value) is exception
    if exception is not ApiError:
        assert set(raised.value.body) == {"id", "message"}


def test_a_broken_connection_is_an_error_of_the_transport(sdk: ClientV2) -> None:
    with pytest.raises(httpx.TransportError):
        chat(sdk, model=f"{MODEL}!reset")


def test_a_failure_in_the_midst_of_a_stream_is_its_end_and_no_exception(sdk: ClientV2) -> None:
    streamed = events(sdk, model=f"{MODEL}!error@4")
    assert [event.type for event in streamed] == ["message-start", "content-start", "content-delta", "message-end"]
    assert streamed[-1].delta.finish_reason == "ERROR"
    assert "internal server error" in streamed[-1].delta.error


@pytest.mark.parametrize("fault", ["crlf", "comments", "split", "unknown_event", "giant"])
def test_harmless_faults_leave_the_text_alone(sdk: ClientV2, fault: str) -> None:
    streamed = events(sdk, model=f"{MODEL}!{fault}")
    words = [event.delta.message.content.text for event in streamed if event.type == "content-delta"]
    assert "".join(words).startswith("[simulated] You said: Hello there")
    assert streamed[-1].type == "message-end"


def test_the_end_is_doubled_or_left_out(sdk: ClientV2) -> None:
    def ends(fault: str) -> list[bool]:
        return [e.delta.usage is not None for e in events(sdk, model=f"{MODEL}!{fault}") if e.type == "message-end"]

    assert [ends(fault) for fault in ("no_usage", "double_finish", "no_done")] == [[False], [True, True], []]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"top_p": 0.5}, 422, "parameter 'top_p' is not a valid field"),
        ({"n": 2}, 422, "'n'"),
        ({"stop": "x"}, 422, "'stop'"),
        ({"stream_options": {}}, 422, "'stream_options'"),
        ({"temperature": 1.1}, 400, "temperature must be between 0 and 1"),
        ({"temperature": "warm"}, 400, "of type string but should be of type float32"),
        ({"p": 1}, 400, "p must be between"),
        ({"presence_penalty": -1}, 400, "presence_penalty"),
        ({"stop_sequences": list("abcdef")}, 400, "at most 5"),
        ({"tool_choice": "auto"}, 400, "valid tool_choice values"),
        ({"tool_choice": "REQUIRED"}, 400, "only be specified with tools"),
        ({"thinking": {"type": "enabled"}}, 400, "thinking is not supported"),
        ({"response_format": {"type": "json_schema"}}, 400, "valid type values"),
        ({"response_format": {"type": "json_object"}, "tools": [WEATHER]}, 400, "not supported with tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "parameters is required"),
        ({"messages": []}, 400, "at least 1"),
        ({"messages": [{"role": "developer", "content": "x"}]}, 400, "valid role values"),
        ({"messages": [{"role": "user", "content": ""}]}, 400, "must not be empty"),
        ({"messages": [*ASK, {"role": "assistant", "content": "x"}]}, 400, "last message"),
        ({"messages": [*ASK, {"role": "tool", "tool_call_id": "c", "content": "x"}]}, 400, "matches no tool call"),
        ({"model": "command-missing"}, 404, "not found"),
    ],
)
def test_what_it_refuses(simulator: Upstream, body: dict[str, Any], status: int, words: str) -> None:
    answer = raw(simulator, **body)
    assert answer.status_code == status
    assert words in answer.json()["message"]


def test_an_embedding_needs_to_know_what_for(simulator: Upstream) -> None:
    answer = raw(simulator, "/v2/embed", texts=["x"])
    assert answer.status_code == 400
    assert "input_type is required" in answer.json()["message"]


def test_the_key_is_checked() -> None:
    with Upstream("cohere", api_key="the-only-key") as upstream:
        with pytest.raises(UnauthorizedError):
            chat(ClientV2(api_key="another", base_url=upstream.origin))
        assert chat(ClientV2(api_key="the-only-key", base_url=upstream.origin)).finish_reason == "COMPLETE"
        assert httpx.post(f"{upstream.origin}/v2/chat", json={}).status_code == 401
