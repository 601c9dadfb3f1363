"""OpenAI's own SDK, and LangChain's on top of it, take the simulator for the real thing."""

import json
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import BaseModel

from tests.upstream import Upstream

ASK: Any = [{"role": "user", "content": "Hello there"}]
USAGE: Any = {"include_usage": True}


def function(name: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = function("weather", city={"type": "string"}, days={"type": "integer", "minimum": 2})
TIME = function("time", zone={"enum": ["UTC", "CET"]})


@pytest.fixture
def sdk(upstream: Upstream) -> OpenAI:
    return OpenAI(base_url=upstream.base_url, api_key="sk-test", max_retries=0)


def test_a_plain_answer_echoes_and_says_that_it_is_simulated(sdk: OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content == "[simulated] You said: Hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint == "fp_simulated"
    assert raw.headers["x-nexus-simulated"] == "openai"
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.headers["x-ratelimit-reset-requests"] == "6ms"


def test_usage_is_a_fourth_of_the_bytes(sdk: OpenAI) -> None:
    usage = sdk.chat.completions.create(model="gpt-4o", messages=ASK).usage
    assert usage is not None
    assert usage.prompt_tokens == 3  # "Hello there" has 11 bytes
    assert usage.completion_tokens == 9  # "[simulated] You said: Hello there" has 33
    assert usage.total_tokens == 12


def test_a_stream_is_role_words_finish(sdk: OpenAI) -> None:
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    words = [chunk.choices[0].delta.content for chunk in chunks[1:-1]]
    assert words == ["[simulated] ", "You ", "said: ", "Hello ", "there"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 6 + ["stop"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_and_only_if_it_is_asked_for(sdk: OpenAI) -> None:
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options=USAGE))
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_tool_call_is_the_same_plain_and_streamed(sdk: OpenAI) -> None:
    plain = sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER])
    call = (plain.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "simulated city", "days": 2}
    assert plain.choices[0].finish_reason == "tool_calls"
    assert plain.choices[0].message.content is None
    with sdk.chat.completions.stream(model="gpt-4o", messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    streamed = (final.choices[0].message.tool_calls or [])[0]
    assert (streamed.function.name, streamed.function.arguments) == (call.function.name, call.function.arguments)
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_streamed_call_has_its_id_and_name_on_the_first_fragment_only(sdk: OpenAI) -> None:
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER], stream=True))
    fragments = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert len(fragments) > 2
    assert fragments[0].id
    assert fragments[0].function
    assert (fragments[0].function.name, fragments[0].function.arguments) == ("weather", "")
    assert all(fragment.id is None and fragment.index == 0 for fragment in fragments[1:])


def test_two_tools_are_called_in_parallel_if_the_user_says_so(sdk: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Do both in parallel."}]
    with sdk.chat.completions.stream(model="gpt-4o", messages=messages, tools=[WEATHER, TIME]) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "time"]
    assert json.loads(calls[1].function.arguments) == {"zone": "UTC"}
    assert calls[0].id != calls[1].id
    single = sdk.chat.completions.create(
        model="gpt-4o", messages=messages, tools=[WEATHER, TIME], parallel_tool_calls=False
    )
    assert len(single.choices[0].message.tool_calls or []) == 1


def test_a_named_tool_is_called_and_none_is_none(sdk: OpenAI) -> None:
    choice: Any = {"type": "function", "function": {"name": "time"}}
    named = sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER, TIME], tool_choice=choice)
    call: Any = (named.choices[0].message.tool_calls or [])[0]
    assert call.function.name == "time"
    none = sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER], tool_choice="none")
    assert none.choices[0].message.tool_calls is None
    assert none.choices[0].finish_reason == "stop"


def test_a_tools_result_is_quoted(sdk: OpenAI) -> None:
    first = sdk.chat.completions.create(model="gpt-4o", messages=ASK, tools=[WEATHER]).choices[0].message
    call = (first.tool_calls or [])[0]
    history: Any = [*ASK, first, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    answer = sdk.chat.completions.create(model="gpt-4o", messages=history, tools=[WEATHER])
    assert answer.choices[0].message.content == "[simulated] The tool answered: 18 degrees"


def test_an_image_is_mentioned_and_counted(sdk: OpenAI) -> None:
    url = {"url": "data:image/png;base64,iVBORw0KGgo="}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": url}]}
    ]
    answer = sdk.chat.completions.create(model="gpt-4o", messages=messages)
    assert answer.choices[0].message.content == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 2 + 85


class Person(BaseModel):
    name: str
    age: int
    friends: list["Person"]


def test_a_json_schema_is_kept(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.parse(model="gpt-4o", messages=ASK, response_format=Person)
    person = answer.choices[0].message.parsed
    assert person is not None
    assert person.name == "simulated name"
    assert person.friends


def test_a_json_object_is_an_object(sdk: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "JSON please"}]
    answer = sdk.chat.completions.create(model="gpt-4o", messages=messages, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content or "")["simulated"] is True


def test_max_tokens_cuts_plain_and_streamed_alike(sdk: OpenAI) -> None:
    plain = sdk.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=5)
    assert plain.choices[0].message.content == "[simulated] You said"
    assert plain.choices[0].finish_reason == "length"
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 5
    chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=5, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "[simulated] You said"
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_stop_sequence_stops(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.create(model="gpt-4o", messages=ASK, stop=["there"])
    assert answer.choices[0].message.content == "[simulated] You said: Hello "
    assert answer.choices[0].finish_reason == "stop"


def test_n_gives_that_many_choices_streamed_side_by_side(sdk: OpenAI) -> None:
    plain = sdk.chat.completions.create(model="gpt-4o", messages=ASK, n=3)
    texts = [choice.message.content for choice in plain.choices]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    finishes = []
    for chunk in sdk.chat.completions.create(model="gpt-4o", messages=ASK, n=3, stream=True):
        choice = chunk.choices[0]
        streamed[choice.index] += choice.delta.content or ""
        finishes += [choice.index] if choice.finish_reason else []
    assert streamed == texts
    assert finishes == [0, 1, 2]


def test_logprobs_cover_the_text(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.create(model="gpt-4o", messages=ASK, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    content = logprobs.content or []
    assert "".join(item.token for item in content) == answer.choices[0].message.content
    assert all(item.logprob < 0 and len(item.top_logprobs) == 2 for item in content)


def test_a_long_prompt_is_cached_the_second_time(sdk: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "x" * 8000}]
    cached = []
    for _ in range(2):
        usage = sdk.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=1).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached == [0, 1920]


def test_a_reasoning_model_reasons_within_its_tokens(sdk: OpenAI) -> None:
    usage = sdk.chat.completions.create(model="o3", messages=ASK, reasoning_effort="low").usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 32
    assert usage.completion_tokens == 32 + 9
    short = sdk.chat.completions.create(model="gpt-5-mini", messages=ASK, max_completion_tokens=10)
    assert short.choices[0].message.content == ""
    assert short.choices[0].finish_reason == "length"


def test_embeddings_are_the_same_as_floats_and_as_base64(sdk: OpenAI) -> None:
    model = "text-embedding-3-small"
    packed = sdk.embeddings.create(model=model, input=["a cat", "b"])  # the SDK asks for base64
    plain = sdk.embeddings.create(model=model, input=["a cat", "b"], encoding_format="float")
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert [item.index for item in plain.data] == [0, 1]
    assert plain.usage.prompt_tokens == 3
    for item in plain.data:
        assert len(item.embedding) == 1536
        assert sum(number * number for number in item.embedding) == pytest.approx(1.0, abs=1e-5)


def test_similar_texts_have_similar_vectors(sdk: OpenAI) -> None:
    texts = ["The cat sat on the mat", "A cat sat on a mat", "Quarterly revenue grew by half"]
    cat, other_cat, revenue = (
        item.embedding for item in sdk.embeddings.create(model="text-embedding-3-large", input=texts).data
    )
    assert len(cat) == 3072

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert likeness(cat, other_cat) > 0.5 > likeness(cat, revenue) + 0.2


def test_embeddings_take_dimensions_and_tokens(sdk: OpenAI) -> None:
    model = "text-embedding-3-small"
    short = sdk.embeddings.create(model=model, input=[[1, 2, 3], [4]], dimensions=256)
    assert [len(item.embedding) for item in short.data] == [256, 256]
    assert len(sdk.embeddings.create(model=model, input=[1, 2, 3]).data) == 1


def test_legacy_completions_plain_and_streamed(sdk: OpenAI) -> None:
    plain = sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt=["One", "Two"], n=2)
    assert [choice.index for choice in plain.choices] == [0, 1, 2, 3]
    assert plain.choices[2].text == "[simulated] You said: Two"
    chunks = list(
        sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="One", stream=True, stream_options=USAGE)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "[simulated] You said: One"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


def test_models_are_listed_and_looked_up(sdk: OpenAI) -> None:
    assert "gpt-4o-mini" in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve("vendor/any").id == "vendor/any"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-missing")


def test_both_base_urls_work(upstream: Upstream) -> None:
    sdk = OpenAI(base_url=upstream.origin, api_key="sk-test", max_retries=0)
    assert sdk.chat.completions.create(model="gpt-4o", messages=ASK).choices


@pytest.mark.parametrize(
    ("fault", "exception", "code"),
    [
        ("status=400", openai.BadRequestError, None),
        ("status=401", openai.AuthenticationError, "invalid_api_key"),
        ("status=403", openai.PermissionDeniedError, "unsupported_country_region_territory"),
        ("status=404", openai.NotFoundError, "model_not_found"),
        ("status=409", openai.ConflictError, None),
        ("status=422", openai.UnprocessableEntityError, None),
        ("status=429;retry_after=2", openai.RateLimitError, "rate_limit_exceeded"),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("status=500", openai.InternalServerError, None),
        ("status=529", openai.InternalServerError, None),
        ("html502", openai.InternalServerError, None),
        ("reset", openai.APIConnectionError, None),
        ("cut@0", openai.APIConnectionError, None),
        ("reset@2", openai.APIConnectionError, None),
    ],
)
def test_each_failure_raises_its_exception(
    sdk: OpenAI, fault: str, exception: type[openai.APIError], code: str | None
) -> None:
    with pytest.raises(exception) as raised:
        sdk.chat.completions.create(model=f"gpt-4o!{fault}", messages=ASK)
    assert type(raised.value) is exception
    assert raised.value.code == code


@pytest.mark.parametrize("fault", ["hang", "stall_headers", "stall@2"])
def test_silence_is_a_timeout(upstream: Upstream, fault: str) -> None:
    sdk = OpenAI(base_url=upstream.base_url, api_key="sk-test", max_retries=0, timeout=0.2)
    with pytest.raises(openai.APITimeoutError):
        sdk.chat.completions.create(model=f"gpt-4o!{fault}", messages=ASK)


@pytest.mark.parametrize(("fault", "before"), [("error_first", 0), ("error@3", 2)])
def test_an_error_event_raises_after_what_came_before(sdk: OpenAI, fault: str, before: int) -> None:
    stream = sdk.chat.completions.create(model=f"gpt-4o!{fault}", messages=ASK, stream=True)
    assert len([next(stream) for _ in range(before)]) == before
    with pytest.raises(openai.APIError, match="had an error"):
        next(stream)


def test_a_wrong_key_is_refused_where_one_is_set() -> None:
    with Upstream(api_key="sk-the-only-one") as upstream:
        sdk = OpenAI(base_url=upstream.base_url, api_key="sk-another-key-1234", max_retries=0)
        with pytest.raises(openai.AuthenticationError) as raised:
            sdk.chat.completions.create(model="gpt-4o", messages=ASK)
        assert raised.value.code == "invalid_api_key"
        assert "sk-another-key-1234" not in str(raised.value)
        sdk = OpenAI(base_url=upstream.base_url, api_key="sk-the-only-one", max_retries=0)
        assert sdk.models.list().data


def test_langchain_invokes_and_streams(upstream: Upstream) -> None:
    chat = ChatOpenAI(model="gpt-4o", base_url=upstream.base_url, api_key="sk-test", max_retries=0)  # type: ignore[arg-type]  # takes a str at run time
    assert chat.invoke("Hello").content == "[simulated] You said: Hello"
    assert "".join(str(chunk.content) for chunk in chat.stream("Hello")) == "[simulated] You said: Hello"
