"""Gemini behind the gateway, as OpenAI's SDK sees it: a real runtime in front of a simulated Google."""

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
KEY = "AIza-the-secret-key"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def google() -> Iterator[Upstream]:
    with Upstream("gemini", api_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def gpt() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, google: Upstream, gpt: Upstream) -> Client:
    """A tenant whose `first-gemini` goes to Google first, `last-gemini` to it last, and the others to it alone."""
    client = make_client()
    alone = {
        "gemini": "gemini-2.0-flash",
        "thinker": "gemini-2.5-flash",
        "signer": "gemini-3-flash-preview",
        "absent": "gemini-missing",
        "vectors": "gemini-embedding-001",
    }

    def connect(name: str, models: dict[str, str], **fields: Any) -> None:
        client.add_provider(google, name=name, family="gemini", api_key=KEY, models=models, **fields)

    connect("gemini", alone)
    connect("vertex", {"vertex": "gemini-2.5-flash"}, options={"vertex": {"project": "acme", "location": "global"}})
    connect("gemini-first", {"first-gemini": "gemini-2.0-flash"})
    connect("gemini-last", {"last-gemini": "gemini-2.0-flash"}, weight=10, options={"drop_unsupported": True})
    client.add_provider(gpt, name="gpt", weight=50, models={"first-gemini": "gpt-4o", "last-gemini": "gpt-4o"})
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(servers: Servers, tenant: Client, google: Upstream, gpt: Upstream) -> OpenAI:
    google.reset()
    gpt.reset()
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


def test_a_plain_chat_is_answered_counted_and_priced(sdk: OpenAI, tenant: Client, google: Upstream) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *ASK]
    raw = sdk.chat.completions.with_raw_response.create(model="gemini", messages=messages, temperature=0.5, user="u")
    answer = raw.parse()
    assert answer.choices[0].message.content == ECHO
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 9)
    assert (raw.headers["x-nexus-provider"], raw.headers["x-nexus-model"]) == ("gemini", "gemini-2.0-flash")
    assert raw.headers["x-nexus-dropped-params"] == "user"
    assert float(raw.headers["x-nexus-cost-usd"]) > 0
    (asked,) = google.log()
    assert asked["path"] == "/v1beta/models/gemini-2.0-flash:generateContent"
    assert asked["body"]["generationConfig"] == {"temperature": 0.5}
    assert KEY not in asked["query"]
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.provider, row.upstream_model, row.input_tokens, row.output_tokens) == (
        *("gemini", "gemini-2.0-flash"),
        *(6, 9),
    )


def test_a_stream_comes_in_chunks_and_is_counted(sdk: OpenAI, tenant: Client) -> None:
    with sdk.chat.completions.with_streaming_response.create(
        model="thinker", messages=ASK, stream=True, stream_options={"include_usage": True}, reasoning_effort="low"
    ) as raw:
        chunks = list(raw.parse())
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == ECHO
    thought = "".join(delta.model_dump().get("reasoning_content") or "" for delta in deltas)
    assert thought == "[simulated] Thinking about: Hello there"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9 + 128
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.input_tokens, row.output_tokens, row.reasoning_tokens, row.usage_estimated) == (3, 137, 128, False)


@pytest.mark.parametrize("model", ["gemini", "signer"])
def test_a_tool_is_called_and_its_result_answered_plain_and_streamed(sdk: OpenAI, model: str) -> None:
    options: Any = {"model": model, "tools": [WEATHER]}
    plain = sdk.chat.completions.create(messages=ASK, **options).choices[0]
    with sdk.chat.completions.stream(messages=ASK, **options) as stream:
        streamed = stream.get_final_completion().choices[0]
    for choice in (plain, streamed):
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.model_dump()["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "simulated city"}
        assert bool(call.get("extra_content")) is (model == "signer")
        history: Any = [*ASK, choice.message, {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}]
        answer = sdk.chat.completions.create(messages=history, **options).choices[0].message
        assert answer.content == "[simulated] The tool answered: 18 degrees"


def test_the_responses_api_is_answered_too_plain_and_streamed(sdk: OpenAI) -> None:
    assert sdk.responses.create(model="gemini", input="Hello there").output_text == ECHO
    with sdk.responses.stream(model="gemini", input="Hello there") as stream:
        assert stream.get_final_response().output_text == ECHO


def test_a_history_of_another_vendor_goes_on_with_gemini(sdk: OpenAI) -> None:
    first = sdk.chat.completions.create(model="last-gemini", messages=ASK, tools=[WEATHER]).choices[0].message
    (call,) = first.tool_calls or []
    history: Any = [*ASK, first, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    answer = sdk.chat.completions.create(model="signer", messages=history, tools=[WEATHER]).choices[0].message
    assert answer.content == "[simulated] The tool answered: 18 degrees"


def test_an_image_is_seen_and_one_by_its_address_refused(sdk: OpenAI) -> None:
    def shown(url: str) -> Any:
        content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return sdk.chat.completions.create(model="gemini", messages=[{"role": "user", "content": content}])  # type: ignore[misc,list-item]  # a literal of no declared type

    encoded = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    answer = shown(f"data:image/png;base64,{encoded}")
    assert answer.choices[0].message.content == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    with pytest.raises(openai.BadRequestError, match="data URLs only"):
        shown("https://example.com/cat.png")


class Person(BaseModel):
    name: str
    friends: list["Person"]


def test_a_json_schema_is_kept(sdk: OpenAI) -> None:
    person = sdk.chat.completions.parse(model="gemini", messages=ASK, response_format=Person).choices[0].message.parsed
    assert person is not None
    assert person.name == "simulated name"


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_is_filtered_content(sdk: OpenAI, stream: bool) -> None:
    messages: Any = [{"role": "user", "content": "simulate blockReason SAFETY"}]
    answer: Any = sdk.chat.completions.create(model="gemini", messages=messages, stream=stream)
    reasons = [chunk.choices[0].finish_reason for chunk in answer] if stream else [answer.choices[0].finish_reason]
    assert reasons[-1] == "content_filter"


def test_vertex_ai_answers_under_its_own_address_with_a_token(sdk: OpenAI, google: Upstream) -> None:
    assert sdk.chat.completions.create(model="vertex", messages=ASK).choices[0].message.content == ECHO
    (asked,) = google.log()
    assert asked["path"] == (
        "/v1/projects/acme/locations/global/publishers/google/models/gemini-2.5-flash:generateContent"
    )
    assert asked["headers"]["authorization"].startswith("Bearer ")


def test_embeddings_are_the_same_as_floats_and_as_base64(sdk: OpenAI, tenant: Client) -> None:
    packed = sdk.embeddings.create(model="vectors", input=["a cat", "b"], dimensions=256)  # the SDK asks for base64
    raw = sdk.embeddings.with_raw_response.create(
        model="vectors", input=["a cat", "b"], dimensions=256, encoding_format="float"
    )
    plain = raw.parse()
    assert [len(item.embedding) for item in plain.data] == [256, 256]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.endpoint, row.status, row.input_tokens) == ("embeddings", 200, 3)


def test_an_error_of_the_request_is_told_in_googles_words(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="must be in the range") as raised:
        sdk.chat.completions.create(model="gemini", messages=ASK, top_p=7)
    assert (raised.value.type, raised.value.code) == ("invalid_request_error", "INVALID_ARGUMENT")
    with pytest.raises(openai.NotFoundError, match="Call ListModels"):
        sdk.chat.completions.create(model="absent", messages=ASK)


def test_what_gemini_cannot_honour_is_refused_by_name_or_dropped_and_told(
    sdk: OpenAI, gpt: Upstream, google: Upstream
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="gemini", messages=ASK, logit_bias={"7": 1})
    assert raised.value.param == "logit_bias"
    assert google.log() == []
    gpt.script("status=503")
    dropped = sdk.chat.completions.with_raw_response.create(model="last-gemini", messages=ASK, logit_bias={"7": 1})
    assert dropped.headers["x-nexus-dropped-params"] == "logit_bias"
    assert dropped.headers["x-nexus-route"] == "openai=503;gemini=200"


def said(sdk: OpenAI, model: str, *, stream: bool) -> tuple[str, Any]:
    """Return the text of an answer, and its headers."""
    completions = sdk.chat.completions.with_raw_response
    if not stream:
        plain = completions.create(model=model, messages=ASK)
        return plain.parse().choices[0].message.content or "", plain.headers
    raw = completions.create(model=model, messages=ASK, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse()), raw.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["status=503", "status=401", "insufficient_quota", "error_first", "empty", "cut@1"])
def test_another_family_takes_over_from_gemini(sdk: OpenAI, google: Upstream, fault: str, stream: bool) -> None:
    sdk.chat.completions.create(model="first-gemini", messages=ASK)  # a success, so that no circuit opens
    google.script(fault)
    text, headers = said(sdk, "first-gemini", stream=stream)
    assert text == ECHO
    assert headers["x-nexus-provider"] == "openai"
    assert headers["x-nexus-attempt"] == "2"
    assert "circuit_open" not in headers["x-nexus-route"]


@pytest.mark.parametrize("stream", [False, True])
def test_gemini_takes_over_from_another_family(sdk: OpenAI, gpt: Upstream, stream: bool) -> None:
    gpt.script("error_first" if stream else "status=500")
    text, headers = said(sdk, "last-gemini", stream=stream)
    assert text == ECHO
    assert headers["x-nexus-provider"] == "gemini"


@pytest.mark.parametrize("fault", ["no_done", "cut@3", "error@3"])
def test_a_stream_that_google_breaks_off_is_no_answer(
    sdk: OpenAI, google: Upstream, tenant: Client, fault: str
) -> None:
    google.script(fault)
    with sdk.chat.completions.with_streaming_response.create(model="gemini", messages=ASK, stream=True) as raw:
        finishes: list[str | None] = []
        with pytest.raises(openai.APIError) as raised:
            finishes.extend(chunk.choices[0].finish_reason for chunk in raw.parse())
    assert raised.value.code == "STREAM_INTERRUPTED"
    assert set(finishes) <= {None}
    row = tenant.row(raw.headers["x-request-id"])
    assert row.error_class == ("server_error" if fault == "error@3" else "truncated")


def test_a_key_that_google_refuses_with_400_is_our_credential(servers: Servers, sdk: OpenAI, google: Upstream) -> None:
    stranger = make_client()
    stranger.add_provider(
        google, name="gemini", family="gemini", api_key="AIza-wrong", models={"m": "gemini-2.0-flash"}
    )
    in_force(servers.door)
    theirs = OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=stranger.key, max_retries=0)
    with pytest.raises(openai.InternalServerError) as raised:
        theirs.chat.completions.create(model="m", messages=ASK)
    assert raised.value.code == "PROVIDER_AUTH_FAILED"
