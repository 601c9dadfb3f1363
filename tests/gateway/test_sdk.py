"""The official SDKs, unchanged, through both doors."""

import json
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI

from tests.gateway.conftest import Client
from tests.upstream import Upstream

ASK: Any = [{"role": "user", "content": "Hello there"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def sdk(base_url: str, routed: Client) -> OpenAI:
    return OpenAI(base_url=f"{base_url}/v1", api_key=routed.key, max_retries=0)


def test_a_plain_completion(sdk: OpenAI, routed: Client) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK)
    answer = raw.parse()
    assert "Hello there" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert raw.headers["x-nexus-provider"] == "openai"
    assert raw.headers["x-nexus-attempt"] == "1"
    assert raw.headers["x-nexus-route"] == "openai=200"
    assert int(raw.headers["x-nexus-latency-ms"]) >= 0
    assert float(raw.headers["x-nexus-cost-usd"]) > 0
    row = routed.row(raw.headers["x-request-id"])
    assert (row.status, row.provider, row.model, row.streamed) == (200, "openai", "gpt-4o", False)
    assert (row.input_tokens, row.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert f"{row.cost_usd:f}" == raw.headers["x-nexus-cost-usd"]
    assert row.usage_estimated is False


def test_a_stream_without_usage_asked_for_shows_none_but_is_counted(sdk: OpenAI, routed: Client) -> None:
    with sdk.chat.completions.with_streaming_response.create(model="gpt-4o", messages=ASK, stream=True) as raw:
        assert raw.headers["cache-control"] == "no-cache, no-transform"
        assert raw.headers["x-accel-buffering"] == "no"
        chunks = list(raw.parse())
    assert "Hello there" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    row = routed.row(raw.headers["x-request-id"])
    assert row.streamed
    assert (row.input_tokens or 0) > 0
    assert (row.output_tokens or 0) > 0
    assert row.ttft_ms is not None
    assert row.usage_estimated is False


def test_include_usage_gives_the_usage_chunk(sdk: OpenAI) -> None:
    chunks = list(
        sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > 0


def test_tools_plain_and_streamed_agree(sdk: OpenAI) -> None:
    plain = sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER])
    call = (plain.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    with sdk.chat.completions.stream(model="gpt-4o", messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    streamed = (final.choices[0].message.tool_calls or [])[0]
    assert streamed.function.name == call.function.name == "weather"
    assert json.loads(streamed.function.arguments) == arguments
    assert final.choices[0].finish_reason == plain.choices[0].finish_reason == "tool_calls"


def test_embeddings_float_and_base64_are_the_same_vectors(sdk: OpenAI, routed: Client) -> None:
    decoded = sdk.embeddings.create(model="text-embedding-3-small", input=["a", "b"])  # the SDK asks for base64
    plain = sdk.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input=["a", "b"], encoding_format="float"
    )
    assert decoded.data[0].embedding == pytest.approx(plain.parse().data[0].embedding, abs=1e-6)
    row = routed.row(plain.headers["x-request-id"])
    assert (row.endpoint, row.status) == ("embeddings", 200)


def test_legacy_completions_plain_and_streamed(sdk: OpenAI) -> None:
    plain = sdk.completions.create(model="gpt-4o-mini", prompt="Hello")
    chunks = list(sdk.completions.create(model="gpt-4o-mini", prompt="Hello", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == plain.choices[0].text


def test_models_are_those_of_the_tenant(sdk: OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["gpt-4o", "gpt-4o-mini", "text-embedding-3-small"]
    assert sdk.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("vendor/unknown")


@pytest.mark.parametrize(
    ("fault", "exception", "code"),
    [
        ("status=400", openai.BadRequestError, None),
        ("status=404", openai.NotFoundError, None),
        ("status=422", openai.UnprocessableEntityError, None),
        ("status=401", openai.InternalServerError, "PROVIDER_AUTH_FAILED"),
        ("status=403", openai.InternalServerError, "PROVIDER_AUTH_FAILED"),
        ("status=429;retry_after=60", openai.RateLimitError, "RATE_LIMITED"),
        ("status=500", openai.InternalServerError, "ALL_PROVIDERS_FAILED"),
        ("badjson", openai.InternalServerError, "ALL_PROVIDERS_FAILED"),
    ],
)
def test_each_error_raises_the_right_exception(
    base_url: str,
    routed: Client,
    upstream: Upstream,
    fault: str,
    exception: type[openai.APIStatusError],
    code: str | None,
) -> None:
    upstream.script(fault, repeat=True)
    sdk = OpenAI(base_url=f"{base_url}/v1", api_key=routed.key, max_retries=0)
    with pytest.raises(exception) as raised:
        sdk.chat.completions.create(model="gpt-4o", messages=ASK)
    body: Any = raised.value.body
    if code is not None:
        assert body["code"] == code
    assert "sk-upstream-secret" not in raised.value.response.text
    assert body["request_id"] == raised.value.response.headers["x-request-id"]


def test_a_wrong_key_is_an_authentication_error(base_url: str, routed: Client) -> None:
    sdk = OpenAI(base_url=f"{base_url}/v1", api_key="nxk_" + "x" * 43, max_retries=0)
    with pytest.raises(openai.AuthenticationError) as raised:
        sdk.chat.completions.create(model="gpt-4o", messages=ASK)
    assert raised.value.code == "INVALID_API_KEY"


def test_an_unknown_model_is_not_found_by_name(sdk: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        sdk.chat.completions.create(model="gpt-99", messages=ASK)
    assert raised.value.code == "MODEL_NOT_FOUND"
    assert raised.value.param == "model"


def test_a_cut_stream_raises_instead_of_looking_finished(sdk: OpenAI, upstream: Upstream, routed: Client) -> None:
    upstream.script("cut@4")
    with sdk.chat.completions.with_streaming_response.create(model="gpt-4o", messages=ASK, stream=True) as raw:
        request_id = raw.headers["x-request-id"]
        with pytest.raises(openai.APIError) as raised:
            list(raw.parse())
    assert raised.value.code == "STREAM_INTERRUPTED"
    row = routed.row(request_id)
    assert (row.error_code, row.error_class) == ("STREAM_INTERRUPTED", "truncated")
    assert row.usage_estimated


def test_langchain_invokes_streams_and_embeds(base_url: str, routed: Client) -> None:
    chat = ChatOpenAI(model="gpt-4o", base_url=f"{base_url}/v1", api_key=routed.key, max_retries=0)  # type: ignore[arg-type]  # takes a str at run time
    assert "Hello there" in str(chat.invoke("Hello there").content)
    assert "Hello there" in "".join(str(chunk.content) for chunk in chat.stream("Hello there"))
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=f"{base_url}/v1",
        api_key=routed.key,  # type: ignore[arg-type]  # takes a str at run time
        check_embedding_ctx_length=False,
    )
    assert len(embeddings.embed_query("Hello")) == 1536
