"""The Responses API by the official SDK, whatever family answers; translated to chat and back."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.gateway.conftest import Client, Servers, in_force
from tests.upstream import Upstream

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture(params=["openai", "openai_compatible"])
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    """A provider that speaks the API itself, and one that speaks chat alone: to the client they are the same."""
    with Upstream(family=request.param) as running:
        yield running


@pytest.fixture
def routed(client: Client, upstream: Upstream, servers: Servers) -> Client:
    client.add_provider(upstream, name="primary", family=upstream.family)
    in_force(*servers.running)
    return client


@pytest.fixture
def sdk(servers: Servers, routed: Client) -> OpenAI:
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=routed.key, max_retries=0)


def test_a_plain_response(sdk: OpenAI, routed: Client) -> None:
    raw = sdk.responses.with_raw_response.create(model="gpt-4o", input="Hello there", instructions="Be kind.")
    answer = raw.parse()
    assert "Hello there" in answer.output_text
    assert (answer.status, answer.instructions, answer.object) == ("completed", "Be kind.", "response")
    assert answer.usage is not None
    row = routed.row(raw.headers["x-request-id"])
    assert (row.endpoint, row.status, row.streamed) == ("responses", 200, False)
    assert (row.input_tokens, row.output_tokens) == (answer.usage.input_tokens, answer.usage.output_tokens)


def test_a_stream_tells_its_events_in_order_and_ends_with_the_whole(sdk: OpenAI, routed: Client) -> None:
    with sdk.responses.stream(model="gpt-4o", input="Hello there") as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert told == final.output_text
    assert "Hello there" in told
    assert final.usage is not None
    assert final.usage.output_tokens > 0


def test_a_tool_is_called_and_its_result_answered(sdk: OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "How is the weather in Bern?"}]
    first = sdk.responses.create(model="gpt-4o", input=asked, tools=[WEATHER])
    call = first.output[0]
    assert call.type == "function_call"
    assert call.name == "weather"
    assert isinstance(json.loads(call.arguments)["city"], str)
    again = [
        *asked,
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"},
    ]
    assert "Sunny" in sdk.responses.create(model="gpt-4o", input=again, tools=[WEATHER]).output_text


def test_a_streamed_call_is_the_plain_one(sdk: OpenAI) -> None:
    plain = sdk.responses.create(model="gpt-4o", input="Weather?", tools=[WEATHER]).output[0]
    with sdk.responses.stream(model="gpt-4o", input="Weather?", tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        call = stream.get_final_response().output[0]
    assert plain.type == call.type == "function_call"
    assert (call.name, call.arguments) == (plain.name, plain.arguments)
    assert "response.function_call_arguments.delta" in kinds


def test_structured_output_is_parsed(sdk: OpenAI) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = sdk.responses.create(
        model="gpt-4o",
        input="Who?",
        text={"format": {"type": "json_schema", "name": "person", "schema": {**schema, "additionalProperties": False}}},
    )
    assert isinstance(json.loads(answer.output_text)["name"], str)


def test_an_image_reaches_the_model(sdk: OpenAI) -> None:
    parts: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
    ]
    answer = sdk.responses.create(model="gpt-4o", input=[{"role": "user", "content": parts}])
    assert "1 image(s)" in answer.output_text


def test_an_answer_that_was_cut_is_incomplete(sdk: OpenAI) -> None:
    story = "Tell me a story that is much longer than sixteen tokens, whoever counts them by four bytes each"
    answer = sdk.responses.create(model="gpt-4o", input=story, max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_what_has_no_counterpart_is_refused_by_name(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"[Pp]revious.response") as refused:
        sdk.responses.create(model="gpt-4o", input="Hi", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"


def test_the_django_door_speaks_it_too(servers: Servers, sdk: OpenAI) -> None:
    twin = sdk.with_options(base_url=f"{servers.twin.base_url}/v1")
    with twin.responses.stream(model="gpt-4o", input="Hello there") as stream:
        assert "Hello there" in stream.get_final_response().output_text


def test_a_stream_that_breaks_off_raises(sdk: OpenAI, routed: Client, upstream: Upstream) -> None:
    upstream.script("cut@7")
    seen = []
    with (
        pytest.raises(openai.APIError, match="broke off"),
        sdk.responses.create(model="gpt-4o", input="Tell me very much more than that", stream=True) as stream,
    ):
        seen += [event.type for event in stream]
    assert "response.completed" not in seen
