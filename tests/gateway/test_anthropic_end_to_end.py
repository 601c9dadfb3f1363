"""Claude behind the gateway, as OpenAI's SDK sees it: a real runtime in front of a simulated Anthropic."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream

ASK: Any = [{"role": "user", "content": "Hello there"}]
ECHO = "[simulated] You said: Hello there"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.fixture(scope="module")
def claude() -> Iterator[Upstream]:
    with Upstream("anthropic", api_key="sk-ant-secret") as running:
        yield running


@pytest.fixture(scope="module")
def gpt() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, claude: Upstream, gpt: Upstream) -> Client:
    """A tenant whose `claude` goes to Anthropic alone, `first-claude` to it first and `last-claude` to it last."""
    client = make_client()
    models = {"claude": "claude-sonnet-4-6", "thinker": "claude-opus-5-5", "absent": "claude-missing"}
    first = {"first-claude": "claude-haiku-4-5"}
    for name, served in (("claude", models), ("claude-first", first)):
        client.add_provider(claude, name=name, family="anthropic", api_key="sk-ant-secret", models=served)
    client.add_provider(gpt, name="gpt", weight=50, models={"first-claude": "gpt-4o", "last-claude": "gpt-4o"})
    client.add_provider(
        claude,
        name="claude-last",
        family="anthropic",
        weight=10,
        api_key="sk-ant-secret",
        options={"drop_unsupported": True},
        models={"last-claude": "claude-sonnet-4-6"},
    )
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(servers: Servers, tenant: Client, claude: Upstream, gpt: Upstream) -> OpenAI:
    claude.reset()
    gpt.reset()
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


def test_a_plain_chat_is_answered_counted_and_priced(sdk: OpenAI, tenant: Client, claude: Upstream) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *ASK]
    raw = sdk.chat.completions.with_raw_response.create(model="claude", messages=messages, temperature=0.5, user="u")
    answer = raw.parse()
    assert answer.choices[0].message.content == ECHO
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 9)
    assert raw.headers["x-nexus-provider"] == "anthropic"
    assert raw.headers["x-nexus-model"] == "claude-sonnet-4-6"
    assert float(raw.headers["x-nexus-cost-usd"]) > 0
    (asked,) = claude.log()
    assert asked["body"]["temperature"] == 0.5
    assert asked["headers"]["anthropic-version"] == "2023-06-01"
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.provider, row.upstream_model, row.input_tokens, row.output_tokens) == (
        *("anthropic", "claude-sonnet-4-6"),
        *(6, 9),
    )


def test_a_stream_comes_in_chunks_and_is_counted(sdk: OpenAI, tenant: Client) -> None:
    options: Any = {"include_usage": True}
    with sdk.chat.completions.with_streaming_response.create(
        model="claude", messages=ASK, stream=True, stream_options=options
    ) as raw:
        chunks = list(raw.parse())
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [piece for piece in pieces if piece] == ["[simulated] ", "You ", "said: ", "Hello ", "there"]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.input_tokens, row.output_tokens, row.usage_estimated) == (3, 9, False)


@pytest.mark.parametrize("model", ["claude", "thinker"])
def test_a_tool_is_called_and_its_result_answered_plain_and_streamed(sdk: OpenAI, model: str) -> None:
    options: Any = {"model": model, "tools": [WEATHER], "reasoning_effort": "low"}
    plain = sdk.chat.completions.create(messages=ASK, **options).choices[0]
    with sdk.chat.completions.stream(messages=ASK, **options) as stream:
        streamed = stream.get_final_completion().choices[0]
    for choice in (plain, streamed):
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls or []
        assert json.loads(call.function.arguments) == {"city": "simulated city"}
        thought: Any = choice.message.model_dump()
        assert thought["reasoning_content"].startswith("[simulated]")
        assert thought["reasoning_details"][0]["signature"]
        history: Any = [*ASK, thought, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
        answer = sdk.chat.completions.create(messages=history, **options).choices[0].message
        assert answer.content == "[simulated] The tool answered: 18 degrees"


def test_an_image_is_seen(sdk: OpenAI) -> None:
    url = {"url": f"data:image/png;base64,{PNG}"}
    content: Any = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": url}]
    answer = sdk.chat.completions.create(model="claude", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"


class Person(BaseModel):
    name: str
    friends: list["Person"]


def test_a_json_schema_is_kept(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.parse(model="claude", messages=ASK, response_format=Person)
    person = answer.choices[0].message.parsed
    assert person is not None
    assert person.name == "simulated name"


def test_a_marked_prompt_is_cached_and_cheaper_the_second_time(sdk: OpenAI, tenant: Client) -> None:
    marked: Any = [{"type": "text", "text": "x" * 8000, "cache_control": {"type": "ephemeral"}}]
    messages: Any = [{"role": "system", "content": marked}, *ASK]
    rows = []
    for _ in range(2):
        raw = sdk.chat.completions.with_raw_response.create(model="claude", messages=messages)
        usage = raw.parse().usage
        assert usage is not None
        assert usage.prompt_tokens == 2003
        rows.append(tenant.row(raw.headers["x-request-id"]))
    assert [row.cached_tokens for row in rows] == [0, 2000]
    costs = [row.cost_usd or 0 for row in rows]
    assert costs[0] > costs[1] > 0


def test_an_error_of_the_request_is_told_in_the_vendors_words(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="tool_use") as raised:
        sdk.chat.completions.create(
            model="claude",
            tools=[WEATHER],
            messages=[
                *ASK,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                    ],
                },
                *ASK,
            ],
        )
    assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="absent", messages=ASK)


def test_what_claude_cannot_honour_is_refused_by_name_or_dropped_and_told(
    sdk: OpenAI, gpt: Upstream, claude: Upstream
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="claude", messages=ASK, seed=7)
    assert raised.value.param == "seed"
    assert claude.log() == []
    gpt.script("status=503")
    dropped = sdk.chat.completions.with_raw_response.create(model="last-claude", messages=ASK, seed=7)
    assert dropped.headers["x-nexus-dropped-params"] == "seed"
    assert dropped.headers["x-nexus-route"] == "openai=503;anthropic=200"


def said(sdk: OpenAI, model: str, *, stream: bool) -> tuple[str, Any]:
    """Return the text of an answer, and its headers."""
    completions = sdk.chat.completions.with_raw_response
    if not stream:
        plain = completions.create(model=model, messages=ASK)
        return plain.parse().choices[0].message.content or "", plain.headers
    raw = completions.create(model=model, messages=ASK, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse()), raw.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["status=529", "status=401", "insufficient_quota", "error_first", "empty", "cut@3"])
def test_another_family_takes_over_from_claude(sdk: OpenAI, claude: Upstream, fault: str, stream: bool) -> None:
    sdk.chat.completions.create(model="first-claude", messages=ASK)  # a success, so that no circuit opens
    claude.script(fault)
    text, headers = said(sdk, "first-claude", stream=stream)
    assert text == ECHO
    assert headers["x-nexus-provider"] == "openai"
    assert headers["x-nexus-attempt"] == "2"
    assert "circuit_open" not in headers["x-nexus-route"]


@pytest.mark.parametrize("stream", [False, True])
def test_claude_takes_over_from_another_family(sdk: OpenAI, gpt: Upstream, stream: bool) -> None:
    gpt.script("error_first" if stream else "status=500")
    text, headers = said(sdk, "last-claude", stream=stream)
    assert text == ECHO
    assert headers["x-nexus-provider"] == "anthropic"


def test_a_stream_that_claude_breaks_off_is_no_answer(sdk: OpenAI, claude: Upstream, tenant: Client) -> None:
    claude.script("no_done")
    with sdk.chat.completions.with_streaming_response.create(model="claude", messages=ASK, stream=True) as raw:
        finishes: list[str | None] = []
        with pytest.raises(openai.APIError) as raised:
            finishes.extend(chunk.choices[0].finish_reason for chunk in raw.parse())
    assert raised.value.code == "STREAM_INTERRUPTED"
    assert set(finishes) <= {None}
    assert tenant.row(raw.headers["x-request-id"]).error_class == "truncated"
