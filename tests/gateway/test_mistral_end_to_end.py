"""Mistral behind the gateway: what a client of OpenAI's SDK gets, and failing over from it and to it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.gateway import journeys
from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream


@pytest.fixture(scope="module")
def mistral() -> Iterator[Upstream]:
    with Upstream("mistral", api_key="mistral-key") as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, mistral: Upstream, other: Upstream) -> Client:
    """A tenant whose `here` is Mistral's, `either` Mistral's before OpenAI's, and `first` OpenAI's before Mistral's."""
    client = make_client()
    small, thinker = "mistral-small-latest", "magistral-medium-latest"
    connection: Any = {"family": "mistral", "api_key": "mistral-key"}
    models = {"here": small, "either": small, "thinker": thinker, "vectors": "mistral-embed"}
    client.add_provider(mistral, name="mistral", models=models, **connection)
    client.add_provider(other, name="openai", weight=50, models={"either": "gpt-4o", "first": "gpt-4o"})
    client.add_provider(mistral, name="behind", weight=1, models={"first": small}, **connection)
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(tenant: Client, servers: Servers) -> OpenAI:
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


def test_a_client_asks_plainly_and_streamed(sdk: OpenAI) -> None:
    journeys.asks_plainly_and_streamed(sdk, "here", family="mistral")


def test_a_client_has_a_tool_called_shows_an_image_and_wants_json(sdk: OpenAI) -> None:
    journeys.has_a_tool_called(sdk, "here")
    journeys.shows_an_image(sdk, "here")
    journeys.wants_json(sdk, "here")


def test_thoughts_and_vectors_come_through(sdk: OpenAI) -> None:
    message: Any = sdk.chat.completions.create(model="thinker", messages=journeys.ASK).choices[0].message
    assert message.content == journeys.TEXT
    assert message.reasoning_content.startswith("[simulated] thinking")
    assert len(sdk.embeddings.create(model="vectors", input="x").data[0].embedding) == 1024


def test_dropped_hints_are_named_and_the_unsupported_refused(sdk: OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="here", messages=journeys.ASK, user="ada", seed=3)
    assert raw.headers["x-nexus-dropped-params"] == "user"
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="here", messages=journeys.ASK, logit_bias={"5": 1})
    assert raised.value.param == "logit_bias"


def test_what_mistral_refuses_is_told_in_its_words(sdk: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        sdk.chat.completions.create(model="here", messages=journeys.ASK, top_p=7)
    assert raised.value.param == "top_p"
    assert "less than or equal to 1" in str(raised.value)


@pytest.mark.parametrize("fault", ["status=429", "status=503", "error_first"])
@pytest.mark.parametrize("stream", [False, True])
def test_openai_answers_where_mistral_does_not(sdk: OpenAI, mistral: Upstream, fault: str, stream: bool) -> None:
    mistral.script(fault)
    raw = sdk.chat.completions.with_raw_response.create(model="either", messages=journeys.ASK, stream=stream)
    assert raw.headers["x-nexus-provider"] == "openai"
    assert raw.headers["x-nexus-attempt"] == "2"


def test_a_history_of_another_family_goes_on_at_mistral(sdk: OpenAI, other: Upstream, tenant: Client) -> None:
    first = sdk.chat.completions.create(model="first", messages=journeys.ASK, tools=[journeys.WEATHER])
    call: Any = (first.choices[0].message.tool_calls or [])[0]
    assert call.id.startswith("call_")
    other.script("status=500")
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    history: Any = [*journeys.ASK, first.choices[0].message, result, {"role": "user", "content": "And now?"}]
    raw = sdk.chat.completions.with_raw_response.create(model="first", messages=history)
    assert raw.parse().choices[0].message.content == "[simulated] You said: And now?"
    assert raw.headers["x-nexus-route"] == "openai=500;mistral=200"
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.provider, row.upstream_model) == ("mistral", "mistral-small-latest")
    assert row.input_tokens


def test_a_stream_that_breaks_off_is_never_an_answer(sdk: OpenAI, mistral: Upstream) -> None:
    for fault in ("no_done", "error@4", "cut@4"):
        mistral.script("ok", fault)
        sdk.chat.completions.create(model="here", messages=journeys.ASK)  # so that the circuit stays closed
        with pytest.raises(openai.APIError) as raised:
            list(sdk.chat.completions.create(model="here", messages=journeys.ASK, stream=True))
        assert raised.value.code == "STREAM_INTERRUPTED"
