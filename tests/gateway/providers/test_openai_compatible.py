"""Look-alikes of OpenAI: what a preset changes in a request, and the shapes of errors and usage seen in the wild."""

import json
from typing import Any

import pytest

from billing.pricing import Usage
from gateway.providers.base import Failure, FailureKind, Target, Unsupported
from gateway.providers.openai_compatible import OPENAI_COMPATIBLE
from gateway.providers.presets import PRESETS
from gateway.schema import Endpoint
from tests.gateway.providers.round_trip import HELLO, WEATHER, request

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THOUGHT: dict[str, Any] = {
    "role": "assistant",
    "content": "Hi",
    "reasoning_content": "Hm",
    "reasoning_details": [],
    "refusal": None,
}
EVERY_PRESET = pytest.mark.parametrize("preset", sorted(PRESETS))


def built(preset: str, model: str = "some-model", *, drop: bool = False, **body: Any) -> Any:
    options = {"preset": preset, "drop_unsupported": drop}
    return OPENAI_COMPATIBLE.build_request(request(**body), Target("/v1", "key", model, options))


def sent(preset: str, model: str = "some-model", *, drop: bool = False, **body: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(built(preset, model, drop=drop, **body).body)
    return told


@EVERY_PRESET
def test_a_request_that_fits_passes_untouched(preset: str) -> None:
    asked = request(temperature=1.50, unknown={"kept": [1, 2.50]}, tools=[WEATHER], seed=3)
    plain = OPENAI_COMPATIBLE.build_request(asked, Target("/v1", "key", "public-name", {}))
    fitted = OPENAI_COMPATIBLE.build_request(asked, Target("/v1", "key", "public-name", {"preset": preset}))
    assert fitted.body is plain.body is asked.body
    assert fitted.headers == plain.headers


@EVERY_PRESET
def test_an_address_is_that_of_the_vendors_api(preset: str) -> None:
    row = PRESETS[preset]
    assert row.base_url.startswith("https://" if row.needs_key else "http://localhost:")
    assert not row.base_url.endswith("/")


@pytest.mark.parametrize(
    ("preset", "role"),
    [
        *(("groq", "system"), ("deepseek", "system"), ("together", "system"), ("fireworks", "system")),
        *(("vllm", "system"), ("ollama", "system"), ("lmstudio", "system")),
        *(("xai", "developer"), ("openrouter", "developer")),
    ],
)
def test_developers_become_the_system_where_they_are_unknown(preset: str, role: str) -> None:
    messages = [{"role": "developer", "content": "Be brief.", "extra": 1.50}, *HELLO]
    told = sent(preset, messages=messages)["messages"]
    assert told == [{"role": role, "content": "Be brief.", "extra": 1.5}, *HELLO]


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        *(("deepseek", "max_tokens"), ("together", "max_tokens"), ("fireworks", "max_tokens")),
        *(("ollama", "max_tokens"), ("lmstudio", "max_tokens")),
        *(("groq", "max_completion_tokens"), ("xai", "max_completion_tokens"), ("vllm", "max_completion_tokens")),
        ("openrouter", "max_completion_tokens"),
    ],
)
def test_the_limit_of_tokens_has_the_name_that_is_known(preset: str, name: str) -> None:
    body = sent(preset, max_completion_tokens=7)
    assert {key: body[key] for key in body if key.startswith("max")} == {name: 7}
    assert sent(preset, max_tokens=7)["max_tokens"] == 7


@pytest.mark.parametrize(
    ("preset", "left"),
    [
        ("groq", {"role", "content"}),
        ("deepseek", {"role", "content", "refusal"}),
        ("xai", {"role", "content", "refusal"}),
        ("vllm", {"role", "content", "refusal"}),
        ("openrouter", {"role", "content", "refusal", "reasoning_details"}),
    ],
)
def test_thoughts_stay_here(preset: str, left: set[str]) -> None:
    assert set(sent(preset, messages=[*HELLO, THOUGHT, *HELLO])["messages"][1]) == left


def test_deepseek_gets_the_thoughts_back_that_led_to_a_call() -> None:
    called = {**THOUGHT, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "x"}
    told = sent("deepseek", messages=[*HELLO, called, result, THOUGHT, *HELLO])["messages"]
    assert told[1]["reasoning_content"] == "Hm"
    assert "reasoning_content" not in told[3]


@pytest.mark.parametrize(
    ("preset", "model", "given", "name"),
    [
        ("groq", "m", {"n": 2}, "n"),
        ("groq", "m", {"logprobs": True}, "logprobs"),
        ("deepseek", "m", {"n": 2}, "n"),
        (
            "deepseek",
            "m",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
            "response_format",
        ),
        ("xai", "grok-4-0709", {"stop": ["x"]}, "stop"),
        ("xai", "grok-3-mini", {"presence_penalty": 1}, "presence_penalty"),
        ("ollama", "m", {"n": 2}, "n"),
        ("ollama", "m", {"tool_choice": "required"}, "tool_choice"),
        ("lmstudio", "m", {"n": 2}, "n"),
    ],
)
def test_what_a_vendor_cannot_do_is_refused_by_name_or_dropped(
    preset: str, model: str, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(Unsupported) as refused:
        built(preset, model, **given)
    assert refused.value.param == name
    upstream = built(preset, model, drop=True, **given)
    assert upstream.dropped == (name,)
    assert name not in json.loads(upstream.body)


@pytest.mark.parametrize(
    ("preset", "model", "given"),
    [
        ("groq", "m", {"n": 1, "logprobs": False}),
        ("xai", "grok-4-fast-non-reasoning", {"stop": ["x"]}),
        ("xai", "grok-3", {"presence_penalty": 1}),
        ("ollama", "m", {"tool_choice": "auto"}),
        ("deepseek", "m", {"response_format": {"type": "json_object"}}),
        ("openrouter", "m", {"n": 2, "logit_bias": {"5": 1}}),
    ],
)
def test_what_asks_for_nothing_or_is_known_goes_out(preset: str, model: str, given: dict[str, Any]) -> None:
    body = sent(preset, model, **given)
    assert {name: body[name] for name in given} == given


def test_streams_ask_for_usage_and_keep_their_other_bytes() -> None:
    body = built("groq", stream=True, messages=[{"role": "developer", "content": "x"}], unknown=[1.50]).body
    assert b'"unknown":[1.5]' in body
    assert json.loads(body)["stream_options"] == {"include_usage": True}


def test_embeddings_and_bodies_that_make_no_sense_are_the_servers_to_judge() -> None:
    asked = request(Endpoint.EMBEDDINGS, input="x", n=2)
    upstream = OPENAI_COMPATIBLE.build_request(asked, Target("/v1", "", "public-name", {"preset": "groq"}))
    assert upstream.body is asked.body
    assert sent("groq", messages=["no message", 7])["messages"] == ["no message", 7]


@pytest.mark.parametrize(
    ("body", "message", "type_", "code"),
    [
        (
            {"object": "error", "message": "bad", "type": "BadRequestError", "param": None, "code": 400},
            "bad",
            "BadRequestError",
            "400",
        ),
        ({"error": {"message": "bad", "code": 402, "metadata": {}}}, "bad", None, "402"),
        ({"error": "model not found"}, "model not found", None, None),
        ({"detail": "Not Found"}, "Not Found", None, None),
        ({"error": {"message": "bad", "type": "t", "code": "c"}}, "bad", "t", "c"),
    ],
)
def test_errors_are_read_in_every_shape(body: Any, message: str, type_: str | None, code: str | None) -> None:
    failure = OPENAI_COMPATIBLE.parse_error(400, (), json.dumps(body).encode())
    assert (failure.message, failure.type, failure.code) == (message, type_, code)


def chunk(**members: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c1", **members}).encode() + b"\n\n"


def choice(finish: str | None = None, **delta: Any) -> list[Any]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


WORD, DONE = chunk(choices=choice(content="Hi")), b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (chunk(error={"code": 429, "message": "slow"}, choices=choice("error", content="")), FailureKind.RATE_LIMIT),
        (chunk(error={"code": 402, "message": "pay"}), FailureKind.AUTH),
        (chunk(object="error", message="broke", type="InternalServerError", code=500), FailureKind.SERVER),
        (chunk(choices=choice(), x_groq={"id": "r", "error": "over capacity"}), FailureKind.SERVER),
        (chunk(error="broke"), FailureKind.SERVER),
    ],
)
@pytest.mark.parametrize("before", [b"", WORD])
def test_errors_in_a_stream_are_failures_in_every_shape(before: bytes, event: bytes, kind: FailureKind) -> None:
    stream = OPENAI_COMPATIBLE.stream_decoder(request(stream=True))
    assert stream.feed(before + event) == before
    assert stream.failure is not None
    assert stream.failure.kind is kind


@pytest.mark.parametrize(
    "last",
    [
        chunk(
            choices=choice("stop"), x_groq={"usage": {"prompt_tokens": 5, "completion_tokens": 7, "queue_time": 0.1}}
        ),
        chunk(choices=choice("stop"), usage={"prompt_tokens": 5, "completion_tokens": 7}),
        chunk(choices=[{"index": 0, "finish_reason": "stop"}], usage={"prompt_tokens": 5, "completion_tokens": 7}),
    ],
)
def test_usage_is_found_wherever_it_is(last: bytes) -> None:
    stream = OPENAI_COMPATIBLE.stream_decoder(request(stream=True))
    assert stream.feed(WORD + last + DONE) == WORD + last + DONE
    assert stream.usage == Usage(input_tokens=5, output_tokens=7)
    assert stream.finished


def test_deepseeks_cache_is_read() -> None:
    stream = OPENAI_COMPATIBLE.stream_decoder(request(stream=True))
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 2}
    stream.feed(WORD + chunk(choices=choice("stop"), usage=usage) + DONE)
    assert stream.usage == Usage(input_tokens=5, output_tokens=7, cached_tokens=3)


@pytest.mark.parametrize("body", [{"object": "error", "message": "busy"}, {"error": {"message": "busy", "code": 502}}])
def test_a_200_that_is_an_error_is_a_failure(body: Any) -> None:
    answer = OPENAI_COMPATIBLE.parse_response(request(), json.dumps(body).encode())
    assert isinstance(answer, Failure)
    assert (answer.kind, answer.message) == (FailureKind.SERVER, "busy")
