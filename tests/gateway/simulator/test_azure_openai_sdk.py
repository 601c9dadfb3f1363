"""OpenAI's SDK takes the simulator for Azure: by its client for the classic API, and by its plain one for v1."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AzureOpenAI, OpenAI
from pydantic import BaseModel

from tests.upstream import Upstream

ASK: Any = [{"role": "user", "content": "Hello there"}]
SAFE = {"filtered": False, "severity": "safe"}
VERSION = "2024-10-21"


def function(name: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = function("weather", city={"type": "string"})


@pytest.fixture(scope="module")
def azure() -> Iterator[Upstream]:
    with Upstream("azure_openai") as running:
        yield running


@pytest.fixture(params=["classic", "v1"])
def sdk(request: pytest.FixtureRequest, azure: Upstream) -> OpenAI:
    if request.param == "v1":
        return OpenAI(base_url=f"{azure.origin}/openai/v1/", api_key="key", max_retries=0)
    return AzureOpenAI(azure_endpoint=azure.origin, api_key="key", api_version=VERSION, max_retries=0)


def test_a_plain_answer_carries_the_filters_remarks(sdk: OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK)
    answer: Any = raw.parse()
    assert answer.choices[0].message.content == "[simulated] You said: Hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 12
    assert answer.prompt_filter_results[0]["content_filter_results"]["hate"] == SAFE
    assert answer.choices[0].content_filter_results["violence"] == SAFE
    assert raw.headers["x-nexus-simulated"] == "azure_openai"
    assert raw.headers["apim-request-id"]
    assert raw.headers["x-ms-region"]


def test_a_stream_begins_with_the_prompts_filter_and_no_choice(sdk: OpenAI) -> None:
    chunks: Any = list(
        sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices == []
    assert chunks[0].prompt_filter_results[0]["prompt_index"] == 0
    assert chunks[1].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks[1:-1]) == "[simulated] You said: Hello there"
    assert chunks[2].choices[0].content_filter_results["hate"] == SAFE
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 9


def test_the_asynchronous_filter_sends_offsets_and_no_delta(sdk: OpenAI) -> None:
    chunks: Any = list(sdk.chat.completions.create(model="async-filter-gpt-4o", messages=ASK, stream=True))
    late = [chunk.choices[0] for chunk in chunks if chunk.choices and not chunk.id]
    assert len(late) == 1
    assert late[0].content_filter_offsets["start_offset"] == 0
    assert late[0].delta is None


def test_a_tool_call_and_its_result_are_the_same_plain_and_streamed(sdk: OpenAI) -> None:
    first = sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER])
    call: Any = (first.choices[0].message.tool_calls or [])[0]
    assert json.loads(call.function.arguments) == {"city": "simulated city"}
    assert first.choices[0].finish_reason == "tool_calls"
    history: Any = [*ASK, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    answer = sdk.chat.completions.create(model="gpt-4o", messages=history, tools=[WEATHER])
    assert answer.choices[0].message.content == "[simulated] The tool answered: 18 degrees"
    pieces = [
        fragment.function.arguments or ""
        for chunk in sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER], stream=True)
        for choice in chunk.choices
        for fragment in choice.delta.tool_calls or ()
        if fragment.function
    ]
    assert "".join(pieces) == call.function.arguments


def test_an_image_is_mentioned(sdk: OpenAI) -> None:
    url = {"url": "data:image/png;base64,iVBORw0KGgo="}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "A?"}, {"type": "image_url", "image_url": url}]}
    ]
    answer = sdk.chat.completions.create(model="gpt-4o", messages=messages)
    assert answer.choices[0].message.content == "[simulated] You said: A? [1 image(s): image/png, 8 bytes]"


class Person(BaseModel):
    name: str
    age: int


def test_a_json_schema_is_kept(sdk: OpenAI) -> None:
    person = sdk.chat.completions.parse(model="gpt-4o", messages=ASK, response_format=Person).choices[0].message.parsed
    assert person is not None
    assert person.name == "simulated name"


def test_embeddings_and_models_are_there(sdk: OpenAI) -> None:
    vectors = sdk.embeddings.create(model="text-embedding-3-small", input=["a", "b"]).data
    assert [len(item.embedding) for item in vectors] == [1536, 1536]
    assert "gpt-4o" in [model.id for model in sdk.models.list()]


def test_a_blocked_prompt_says_what_it_was_blocked_for(sdk: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Something [filter prompt]"}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            sdk.chat.completions.create(model="gpt-4o", messages=messages, stream=stream)
        body: Any = raised.value.body
        assert (raised.value.code, raised.value.param) == ("content_filter", "prompt")
        assert body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
        assert body["innererror"]["content_filter_result"]["violence"]["filtered"] is True


def test_a_blocked_answer_finishes_by_the_filter(sdk: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Something [filter answer]"}]
    plain: Any = sdk.chat.completions.create(model="gpt-4o", messages=messages).choices[0]
    assert (plain.finish_reason, plain.message.content) == ("content_filter", None)
    assert plain.content_filter_results["violence"]["filtered"] is True
    chunks: Any = list(sdk.chat.completions.create(model="gpt-4o", messages=messages, stream=True))
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert not any(choice.delta.content for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize(
    ("fault", "exception", "code"),
    [
        ("status=400", openai.BadRequestError, "BadRequest"),
        ("status=401", openai.AuthenticationError, "401"),
        ("status=403", openai.PermissionDeniedError, "AccessDenied"),
        ("status=404", openai.NotFoundError, "404"),
        ("status=429;retry_after_ms=5", openai.RateLimitError, "429"),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("status=500", openai.InternalServerError, "InternalServerError"),
        ("status=503", openai.InternalServerError, "ServiceUnavailable"),
        ("html502", openai.InternalServerError, None),
        ("reset", openai.APIConnectionError, None),
    ],
)
def test_each_failure_raises_its_exception(
    sdk: OpenAI, fault: str, exception: type[openai.APIError], code: str | None
) -> None:
    with pytest.raises(exception) as raised:
        sdk.chat.completions.create(model=f"gpt-4o!{fault}", messages=ASK)
    assert type(raised.value) is exception
    assert raised.value.code == code


@pytest.mark.parametrize(("fault", "before"), [("error_first", 0), ("error@3", 2)])
def test_an_error_event_raises_after_what_came_before(sdk: OpenAI, fault: str, before: int) -> None:
    stream = sdk.chat.completions.create(model=f"gpt-4o!{fault}", messages=ASK, stream=True)
    assert len([next(stream) for _ in range(before)]) == before
    with pytest.raises(openai.APIError, match="had an error"):
        next(stream)


def test_a_deployment_that_does_not_exist_is_named_as_such(azure: Upstream) -> None:
    sdk = AzureOpenAI(azure_endpoint=azure.origin, api_key="key", api_version=VERSION, max_retries=0)
    with pytest.raises(openai.NotFoundError) as raised:
        sdk.chat.completions.create(model="missing-one", messages=ASK)
    assert raised.value.code == "DeploymentNotFound"


def test_the_classic_api_needs_a_version_and_ignores_the_bodys_model(azure: Upstream) -> None:
    url = f"{azure.origin}/openai/deployments/mine/chat/completions"
    body = {"model": "another", "messages": ASK}
    assert httpx.post(url, json=body, headers={"api-key": "key"}).status_code == 404
    answer = httpx.post(f"{url}?api-version={VERSION}", json=body, headers={"api-key": "key"})
    assert answer.json()["model"] == "mine"
    without = httpx.post(f"{url}?api-version={VERSION}", json={"messages": ASK}, headers={"api-key": "key"})
    assert without.status_code == 200


def test_what_the_models_refuse_is_refused_in_openais_words(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="gpt-4o", messages=ASK, temperature=9)
    assert raised.value.code == "decimal_above_max_value"


def test_key_or_token_is_checked() -> None:
    with Upstream("azure_openai", api_key="the-only-key") as upstream:
        credentials: list[dict[str, Any]] = [{"api_key": "another"}, {"azure_ad_token": "another"}]
        for given in credentials:
            wrong = AzureOpenAI(azure_endpoint=upstream.origin, api_version=VERSION, max_retries=0, **given)
            with pytest.raises(openai.AuthenticationError) as raised:
                wrong.chat.completions.create(model="gpt-4o", messages=ASK)
            body: Any = raised.value.body
            assert set(body) == {"code", "message"}
        right = AzureOpenAI(
            azure_endpoint=upstream.origin, api_version=VERSION, azure_ad_token="the-only-key", max_retries=0
        )
        assert right.chat.completions.create(model="gpt-4o", messages=ASK).choices
        assert httpx.post(f"{upstream.origin}/openai/v1/chat/completions", json={}).status_code == 401
