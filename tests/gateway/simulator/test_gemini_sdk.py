"""Google's own SDK takes the simulator for the Gemini API, and for Vertex AI."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from pydantic import BaseModel

from tests.upstream import Upstream

MODEL = "gemini-2.0-flash"  # one that does not think
THINKER = "gemini-2.5-flash"
SIGNER = "gemini-3-flash-preview"


def function(name: str, **properties: Any) -> types.FunctionDeclaration:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return types.FunctionDeclaration(name=name, description=name, parameters_json_schema=schema)


WEATHER = function("weather", city={"type": "string"}, days={"type": "integer", "minimum": 2})
TIME = function("time", zone={"enum": ["UTC", "CET"]})
TOOLS: Any = [types.Tool(function_declarations=[WEATHER, TIME])]


@pytest.fixture(scope="module")
def google() -> Iterator[Upstream]:
    with Upstream(family="gemini") as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(google: Upstream) -> None:
    google.reset()


def client(upstream: Upstream, api_key: str = "key", **options: Any) -> genai.Client:
    return genai.Client(api_key=api_key, http_options=types.HttpOptions(base_url=upstream.base_url, **options))


@pytest.fixture(scope="module")
def sdk(google: Upstream) -> genai.Client:
    return client(google)


def ask(sdk: genai.Client, contents: Any = "Hello there", model: str = MODEL, **config: Any) -> Any:
    return sdk.models.generate_content(model=model, contents=contents, config=types.GenerateContentConfig(**config))


def stream(sdk: genai.Client, contents: Any = "Hello there", model: str = MODEL, **config: Any) -> list[Any]:
    options = types.GenerateContentConfig(**config)
    return list(sdk.models.generate_content_stream(model=model, contents=contents, config=options))


def test_a_plain_answer_echoes_and_says_that_it_is_simulated(sdk: genai.Client) -> None:
    answer = ask(sdk)
    assert answer.text == "[simulated] You said: Hello there"
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert answer.candidates[0].content.role == "model"
    assert (answer.model_version, bool(answer.response_id)) == (MODEL, True)
    assert answer.sdk_http_response.headers["x-nexus-simulated"] == "gemini"


def test_usage_is_a_fourth_of_the_bytes(sdk: genai.Client) -> None:
    usage = ask(sdk, system_instruction="Be kind").usage_metadata
    assert usage.prompt_token_count == 3 + 2  # "Hello there" has 11 bytes, "Be kind" 7
    assert usage.candidates_token_count == 9
    assert usage.total_token_count == 14
    assert usage.thoughts_token_count is None


def test_a_stream_is_words_and_a_finish(sdk: genai.Client) -> None:
    chunks = stream(sdk)
    assert [chunk.text for chunk in chunks] == ["[simulated] ", "You ", "said: ", "Hello ", "there", ""]
    assert [chunk.candidates[0].finish_reason for chunk in chunks] == [None] * 5 + [types.FinishReason.STOP]
    assert len({chunk.response_id for chunk in chunks}) == 1
    assert chunks[0].usage_metadata.candidates_token_count == 3
    assert chunks[-1].usage_metadata.total_token_count == 12


def test_the_asynchronous_client_streams_too(sdk: genai.Client) -> None:
    async def collect() -> str:
        chunks = await sdk.aio.models.generate_content_stream(model=MODEL, contents="Hello there")
        said = "".join([chunk.text or "" async for chunk in chunks])
        await sdk.aio.aclose()
        return said

    assert asyncio.run(collect()) == "[simulated] You said: Hello there"


def test_without_sse_a_stream_is_a_json_array(google: Upstream) -> None:
    answer = httpx.post(
        f"{google.origin}/v1beta/models/{MODEL}:streamGenerateContent?key=any",
        json={"contents": {"parts": {"text": "Hi"}}},
    )
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    pieces = [item["candidates"][0]["content"]["parts"][0]["text"] for item in answer.json()]
    assert "".join(pieces) == "[simulated] You said: Hi"


@pytest.mark.parametrize("model", [MODEL, THINKER, SIGNER])
def test_a_call_is_the_same_plain_and_streamed(sdk: genai.Client, model: str) -> None:
    plain = ask(sdk, model=model, tools=TOOLS)
    call = plain.function_calls[0]
    assert (call.name, call.args) == ("weather", {"city": "simulated city", "days": 2})
    assert bool(call.id) is (model == SIGNER)
    assert plain.candidates[0].finish_reason is types.FinishReason.STOP
    streamed = [call for chunk in stream(sdk, model=model, tools=TOOLS) for call in chunk.function_calls or ()]
    assert [(one.name, one.args) for one in streamed] == [(call.name, call.args)]


def test_an_openapi_schema_does_for_a_function_too(sdk: genai.Client) -> None:
    parameters = types.Schema(type=types.Type.OBJECT, properties={"on": types.Schema(type=types.Type.BOOLEAN)})
    tool: Any = types.Tool(function_declarations=[types.FunctionDeclaration(name="switch", parameters=parameters)])
    assert ask(sdk, tools=[tool]).function_calls[0].args == {"on": True}


def test_two_functions_are_called_in_parallel_and_the_first_is_signed(sdk: genai.Client) -> None:
    parts = ask(sdk, "Do both in parallel.", model=SIGNER, tools=TOOLS).candidates[0].content.parts
    assert [part.function_call.name for part in parts] == ["weather", "time"]
    assert [bool(part.thought_signature) for part in parts] == [True, False]


@pytest.mark.parametrize(
    ("mode", "allowed", "called"), [("ANY", ["time"], ["time"]), ("NONE", None, []), ("AUTO", None, ["weather"])]
)
def test_the_mode_says_what_is_called(sdk: genai.Client, mode: Any, allowed: Any, called: list[str]) -> None:
    calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=allowed)
    answer = ask(sdk, tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))
    assert [call.name for call in answer.function_calls or ()] == called


def history(answer: Any, **changes: Any) -> list[Any]:
    """Return the question, the calls as they came but for the changes, and a result for each."""
    parts = [part.model_copy(update=changes) for part in answer.candidates[0].content.parts]
    results = [
        types.Part.from_function_response(name=part.function_call.name, response={"result": "18 degrees"})
        for part in parts
    ]
    question = types.Content(role="user", parts=[types.Part(text="In parallel?")])
    return [question, types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]


@pytest.mark.parametrize("model", [MODEL, THINKER, SIGNER])
def test_a_functions_result_is_quoted(sdk: genai.Client, model: str) -> None:
    answer = ask(sdk, model=model, tools=TOOLS)
    assert ask(sdk, history(answer), model=model, tools=TOOLS).text == "[simulated] The tool answered: 18 degrees"


def test_a_new_model_wants_its_signature_back_unchanged(sdk: genai.Client) -> None:
    answer = ask(sdk, "In parallel?", model=SIGNER, tools=TOOLS)
    assert "18 degrees" in ask(sdk, history(answer), model=SIGNER, tools=TOOLS).text
    with pytest.raises(errors.ClientError, match="missing a thought_signature"):
        ask(sdk, history(answer, thought_signature=None), model=SIGNER, tools=TOOLS)
    with pytest.raises(errors.ClientError, match="Corrupted thought signature"):
        ask(sdk, history(answer, thought_signature=b"another"), model=SIGNER, tools=TOOLS)
    assert "18 degrees" in ask(sdk, history(answer, thought_signature=None), model=THINKER, tools=TOOLS).text


def test_calls_of_earlier_turns_need_no_signature(sdk: genai.Client) -> None:
    answer = ask(sdk, model=SIGNER, tools=TOOLS)
    said: list[Any] = [
        *history(answer, thought_signature=None),
        types.Content(role="model", parts=[types.Part(text="18")]),
        types.Content(role="user", parts=[types.Part(text="Thanks")]),
    ]
    assert ask(sdk, said, model=SIGNER, tools=TOOLS).function_calls


def test_the_sdk_calls_functions_by_itself(sdk: genai.Client) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"18 degrees in {city}"

    answer = ask(sdk, model=SIGNER, tools=[weather])
    assert answer.text == "[simulated] The tool answered: 18 degrees in simulated city"


def test_an_image_is_mentioned_and_counted(sdk: genai.Client) -> None:
    image = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png")
    answer = ask(sdk, [types.Part(text="What?"), image])
    assert answer.text == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    assert answer.usage_metadata.prompt_token_count == 2 + 85
    details = {one.modality: one.token_count for one in answer.usage_metadata.prompt_tokens_details}
    assert details == {types.MediaModality.TEXT: 2, types.MediaModality.IMAGE: 85}


class Person(BaseModel):
    name: str
    age: int


class Tree(BaseModel):
    name: str
    children: list["Tree"]


def test_a_schema_is_kept(sdk: genai.Client) -> None:
    answer = ask(sdk, response_mime_type="application/json", response_schema=Person)
    assert answer.parsed == Person(name="simulated name", age=1)


def test_a_json_schema_may_refer_to_itself(sdk: genai.Client) -> None:
    answer = ask(sdk, response_mime_type="application/json", response_json_schema=Tree.model_json_schema())
    assert Tree.model_validate_json(answer.text).children


def test_json_without_a_schema_is_an_object(sdk: genai.Client) -> None:
    assert json.loads(ask(sdk, response_mime_type="application/json").text)["simulated"] is True


def test_a_limit_cuts_plain_and_streamed_alike(sdk: genai.Client) -> None:
    plain = ask(sdk, max_output_tokens=5)
    assert plain.text == "[simulated] You said"
    assert plain.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    chunks = stream(sdk, max_output_tokens=5)
    assert "".join(chunk.text for chunk in chunks) == plain.text
    assert chunks[-1].candidates[0].finish_reason is types.FinishReason.MAX_TOKENS


def test_a_call_that_does_not_fit_does_not_come(sdk: genai.Client) -> None:
    answer = ask(sdk, tools=TOOLS, max_output_tokens=4)
    assert not answer.function_calls
    assert answer.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS


def test_stop_sequences_stop_and_candidates_differ(sdk: genai.Client) -> None:
    assert ask(sdk, stop_sequences=["there"]).text == "[simulated] You said: Hello "
    several = ask(sdk, candidate_count=3).candidates
    assert len({candidate.content.parts[0].text for candidate in several}) == 3
    streamed = ["", "", ""]
    for chunk in stream(sdk, candidate_count=3):
        streamed[chunk.candidates[0].index or 0] += chunk.candidates[0].content.parts[0].text
    assert streamed == [candidate.content.parts[0].text for candidate in several]


def test_thoughts_are_counted_and_shown_if_asked_for(sdk: genai.Client) -> None:
    thinking = types.ThinkingConfig(thinking_budget=100, include_thoughts=True)
    answer = ask(sdk, model=THINKER, thinking_config=thinking)
    first, second = answer.candidates[0].content.parts
    assert (first.thought, first.text) == (True, "[simulated] Thinking about: Hello there")
    assert second.text == answer.text == "[simulated] You said: Hello there"
    assert answer.usage_metadata.thoughts_token_count == 100
    assert answer.usage_metadata.total_token_count == 3 + 9 + 100
    assert stream(sdk, model=THINKER, thinking_config=thinking)[0].candidates[0].content.parts[0].thought
    off = ask(sdk, model=THINKER, thinking_config=types.ThinkingConfig(thinking_budget=0))
    assert off.usage_metadata.thoughts_token_count is None
    low = ask(sdk, model=SIGNER, thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW))
    assert low.usage_metadata.thoughts_token_count == 32


def test_log_probabilities_cover_the_text(sdk: genai.Client) -> None:
    candidate = ask(sdk, response_logprobs=True, logprobs=2).candidates[0]
    chosen = candidate.logprobs_result.chosen_candidates
    assert "".join(item.token for item in chosen) == candidate.content.parts[0].text
    assert all(len(item.candidates) == 2 for item in candidate.logprobs_result.top_candidates)


def test_a_blocked_prompt_has_no_candidates(sdk: genai.Client) -> None:
    answer = ask(sdk, "simulate blockReason SAFETY")
    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason is types.BlockedReason.SAFETY
    assert stream(sdk, "simulate blockReason OTHER")[0].prompt_feedback.block_reason is types.BlockedReason.OTHER


def test_a_filtered_answer_has_no_content(sdk: genai.Client) -> None:
    candidate = ask(sdk, "simulate finishReason SPII").candidates[0]
    assert candidate.finish_reason is types.FinishReason.SPII
    assert candidate.content.parts is None


def test_a_long_prompt_is_cached_the_second_time(sdk: genai.Client) -> None:
    cached = [ask(sdk, "x" * 8000, max_output_tokens=1).usage_metadata.cached_content_token_count for _ in range(2)]
    assert cached == [None, 1920]


def test_tokens_are_counted_without_an_answer(sdk: genai.Client) -> None:
    assert sdk.models.count_tokens(model=MODEL, contents="Hello there").total_tokens == 3


def test_embeddings_have_the_asked_size(sdk: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=256, task_type="RETRIEVAL_QUERY")
    answer = sdk.models.embed_content(model="gemini-embedding-001", contents=["a cat", "b"], config=config)
    sizes = [len(one.values or ()) for one in answer.embeddings or ()]
    assert sizes == [256, 256]
    whole = sdk.models.embed_content(model="gemini-embedding-001", contents="a cat").embeddings or []
    assert sum(number * number for number in whole[0].values or ()) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(errors.ClientError, match="at most 100 requests"):
        sdk.models.embed_content(model="gemini-embedding-001", contents=["x"] * 101)


def test_models_are_listed_page_by_page_and_looked_up(sdk: genai.Client) -> None:
    names = [model.name for model in sdk.models.list(config={"page_size": 3})]
    assert "models/gemini-2.5-pro" in names
    assert len(names) == len(set(names)) > 3
    assert sdk.models.get(model=THINKER).thinking is True
    with pytest.raises(errors.ClientError) as raised:
        sdk.models.get(model="gemini-missing")
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("fault", "exception", "code", "status"),
    [
        ("status=400", errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("status=401", errors.ClientError, 401, "UNAUTHENTICATED"),
        ("status=403", errors.ClientError, 403, "PERMISSION_DENIED"),
        ("status=404", errors.ClientError, 404, "NOT_FOUND"),
        ("status=429", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("insufficient_quota", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("status=500", errors.ServerError, 500, "INTERNAL"),
        ("status=503", errors.ServerError, 503, "UNAVAILABLE"),
        ("status=504", errors.ServerError, 504, "DEADLINE_EXCEEDED"),
        ("html502", errors.ServerError, 502, "Bad Gateway"),
    ],
)
def test_each_failure_raises_its_exception(
    sdk: genai.Client, fault: str, exception: type[errors.APIError], code: int, status: str
) -> None:
    with pytest.raises(exception) as raised:
        ask(sdk, model=f"{MODEL}!{fault}")
    assert (raised.value.code, raised.value.status) == (code, status)
    with pytest.raises(exception):
        stream(sdk, model=f"{MODEL}!{fault}")


@pytest.mark.parametrize(("fault", "before"), [("error_first", 0), ("error@3", 2)])
def test_an_error_event_raises_after_what_came_before(sdk: genai.Client, fault: str, before: int) -> None:
    chunks = sdk.models.generate_content_stream(model=f"{MODEL}!{fault}", contents="Hello there")
    assert len([next(chunks) for _ in range(before)]) == before
    with pytest.raises(errors.ServerError) as raised:
        next(chunks)
    assert (raised.value.code, raised.value.status) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("fault", ["cut@3", "no_done"])
def test_the_sdk_takes_a_cut_stream_for_an_answer(sdk: genai.Client, fault: str) -> None:
    chunks = stream(sdk, model=f"{MODEL}!{fault}")
    assert chunks
    assert all(chunk.candidates[0].finish_reason is None for chunk in chunks)


@pytest.mark.parametrize("fault", ["crlf", "comments", "split", "unknown_event", "double_finish", "no_usage", "giant"])
def test_harmless_faults_leave_the_text_alone(sdk: genai.Client, fault: str) -> None:
    chunks = stream(sdk, model=f"{MODEL}!{fault}")
    text = "".join(chunk.text or "" for chunk in chunks)
    assert text.startswith("[simulated] You said: Hello there")
    assert (len(text) > 1_000_000) is (fault == "giant")
    assert any(chunk.usage_metadata for chunk in chunks) is (fault != "no_usage")


def test_bad_json_is_not_json(sdk: genai.Client) -> None:
    with pytest.raises(errors.UnknownApiResponseError):
        stream(sdk, model=f"{MODEL}!badjson@2")


def test_an_api_key_is_checked() -> None:
    with Upstream("gemini", api_key="the-key") as upstream:
        with pytest.raises(errors.ClientError, match="API_KEY_INVALID") as raised:
            ask(client(upstream, "another-key"))
        assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
        assert ask(client(upstream, "the-key")).text
        unnamed = httpx.get(f"{upstream.origin}/v1beta/models")
        assert (unnamed.status_code, unnamed.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


def vertex(upstream: Upstream, token: str) -> genai.Client:
    return genai.Client(
        vertexai=True,
        project="acme",
        location="europe-west4",
        credentials=Credentials(token=token),  # type: ignore[no-untyped-call]  # google-auth has no types
        http_options=types.HttpOptions(base_url=upstream.base_url),
    )


def test_vertex_ai_takes_a_token_under_another_address() -> None:
    with Upstream("gemini", api_key="ya29.token") as upstream:
        sdk = vertex(upstream, "ya29.token")
        assert ask(sdk, tools=TOOLS).function_calls
        assert "".join(chunk.text for chunk in stream(sdk)) == "[simulated] You said: Hello there"
        embedding = sdk.models.embed_content(model="text-embedding-005", contents=["a", "b"])
        assert [len(one.values or ()) for one in embedding.embeddings or ()] == [768, 768]
        assert upstream.log()[0]["path"] == (
            f"/v1beta1/projects/acme/locations/europe-west4/publishers/google/models/{MODEL}:generateContent"
        )
        with pytest.raises(errors.ClientError) as raised:
            ask(vertex(upstream, "ya29.other"))
        assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")
