"""Azure OpenAI behind the gateway: what a client of OpenAI's SDK gets, and failing over from it and to it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream

ASK: Any = [{"role": "user", "content": "Hello there"}]
MODELS = {"classic": "gpt-4o", "next": "gpt-4o", "either": "gpt-4o"}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def azure() -> Iterator[Upstream]:
    with Upstream("azure_openai", api_key="azure-key") as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, azure: Upstream, other: Upstream) -> Client:
    """A tenant with three connections: Azure by both APIs, and OpenAI behind it for the model `either`."""
    client = make_client()
    connection: Any = {"family": "azure_openai", "api_key": "azure-key"}
    client.add_provider(azure, name="classic", models={"classic": "gpt-4o", "either": "gpt-4o"}, **connection)
    client.add_provider(f"{azure.origin}/openai/v1", name="next", models={"next": "gpt-4o"}, **connection)
    client.add_provider(other, name="backup", weight=1, models={"either": "gpt-4o", "first": "gpt-4o"})
    client.add_provider(azure, name="second", weight=0, models={"first": "gpt-4o"}, **connection)
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(tenant: Client, servers: Servers) -> OpenAI:
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


@pytest.mark.parametrize("model", ["classic", "next"])
def test_a_plain_answer_and_a_stream_say_the_same(sdk: OpenAI, model: str) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model=model, messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content == "[simulated] You said: Hello there"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 9)
    assert (raw.headers["x-nexus-provider"], raw.headers["x-nexus-attempt"]) == ("azure_openai", "1")
    chunks = list(sdk.chat.completions.create(model=model, messages=ASK, stream=True))
    words = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(words) == answer.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_tool_is_called_and_its_result_quoted(sdk: OpenAI) -> None:
    first = sdk.chat.completions.create(model="classic", messages=ASK, tools=[WEATHER]).choices[0].message
    call: Any = (first.tool_calls or [])[0]
    assert json.loads(call.function.arguments) == {"city": "simulated city"}
    history: Any = [*ASK, first, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    answer = sdk.chat.completions.create(model="classic", messages=history, tools=[WEATHER])
    assert answer.choices[0].message.content == "[simulated] The tool answered: 18 degrees"


def test_images_schemas_and_embeddings_work(sdk: OpenAI) -> None:
    url = {"url": "data:image/png;base64,iVBORw0KGgo="}
    messages: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]
    answer = sdk.chat.completions.create(model="classic", messages=messages)
    assert "image/png, 8 bytes" in (answer.choices[0].message.content or "")
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = sdk.chat.completions.create(model="next", messages=ASK, response_format=wanted)
    assert json.loads(answer.choices[0].message.content or "") == {"name": "simulated name"}
    assert len(sdk.embeddings.create(model="classic", input="x").data[0].embedding) == 1536


def test_a_blocked_prompt_is_the_clients_error_and_not_asked_elsewhere(sdk: OpenAI, other: Upstream) -> None:
    other.reset()
    messages: Any = [{"role": "user", "content": "[filter prompt]"}]
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="either", messages=messages)
    assert raised.value.code == "content_filter"
    assert other.stats()["requests"] == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["status=401", "status=429", "status=503"])
def test_openai_answers_where_azure_does_not(
    tenant: Client, servers: Servers, azure: Upstream, fault: str, stream: bool
) -> None:
    azure.script(fault)
    answer = httpx.post(
        f"{servers.door.base_url}/v1/chat/completions",
        json={"model": "either", "messages": ASK, "stream": stream},
        headers=tenant.headers,
    )
    assert answer.status_code == 200
    assert answer.headers["x-nexus-route"] == f"azure_openai={fault.removeprefix('status=')};openai=200"


@pytest.mark.parametrize("fault", ["error_first", "cut@3"])
def test_a_stream_that_breaks_behind_the_filters_chunk_fails_over(sdk: OpenAI, azure: Upstream, fault: str) -> None:
    azure.script(fault)  # the third event is the first content
    chunks = list(sdk.chat.completions.create(model="either", messages=ASK, stream=True))
    assert not any("prompt_filter_results" in (chunk.model_extra or {}) for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_azure_answers_where_openai_does_not(sdk: OpenAI, other: Upstream, tenant: Client) -> None:
    other.script("status=500")
    raw = sdk.chat.completions.with_raw_response.create(model="first", messages=ASK)
    assert raw.headers["x-nexus-route"] == "openai=500;azure_openai=200"
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.provider, row.input_tokens, row.output_tokens) == ("azure_openai", 3, 9)
