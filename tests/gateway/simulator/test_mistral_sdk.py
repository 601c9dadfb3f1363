"""Mistral's own SDK takes the simulator for the real thing, and the simulator refuses what Mistral refuses."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, ResponseValidationError, SDKError

from tests.upstream import Upstream

MODEL = "mistral-small-latest"
ASK: Any = [{"role": "user", "content": "Hello there"}]


def function(name: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = function("weather", city={"type": "string"})
TIME = function("time", zone={"enum": ["UTC", "CET"]})
CALL = {"id": "a1b2c3d4e", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "a1b2c3d4e", "name": "weather", "content": "18 degrees"}


@pytest.fixture(scope="module")
def mistral() -> Iterator[Upstream]:
    with Upstream("mistral") as running:
        yield running


@pytest.fixture
def sdk(mistral: Upstream) -> Iterator[Mistral]:
    with Mistral(api_key="key", server_url=mistral.origin, timeout_ms=5000) as client:
        yield client


def raw(mistral: Upstream, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": ASK, **body} if path == "/v1/chat/completions" else {"model": MODEL, **body}
    return httpx.post(f"{mistral.origin}{path}", json=body, headers={"authorization": "Bearer key"}, timeout=5)


def streamed(sdk: Mistral, **body: Any) -> list[Any]:
    asked: Any = {"model": MODEL, "messages": ASK, **body}
    with sdk.chat.stream(**asked) as events:
        return [event.data for event in events]


def test_a_plain_answer_echoes_with_its_usage(sdk: Mistral) -> None:
    answer = sdk.chat.complete(model=MODEL, messages=ASK)
    choice = answer.choices[0]
    assert choice.message is not None
    assert (choice.message.content, choice.finish_reason) == ("[simulated] You said: Hello there", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 9, 12)


def test_a_stream_ends_with_finish_and_usage_in_one_chunk(sdk: Mistral) -> None:
    chunks = streamed(sdk)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.content for c in chunks] == ["", "[simulated] ", "You ", "said: ", "Hello ", "there", ""]
    assert [chunk.usage is not None for chunk in chunks] == [False] * 6 + [True]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_tool_call_comes_whole_with_an_id_of_nine(sdk: Mistral) -> None:
    plain = sdk.chat.complete(model=MODEL, messages=ASK, tools=[WEATHER])
    message: Any = plain.choices[0].message
    call = message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "simulated city"}
    assert len(call.id) == 9
    assert call.id.isalnum()
    assert plain.choices[0].finish_reason == "tool_calls"
    last = streamed(sdk, tools=[WEATHER])[-1].choices[0]
    assert last.finish_reason == "tool_calls"
    assert [(c.function.name, c.function.arguments) for c in last.delta.tool_calls] == [
        ("weather", call.function.arguments)
    ]
    history: Any = [
        *ASK,
        message,
        {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": "18 degrees"},
    ]
    answer: Any = sdk.chat.complete(model=MODEL, messages=history, tools=[WEATHER]).choices[0].message
    assert answer.content == "[simulated] The tool answered: 18 degrees"


def test_tools_are_called_in_parallel_by_name_or_not_at_all(sdk: Mistral) -> None:
    messages: Any = [{"role": "user", "content": "Do both in parallel."}]

    def names(**choice: Any) -> list[str]:
        message: Any = (
            sdk.chat.complete(model=MODEL, messages=messages, tools=[WEATHER, TIME], **choice).choices[0].message
        )
        return [call.function.name for call in message.tool_calls or ()]

    assert names() == ["weather", "time"]
    assert names(parallel_tool_calls=False) == ["weather"]
    assert names(tool_choice={"type": "function", "function": {"name": "time"}}, parallel_tool_calls=False) == ["time"]
    assert names(tool_choice="any", parallel_tool_calls=False) == ["weather"]
    assert names(tool_choice="none") == []


@pytest.mark.parametrize("url", ["data:image/png;base64,iVBORw0KGgo=", {"url": "data:image/png;base64,iVBORw0KGgo="}])
def test_an_image_is_mentioned_and_counted(sdk: Mistral, url: Any) -> None:
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": url}]
    messages: Any = [{"role": "user", "content": content}]
    answer = sdk.chat.complete(model=MODEL, messages=messages)
    message: Any = answer.choices[0].message
    assert message.content == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    assert answer.usage.prompt_tokens == 2 + 85


def test_json_is_kept_to(sdk: Mistral) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    message: Any = sdk.chat.complete(model=MODEL, messages=ASK, response_format=wanted).choices[0].message
    assert json.loads(message.content) == {"name": "simulated name"}
    any_json: Any = {"type": "json_object"}
    message = sdk.chat.complete(model=MODEL, messages=ASK, response_format=any_json).choices[0].message
    assert json.loads(message.content)["simulated"] is True


def test_a_reasoning_model_shows_its_thoughts_as_content(sdk: Mistral) -> None:
    answer = sdk.chat.complete(model="magistral-medium-latest", messages=ASK)
    message: Any = answer.choices[0].message
    assert [part.type for part in message.content] == ["thinking", "text"]
    assert message.content[0].thinking[0].text.startswith("[simulated] thinking")
    assert message.content[1].text == "[simulated] You said: Hello there"
    assert answer.usage.completion_tokens == 9 + 64
    chunks = streamed(sdk, model="magistral-medium-latest", reasoning_effort="low")
    thoughts = [
        c.choices[0].delta.content[0].thinking[0].text for c in chunks if isinstance(c.choices[0].delta.content, list)
    ]
    assert len("".join(thoughts)) == 4 * 32


def test_limits_stops_and_choices_are_kept(sdk: Mistral) -> None:
    short = sdk.chat.complete(model=MODEL, messages=ASK, max_tokens=5).choices[0]
    assert short.message is not None
    assert (short.message.content, short.finish_reason) == ("[simulated] You said", "length")
    stopped: Any = sdk.chat.complete(model=MODEL, messages=ASK, stop=["there"], random_seed=3).choices[0].message
    assert stopped.content == "[simulated] You said: Hello "
    assert len(sdk.chat.complete(model=MODEL, messages=ASK, n=2).choices) == 2


def test_logprobs_cover_the_text(sdk: Mistral) -> None:
    logprobs: Any = sdk.chat.complete(model=MODEL, messages=ASK, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert "".join(item.token for item in logprobs.content) == "[simulated] You said: Hello there"


def test_embeddings_and_models_are_there(sdk: Mistral) -> None:
    vectors: Any = sdk.embeddings.create(model="mistral-embed", inputs=["a", "b"])
    assert [len(item.embedding) for item in vectors.data] == [1024, 1024]
    assert vectors.usage.prompt_tokens == 2
    short: Any = sdk.embeddings.create(model="codestral-embed", inputs="a", output_dimension=256)
    assert len(short.data[0].embedding) == 256
    assert MODEL in [model.id for model in sdk.models.list().data or [] if model.type == "base"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        *(("status=400", 400), ("status=401", 401), ("status=403", 403), ("status=404", 404)),
        *(("status=429;retry_after=1", 429), ("insufficient_quota", 429), ("status=500", 500), ("status=503", 503)),
        ("html502", 502),
    ],
)
def test_each_failure_raises_with_its_status(sdk: Mistral, fault: str, status: int) -> None:
    with pytest.raises(SDKError) as raised:
        sdk.chat.complete(model=f"{MODEL}!{fault}", messages=ASK)
    assert raised.value.status_code == status


def test_a_broken_connection_is_an_error_of_the_transport(sdk: Mistral) -> None:
    for fault in ("reset", "reset@2"):
        with pytest.raises(httpx2.TransportError):
            sdk.chat.complete(model=f"{MODEL}!{fault}", messages=ASK)


def test_a_failure_in_the_midst_of_a_stream_finishes_by_error(sdk: Mistral) -> None:
    chunks = streamed(sdk, model=f"{MODEL}!error@3")
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "error"]
    with pytest.raises(ResponseValidationError):
        streamed(sdk, model=f"{MODEL}!badjson@2")


@pytest.mark.parametrize("fault", ["crlf", "comments", "split", "unknown_event", "giant"])
def test_harmless_faults_leave_the_text_alone(sdk: Mistral, fault: str) -> None:
    text = "".join(chunk.choices[0].delta.content for chunk in streamed(sdk, model=f"{MODEL}!{fault}"))
    assert text.startswith("[simulated] You said: Hello there")


def test_usage_and_finish_are_doubled_or_left_out(sdk: Mistral) -> None:
    assert [
        sum(c.usage is not None for c in streamed(sdk, model=f"{MODEL}!{fault}"))
        for fault in ("no_usage", "usage_twice", "double_finish")
    ] == [0, 2, 2]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"seed": 1}, ["seed"]),
        ({"user": "u"}, ["user"]),
        ({"stream_options": {"include_usage": True}}, ["stream_options"]),
        ({"max_completion_tokens": 5}, ["max_completion_tokens"]),
        ({"logit_bias": {}}, ["logit_bias"]),
        ({"temperature": 1.6}, ["temperature"]),
        ({"temperature": "warm"}, ["temperature"]),
        ({"tool_choice": "sometimes"}, ["tool_choice"]),
        ({"messages": None}, ["messages"]),
        ({"messages": [{"role": "developer", "content": "x"}]}, ["messages", 0]),
        ({"messages": [{"role": "user", "content": "x", "name": "ada"}]}, ["messages", 0, "user", "name"]),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, ["tools", 0, "function", "parameters"]),
        ({"response_format": {"type": "json_schema"}}, ["response_format", "json_schema"]),
    ],
)
def test_what_breaks_the_schema_is_a_422_that_says_where(
    mistral: Upstream, body: dict[str, Any], where: list[Any]
) -> None:
    answer = raw(mistral, **body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", *where]


def test_the_sdk_raises_a_validation_error_for_it(sdk: Mistral) -> None:
    with pytest.raises(HTTPValidationError) as raised:
        sdk.chat.complete(model=MODEL, messages=ASK, temperature=9)
    assert raised.value.data.detail
    assert raised.value.data.detail[0].loc == ["body", "temperature"]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([*ASK, {"role": "assistant", "content": "Hi"}], "Expected last role User or Tool"),
        ([{"role": "system", "content": "x"}], "Expected last role User or Tool"),
        ([*ASK, RESULT], "Unexpected role 'tool' after role 'user'"),
        ([*ASK, {"role": "assistant", "tool_calls": [CALL]}, RESULT, *ASK], "Unexpected role 'user' after role 'tool'"),
        (
            [*ASK, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "x"}],
            "Unexpected role 'system'",
        ),
        ([*ASK, {"role": "assistant", "tool_calls": [CALL]}, *ASK], "Not the same number of function calls"),
        ([*ASK, {"role": "assistant", "content": ""}, *ASK], "must have either content or tool_calls"),
        (
            [*ASK, {"role": "assistant", "tool_calls": [{**CALL, "id": "call_1"}]}],
            "must be a-z, A-Z, 0-9, with a length of 9",
        ),
    ],
)
def test_histories_that_make_no_sense_are_refused(mistral: Upstream, messages: list[Any], words: str) -> None:
    answer = raw(mistral, messages=messages)
    assert answer.status_code == 400
    assert words in answer.json()["message"]
    assert answer.json()["object"] == "error"


def test_an_answer_can_be_begun_for_the_model(mistral: Upstream) -> None:
    assert raw(mistral, messages=[*ASK, {"role": "assistant", "content": "Well", "prefix": True}]).status_code == 200


def test_keys_models_and_paths_are_checked(mistral: Upstream) -> None:
    with Upstream("mistral", api_key="the-only-key") as upstream:
        assert raw(upstream).status_code == 401
        assert raw(upstream).json() == {"detail": "Unauthorized"}
    assert raw(mistral, model="mistral-missing").json()["type"] == "invalid_model"
    assert raw(mistral, "/v1/nothing").status_code == 404
    assert httpx.post(f"{mistral.origin}/v1/chat/completions", json={}).status_code == 401
    assert raw(mistral, "/v1/embeddings", input="x", dimensions=3).status_code == 422
