"""Cohere behind the gateway: what a client of OpenAI's SDK gets, and failing over from it and to it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.gateway import journeys
from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream


@pytest.fixture(scope="module")
def cohere() -> Iterator[Upstream]:
    with Upstream("cohere", api_key="cohere-key") as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, cohere: Upstream, other: Upstream) -> Client:
    """A tenant whose `here` is Cohere's, `either` Cohere's before OpenAI's, and `first` OpenAI's before Cohere's."""
    client = make_client()
    command, thinker = "command-a-03-2025", "command-a-reasoning-08-2025"
    connection: Any = {"family": "cohere", "api_key": "cohere-key"}
    models = {"here": command, "either": command, "thinker": thinker, "vectors": "embed-v4.0"}
    client.add_provider(cohere, name="cohere", models=models, **connection)
    client.add_provider(other, name="openai", weight=50, models={"either": "gpt-4o", "first": "gpt-4o"})
    client.add_provider(cohere, name="behind", weight=1, models={"first": command}, **connection)
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(tenant: Client, servers: Servers) -> OpenAI:
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


def test_a_client_asks_plainly_and_streamed(sdk: OpenAI) -> None:
    journeys.asks_plainly_and_streamed(sdk, "here", family="cohere")


def test_a_client_has_a_tool_called_shows_an_image_and_wants_json(sdk: OpenAI) -> None:
    journeys.has_a_tool_called(sdk, "here")
    journeys.shows_an_image(sdk, "here")
    journeys.wants_json(sdk, "here")


def test_thoughts_and_vectors_come_through(sdk: OpenAI) -> None:
    message: Any = sdk.chat.completions.create(model="thinker", messages=journeys.ASK).choices[0].message
    assert message.content == journeys.TEXT
    assert message.reasoning_content.startswith("[simulated] thinking")
    assert len(sdk.embeddings.create(model="vectors", input="x").data[0].embedding) == 1536


def test_what_cohere_cannot_do_another_does(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="here", messages=journeys.ASK, n=2)
    assert raised.value.param == "n"
    raw = sdk.chat.completions.with_raw_response.create(model="either", messages=journeys.ASK, n=2)
    assert len(raw.parse().choices) == 2
    assert raw.headers["x-nexus-provider"] == "openai"


def test_a_request_is_billed_by_cohere_s_units(sdk: OpenAI, tenant: Client) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="here", messages=journeys.ASK)
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.input_tokens, row.output_tokens, row.usage_estimated) == (3, 9, False)


@pytest.mark.parametrize("fault", ["status=429", "status=498", "error_first"])
@pytest.mark.parametrize("stream", [False, True])
def test_openai_answers_where_cohere_does_not(sdk: OpenAI, cohere: Upstream, fault: str, stream: bool) -> None:
    cohere.script(fault)
    raw = sdk.chat.completions.with_raw_response.create(model="either", messages=journeys.ASK, stream=stream)
    assert raw.headers["x-nexus-provider"] == "openai"
    assert raw.headers["x-nexus-attempt"] == "2"


def test_a_history_of_another_family_goes_on_at_cohere(sdk: OpenAI, other: Upstream) -> None:
    first = sdk.chat.completions.create(model="first", messages=journeys.ASK, tools=[journeys.WEATHER])
    call: Any = (first.choices[0].message.tool_calls or [])[0]
    other.script("status=500")
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    history: Any = [*journeys.ASK, first.choices[0].message, result]
    raw = sdk.chat.completions.with_raw_response.create(model="first", messages=history)
    assert raw.parse().choices[0].message.content == "[simulated] The tool answered: 18 degrees"
    assert raw.headers["x-nexus-route"] == "openai=500;cohere=200"


@pytest.mark.parametrize("fault", ["no_done", "error@4", "cut@4"])
def test_a_stream_that_breaks_off_is_never_an_answer(sdk: OpenAI, cohere: Upstream, fault: str) -> None:
    cohere.script("ok", fault)
    sdk.chat.completions.create(model="here", messages=journeys.ASK)  # so that the circuit stays closed
    with pytest.raises(openai.APIError) as raised:
        list(sdk.chat.completions.create(model="here", messages=journeys.ASK, stream=True))
    assert raised.value.code == "STREAM_INTERRUPTED"
