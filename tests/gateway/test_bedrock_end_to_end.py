"""Bedrock behind the gateway, as OpenAI's SDK sees it: a real runtime, and a simulator that checks signatures."""

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
SONNET, HAIKU = "anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"
SECRET = "the/secret+access-key/of-forty-characters"
OPTIONS = {"region": "eu-central-1", "access_key_id": "AKIDSIMULATED"}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Upstream]:
    with Upstream("bedrock", api_key=SECRET) as running:
        yield running


@pytest.fixture(scope="module")
def gpt() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, bedrock: Upstream, gpt: Upstream) -> Client:
    """A tenant whose `claude` goes to Bedrock alone, `first` to it first and `last` to it last; `forged` is refused."""
    client = make_client()
    models = {"claude": SONNET, "nova": "amazon.nova-lite-v1:0", "old": HAIKU, "absent": "model.is-missing-v1:0"}
    models |= {"titan": "amazon.titan-embed-text-v2:0", "cohere": "cohere.embed-english-v3"}
    dropping = {**OPTIONS, "drop_unsupported": True}
    for name, served, secret, options, weight in (
        ("alone", models, SECRET, OPTIONS, 100),
        ("first", {"first": HAIKU}, SECRET, OPTIONS, 100),
        ("last", {"last": SONNET}, SECRET, dropping, 10),
        ("bearing", {"bearer": SONNET}, SECRET, {}, 100),
        ("forged", {"forged": SONNET}, "another/secret", OPTIONS, 100),
    ):
        client.add_provider(
            bedrock, name=name, family="bedrock", api_key=secret, models=served, options=options, weight=weight
        )
    client.add_provider(gpt, name="gpt", weight=50, models={"first": "gpt-4o", "last": "gpt-4o"})
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(servers: Servers, tenant: Client, bedrock: Upstream, gpt: Upstream) -> OpenAI:
    bedrock.reset()
    gpt.reset()
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


def test_a_signed_chat_is_answered_counted_and_priced(sdk: OpenAI, tenant: Client, bedrock: Upstream) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *ASK]
    raw = sdk.chat.completions.with_raw_response.create(model="old", messages=messages, temperature=0.5, user="u")
    answer = raw.parse()
    assert answer.choices[0].message.content == ECHO
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 9)
    assert raw.headers["x-nexus-provider"] == "bedrock"
    assert raw.headers["x-nexus-model"] == HAIKU
    assert float(raw.headers["x-nexus-cost-usd"]) > 0
    (asked,) = bedrock.log()
    assert asked["path"] == f"/model/{HAIKU}/converse"
    assert "/eu-central-1/bedrock/aws4_request" in asked["headers"]["authorization"]
    assert asked["body"]["inferenceConfig"] == {"temperature": 0.5}
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.provider, row.upstream_model, row.input_tokens, row.output_tokens) == ("bedrock", HAIKU, 6, 9)


def test_a_bearers_key_is_enough(sdk: OpenAI, bedrock: Upstream) -> None:
    assert sdk.chat.completions.create(model="bearer", messages=ASK).choices[0].message.content == ECHO
    assert bedrock.log()[0]["headers"]["authorization"].startswith("Bearer ")


def test_a_forged_signature_is_our_credentials_fault(sdk: OpenAI, bedrock: Upstream) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        sdk.chat.completions.create(model="forged", messages=ASK)
    assert (raised.value.status_code, raised.value.code) == (502, "PROVIDER_AUTH_FAILED")
    assert bedrock.stats()["requests"] == 1


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


@pytest.mark.parametrize("effort", [None, "low"])
def test_a_tool_is_called_and_its_result_answered_plain_and_streamed(sdk: OpenAI, effort: str | None) -> None:
    options: Any = {"model": "claude", "tools": [WEATHER], **({"reasoning_effort": effort} if effort else {})}
    plain = sdk.chat.completions.create(messages=ASK, **options).choices[0]
    with sdk.chat.completions.stream(messages=ASK, **options) as stream:
        streamed = stream.get_final_completion().choices[0]
    for choice in (plain, streamed):
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls or []
        assert json.loads(call.function.arguments) == {"city": "simulated city"}
        message: Any = choice.message.model_dump()
        if effort:
            assert message["reasoning_content"].startswith("[simulated]")
            assert message["reasoning_details"][0]["signature"]
        history: Any = [*ASK, message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
        answer = sdk.chat.completions.create(messages=history, **options).choices[0].message
        assert answer.content == "[simulated] The tool answered: 18 degrees"


def test_an_image_is_seen(sdk: OpenAI) -> None:
    url = {"url": f"data:image/png;base64,{PNG}"}
    content: Any = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": url}]
    answer = sdk.chat.completions.create(model="claude", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize("model", ["claude", "nova"])
def test_a_json_schema_is_kept_with_and_without_the_models_help(sdk: OpenAI, model: str) -> None:
    answer = sdk.chat.completions.parse(model=model, messages=ASK, response_format=Person).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.parsed == Person(name="simulated name", age=1)
    with sdk.chat.completions.stream(model=model, messages=ASK, response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.message.parsed


def test_texts_are_embedded_by_titan_one_by_one_and_by_cohere_together(sdk: OpenAI) -> None:
    titan = sdk.embeddings.create(model="titan", input="a cat", dimensions=256)
    assert len(titan.data[0].embedding) == 256
    assert titan.usage.prompt_tokens == 2
    cohere = sdk.embeddings.create(model="cohere", input=["a cat", "a dog"])
    assert [len(one.embedding) for one in cohere.data] == [1024, 1024]
    with pytest.raises(openai.BadRequestError, match="one text at once"):
        sdk.embeddings.create(model="titan", input=["a cat", "a dog"])


def test_an_error_of_the_request_is_told_in_the_vendors_words(sdk: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    unanswered: Any = [*ASK, {"role": "assistant", "tool_calls": [call]}, *ASK]
    with pytest.raises(openai.BadRequestError, match="Expected toolResult blocks") as raised:
        sdk.chat.completions.create(model="claude", tools=[WEATHER], messages=unanswered)
    assert raised.value.code == "ValidationException"
    with pytest.raises(openai.BadRequestError, match="model identifier is invalid"):
        sdk.chat.completions.create(model="absent", messages=ASK)


def test_what_bedrock_cannot_honour_is_refused_by_name_or_dropped_and_told(
    sdk: OpenAI, gpt: Upstream, bedrock: Upstream
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="claude", messages=ASK, seed=7)
    assert raised.value.param == "seed"
    assert bedrock.log() == []
    gpt.script("status=503")
    dropped = sdk.chat.completions.with_raw_response.create(model="last", messages=ASK, seed=7)
    assert dropped.headers["x-nexus-dropped-params"] == "seed"
    assert dropped.headers["x-nexus-route"] == "openai=503;bedrock=200"


def said(sdk: OpenAI, model: str, *, stream: bool) -> tuple[str, Any]:
    """Return the text of an answer, and its headers."""
    completions = sdk.chat.completions.with_raw_response
    if not stream:
        plain = completions.create(model=model, messages=ASK)
        return plain.parse().choices[0].message.content or "", plain.headers
    raw = completions.create(model=model, messages=ASK, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse()), raw.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    ["status=429", "status=424", "status=403", "status=503", "insufficient_quota", "error_first", "empty", "cut@2"],
)
def test_another_family_takes_over_from_bedrock(sdk: OpenAI, bedrock: Upstream, fault: str, stream: bool) -> None:
    sdk.chat.completions.create(model="first", messages=ASK)  # a success, so that no circuit opens
    bedrock.script(fault)
    text, headers = said(sdk, "first", stream=stream)
    assert text == ECHO
    assert headers["x-nexus-provider"] == "openai"
    assert headers["x-nexus-attempt"] == "2"
    assert "circuit_open" not in headers["x-nexus-route"]


@pytest.mark.parametrize("stream", [False, True])
def test_bedrock_takes_over_from_another_family(sdk: OpenAI, gpt: Upstream, stream: bool) -> None:
    gpt.script("error_first" if stream else "status=500")
    text, headers = said(sdk, "last", stream=stream)
    assert text == ECHO
    assert headers["x-nexus-provider"] == "bedrock"


@pytest.mark.parametrize(
    ("fault", "error_class"), [("no_done", "truncated"), ("bad_crc@4", "bad_response"), ("error@4", "server_error")]
)
def test_a_stream_that_breaks_off_is_no_answer(
    sdk: OpenAI, bedrock: Upstream, tenant: Client, fault: str, error_class: str
) -> None:
    bedrock.script(fault + "+drip=20")
    with sdk.chat.completions.with_streaming_response.create(model="claude", messages=ASK, stream=True) as raw:
        finishes: list[str | None] = []
        with pytest.raises(openai.APIError) as raised:
            finishes.extend(chunk.choices[0].finish_reason for chunk in raw.parse())
    assert raised.value.code == "STREAM_INTERRUPTED"
    assert set(finishes) <= {None}
    assert tenant.row(raw.headers["x-request-id"]).error_class == error_class
