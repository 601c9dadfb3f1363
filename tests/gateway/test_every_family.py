"""The same conversation with every family, by the same clients: what comes back is the same."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.gateway.conftest import Servers, in_force
from tests.gateway.families import NAMES, every_family

ASK: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello there"}]
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather of a city", "parameters": SCHEMA},
}
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
PICTURE = f"data:image/png;base64,{_PNG}"


@pytest.fixture(scope="module")
def sdk(committed: None, servers: Servers) -> Iterator[OpenAI]:
    with every_family() as client:
        in_force(servers.door)
        yield OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=client.key, max_retries=0)


@pytest.mark.parametrize("family", NAMES)
def test_plain_and_streamed_are_one_answer(sdk: OpenAI, family: str) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model=family, messages=ASK, max_tokens=200)
    assert raw.headers["x-nexus-provider"] == family
    plain = raw.parse()
    chunks = list(
        sdk.chat.completions.create(
            model=family, messages=ASK, max_tokens=200, stream=True, stream_options={"include_usage": True}
        )
    )
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert plain.choices[0].message.content == told == "[simulated] You said: Hello there"
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finishes[-1] == plain.choices[0].finish_reason == "stop"
    assert plain.usage is not None
    assert chunks[-1].usage is not None
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (
        chunks[-1].usage.prompt_tokens,
        chunks[-1].usage.completion_tokens,
    )
    assert plain.usage.prompt_tokens > 0


@pytest.mark.parametrize("family", NAMES)
def test_a_tool_is_called_and_its_result_understood(sdk: OpenAI, family: str) -> None:
    asked: Any = [{"role": "user", "content": "How is the weather?"}]
    message = sdk.chat.completions.create(model=family, messages=asked, tools=[WEATHER], max_tokens=200).choices[0]
    assert message.finish_reason == "tool_calls"
    call = (message.message.tool_calls or [])[0]
    assert call.type == "function"
    assert (call.function.name, set(json.loads(call.function.arguments))) == ("weather", {"city"})
    with sdk.chat.completions.stream(model=family, messages=asked, tools=[WEATHER], max_tokens=200) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert (streamed.tool_calls or [])[0].function.arguments == call.function.arguments
    again: Any = [
        *asked,
        message.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny"},
    ]
    answer = sdk.chat.completions.create(model=family, messages=again, tools=[WEATHER], max_tokens=200).choices[0]
    assert answer.finish_reason == "stop"
    assert "Sunny" in (answer.message.content or "")


@pytest.mark.parametrize("family", NAMES)
def test_a_conversation_goes_on_with_every_other_family(sdk: OpenAI, family: str) -> None:
    asked: Any = [{"role": "user", "content": "The weather of two towns, in parallel?"}]
    begun = (
        sdk.chat.completions.create(model=family, messages=asked, tools=[WEATHER], max_tokens=200).choices[0].message
    )
    calls = begun.tool_calls or []
    assert calls
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": f"Sunny {number}"} for number, call in enumerate(calls)
    ]
    history: Any = [*asked, begun.model_dump(exclude_none=True), *results]
    for other in NAMES:
        answer = sdk.chat.completions.create(model=other, messages=history, tools=[WEATHER], max_tokens=200).choices[0]
        assert answer.finish_reason == "stop", other
        assert f"Sunny {len(calls) - 1}" in (answer.message.content or ""), other


@pytest.mark.parametrize("family", NAMES)
def test_an_answer_by_a_schema(sdk: OpenAI, family: str) -> None:
    wanted: Any = {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": {**SCHEMA, "additionalProperties": False}},
    }
    answer = sdk.chat.completions.create(model=family, messages=ASK, response_format=wanted, max_tokens=200)
    assert set(json.loads(answer.choices[0].message.content or "")) == {"city"}


@pytest.mark.parametrize("family", NAMES)
def test_an_image_reaches_the_model(sdk: OpenAI, family: str) -> None:
    parts: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    answer = sdk.chat.completions.create(
        model=family, messages=[{"role": "user", "content": parts}], max_tokens=200
    ).choices[0]
    assert "1 image(s)" in (answer.message.content or "")


@pytest.mark.parametrize("family", NAMES)
def test_an_answer_that_was_cut_says_so(sdk: OpenAI, family: str) -> None:
    story: Any = [{"role": "user", "content": "Tell me a story of more than just a few words, please"}]
    assert sdk.chat.completions.create(model=family, messages=story, max_tokens=5).choices[0].finish_reason == "length"


@pytest.mark.parametrize("family", NAMES)
def test_the_responses_api(sdk: OpenAI, family: str) -> None:
    plain = sdk.responses.create(model=family, input="Hello there", max_output_tokens=200)
    with sdk.responses.stream(model=family, input="Hello there", max_output_tokens=200) as stream:
        streamed = stream.get_final_response()
    assert plain.output_text == streamed.output_text == "[simulated] You said: Hello there"
    assert plain.usage is not None
    assert streamed.usage == plain.usage


@pytest.mark.parametrize("family", NAMES)
def test_a_wrong_request_is_the_clients_fault(sdk: OpenAI, family: str) -> None:
    with pytest.raises(openai.BadRequestError):  # a result without a call
        sdk.chat.completions.create(model=family, messages=[{"role": "tool", "tool_call_id": "c", "content": "x"}])
