"""The Anthropic family: each member of a chat on its way to Claude, and each part of a message on its way back."""

import json
from typing import Any

import pytest

from billing.pricing import Usage
from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.anthropic_models import traits_of
from gateway.providers.anthropic_schema import enforceable
from gateway.providers.base import Completion, Failure, FailureKind, Target, Unsupported, UpstreamRequest
from gateway.schema import Endpoint, ModelRequest, parse
from nexus.errors import InvalidRequest

MODEL = "claude-sonnet-4-6"
NEWEST = "claude-opus-5-5"
BUDGET = "claude-haiku-4-5"
OLD = "claude-3-5-haiku-20241022"
HI = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": SCHEMA}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def request(**body: Any) -> ModelRequest:
    return parse(Endpoint.CHAT, json.dumps({"model": "m", "messages": [HI], **body}).encode())


def built(*, model: str = MODEL, options: dict[str, Any] | None = None, **body: Any) -> UpstreamRequest:
    target = Target("", "sk-ant-secret", model, options or {})
    return ANTHROPIC.build_request(request(**body), target)


def sent(**body: Any) -> dict[str, Any]:
    """Return the upstream's body for a chat's."""
    content: dict[str, Any] = json.loads(built(**body).body)
    return content


def refused(**body: Any) -> str | None:
    with pytest.raises(Unsupported) as raised:
        built(**body)
    return raised.value.param


def call(call_id: str = "call_1", arguments: str = '{"city":"Rome"}', name: str = "weather") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def loop(*calls: dict[str, Any], **assistant: Any) -> list[dict[str, Any]]:
    """Return a history whose last word is the tools'."""
    results = [{"role": "tool", "tool_call_id": one["id"], "content": "18"} for one in calls]
    return [HI, {"role": "assistant", "content": None, "tool_calls": list(calls), **assistant}, *results]


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


# --- the request


def test_it_goes_to_messages_with_the_key_and_the_version() -> None:
    upstream = built()
    headers = dict(upstream.headers)
    assert upstream.path == b"/v1/messages"
    assert headers[b"x-api-key"] == b"sk-ant-secret"
    assert headers[b"anthropic-version"] == b"2023-06-01"
    assert headers[b"accept"] == b"application/json"
    assert b"authorization" not in headers
    assert dict(built(stream=True).headers)[b"accept"] == b"text/event-stream"
    assert dict(built(options={"anthropic_version": "2026-10-21"}).headers)[b"anthropic-version"] == b"2026-10-21"


@pytest.mark.parametrize(
    ("base_path", "path"), [("", b"/v1/messages"), ("/v1", b"/v1/messages"), ("/claude", b"/claude/v1/messages")]
)
def test_a_version_in_the_base_url_is_not_doubled(base_path: str, path: bytes) -> None:
    target = Target(base_path, "", MODEL, {})
    assert ANTHROPIC.build_request(request(), target).path == path
    assert ANTHROPIC.models_request(target).path == path.replace(b"messages", b"models?limit=1000")


def test_the_upstream_model_is_asked_and_a_limit_is_always_given() -> None:
    assert sent() == {"model": MODEL, "max_tokens": 64_000, "messages": [{"role": "user", "content": [text("Hi")]}]}
    assert sent(max_tokens=5)["max_tokens"] == sent(max_completion_tokens=5)["max_tokens"] == 5
    assert sent(stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-opus-20240229", 4096),
        (OLD, 8192),
        ("claude-opus-4-1-20250805", 32_000),
        ("anthropic/claude-sonnet-4.5", 64_000),
        (NEWEST, 64_000),
        ("somebody-elses-model", 8192),
    ],
)
def test_the_default_limit_is_what_the_models_generation_can(model: str, most: int) -> None:
    assert sent(model=model)["max_tokens"] == most


def test_system_and_developer_messages_are_the_system_prompt_wherever_they_stand() -> None:
    body = sent(messages=[{"role": "system", "content": "A"}, HI, {"role": "developer", "content": [text("B")]}])
    assert body["system"] == [text("A"), text("B")]
    assert body["messages"] == [{"role": "user", "content": [text("Hi")]}]


def test_marks_of_the_cache_are_kept_where_the_client_put_them() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": PIXEL}, **mark}
    body = sent(
        messages=[
            {"role": "system", "content": [{**text("A"), **mark}, text("B")]},
            {"role": "user", "content": [{**text("Hi"), **mark}, image]},
        ],
        **mark,
    )
    assert body["system"] == [{**text("A"), **mark}, text("B")]
    assert [block.get("cache_control") for block in body["messages"][0]["content"]] == [mark["cache_control"]] * 2
    assert body["cache_control"] == mark["cache_control"]


def test_a_conversation_of_instructions_alone_is_said_by_the_user() -> None:
    body = sent(messages=[{"role": "system", "content": "Say hello."}])
    assert body["messages"] == [{"role": "user", "content": [text("Say hello.")]}]
    assert "system" not in body


def test_neighbours_of_one_role_are_one_turn_and_empty_texts_are_left_out() -> None:
    body = sent(
        messages=[
            HI,
            {"role": "user", "content": [text(""), text("there"), text(" \n")]},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": "Well"},
            HI,
        ]
    )
    assert body["messages"] == [
        {"role": "user", "content": [text("Hi"), text("there")]},
        {"role": "assistant", "content": [text("Well")]},
        {"role": "user", "content": [text("Hi")]},
    ]


def test_the_user_speaks_first_and_to_newer_models_last() -> None:
    greeting = {"role": "assistant", "content": "How can I help? "}
    body = sent(messages=[greeting, HI])
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert sent(messages=[HI, greeting])["messages"][-1] == {"role": "user", "content": [text("Continue.")]}
    prefilled = sent(model=BUDGET, messages=[HI, greeting])["messages"][-1]
    assert prefilled == {"role": "assistant", "content": [text("How can I help?")]}


def test_images_are_sources_by_address_or_with_their_bytes() -> None:
    def source(url: str) -> Any:
        content = [text("What?"), {"type": "image_url", "image_url": {"url": url}}]
        return sent(messages=[{"role": "user", "content": content}])["messages"][0]["content"][1]["source"]

    assert source(PIXEL) == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert source(PIXEL.replace("png", "jpg"))["media_type"] == "image/jpeg"
    assert source("https://example.com/a.png") == {"type": "url", "url": "https://example.com/a.png"}
    for url in ("http://example.com/a.png", PIXEL.replace("png", "tiff")):
        with pytest.raises(Unsupported):
            source(url)


def test_tools_have_their_schema_or_an_empty_one() -> None:
    bare = {"type": "function", "function": {"name": "refresh"}}
    assert sent(tools=[WEATHER, bare])["tools"] == [
        {"name": "weather", "description": "Now.", "input_schema": SCHEMA},
        {"name": "refresh", "input_schema": {"type": "object", "properties": {}}},
    ]


def test_a_strict_tools_schema_is_one_that_can_be_enforced() -> None:
    function = {**WEATHER["function"], "strict": True}  # type: ignore[dict-item]
    (tool,) = sent(tools=[{"type": "function", "function": function}])["tools"]
    assert tool["strict"] is True
    assert tool["input_schema"] == {**SCHEMA, "additionalProperties": False}


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"type": "tool", "name": "weather"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_the_choice_of_tools_is_translated(members: dict[str, Any], choice: Any) -> None:
    assert sent(tools=[WEATHER], **members).get("tool_choice") == choice


def test_calls_and_results_are_blocks_and_all_results_of_a_turn_come_first() -> None:
    history = [*loop(call("call_1"), call("call_2"), content="Looking."), {"role": "user", "content": "And?"}]
    use = {"type": "tool_use", "name": "weather", "input": {"city": "Rome"}}
    result = {"type": "tool_result", "content": [text("18")]}
    assert sent(messages=history, tools=[WEATHER])["messages"][1:] == [
        {"role": "assistant", "content": [text("Looking."), {**use, "id": "call_1"}, {**use, "id": "call_2"}]},
        {
            "role": "user",
            "content": [{**result, "tool_use_id": "call_1"}, {**result, "tool_use_id": "call_2"}, text("And?")],
        },
    ]


def test_an_empty_result_is_one_without_content() -> None:
    history = loop(call())
    history[-1]["content"] = ""
    assert sent(messages=history)["messages"][-1]["content"] == [{"type": "tool_result", "tool_use_id": "call_1"}]


def test_ids_that_the_api_refuses_are_rewritten_in_call_and_result_alike() -> None:
    body = sent(messages=loop(call("functions.weather:0")), tools=[WEATHER])
    use, result = body["messages"][1]["content"][0], body["messages"][2]["content"][0]
    assert use["id"] == result["tool_use_id"]
    assert use["id"].startswith("toolu_")
    assert sent(messages=loop(call("functions.weather:0")))["messages"][1]["content"][0]["id"] == use["id"]


def test_a_history_with_calls_defines_its_tools_even_without_any() -> None:
    body = sent(messages=loop(call()))
    assert body["tools"] == [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}


def test_arguments_that_are_no_object_are_refused() -> None:
    assert sent(messages=loop(call(arguments="")))["messages"][1]["content"][0]["input"] == {}
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        sent(messages=loop(call(arguments="[1]")))


def test_signed_thoughts_of_this_family_go_back_unchanged_and_no_others() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic", "index": 0},
        {"type": "reasoning.encrypted", "data": "sealed", "format": "anthropic", "index": 1},
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "gemini", "index": 2},
        {"type": "reasoning.text", "text": "unsigned", "format": "anthropic", "index": 3},
    ]
    assistant = loop(call(), reasoning_details=details, reasoning_content="Hm.")
    assert sent(messages=assistant)["messages"][1]["content"][:-1] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "sealed"},
    ]


def test_temperature_is_clamped_and_the_default_needs_no_saying() -> None:
    assert sent(temperature=0.3)["temperature"] == 0.3
    assert sent(temperature=1.7)["temperature"] == 1.0
    for members in ({"temperature": 1}, {"temperature": None}, {"top_p": 1.0}):
        body = sent(model=NEWEST, **members)
        assert not {"temperature", "top_p"} & set(body)
    assert sent(top_p=0.5)["top_p"] == 0.5


@pytest.mark.parametrize("how", [{"model": NEWEST}, {"options": {"anthropic_version": "2026-10-21"}}])
@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_sampling_is_refused_where_it_was_removed(how: dict[str, Any], name: str) -> None:
    assert refused(**how, **{name: 0.5}) == name
    dropping: dict[str, Any] = {**how, "options": {**how.get("options", {}), "drop_unsupported": True}, name: 0.5}
    upstream = built(**dropping)
    assert name not in json.loads(upstream.body)
    assert upstream.dropped == (name,)


def test_of_temperature_and_top_p_only_one_is_taken() -> None:
    assert refused(temperature=0.5, top_p=0.5) == "top_p"
    assert sent(temperature=1, top_p=0.5)["top_p"] == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("seed", 7),
        ("logprobs", True),
        ("frequency_penalty", 0.5),
        ("presence_penalty", 0.5),
        ("logit_bias", {"50256": -100}),
        ("stop", [" "]),
        ("modalities", ["audio"]),
        ("mystery", 1),
    ],
)
def test_what_claude_cannot_honour_is_refused_by_name_or_dropped(name: str, value: Any) -> None:
    assert refused(**{name: value}) == name
    upstream = built(**{name: value}, options={"drop_unsupported": True})
    assert upstream.dropped == (name,)
    assert upstream.body == built().body


def test_hints_are_dropped_and_named_and_values_that_ask_for_nothing_are_neither() -> None:
    upstream = built(store=True, metadata={"a": "b"}, service_tier="auto", prompt_cache_key="k")
    assert upstream.dropped == ("store", "metadata", "service_tier", "prompt_cache_key")
    neutral = built(n=1, logprobs=False, frequency_penalty=0, seed=None, response_format={"type": "text"})
    assert neutral.dropped == ()


def test_the_user_is_metadata() -> None:
    assert sent(user="u1")["metadata"] == {"user_id": "u1"}
    assert sent(user="u1", safety_identifier="s1")["metadata"] == {"user_id": "s1"}
    assert "metadata" not in sent(user="x" * 300)


def test_stop_is_a_list_without_white_space() -> None:
    assert sent(stop="END")["stop_sequences"] == ["END"]
    assert sent(stop=["A", "B"])["stop_sequences"] == ["A", "B"]
    assert json.loads(built(stop=["A", "\n"], options={"drop_unsupported": True}).body)["stop_sequences"] == ["A"]


def test_a_json_schema_is_an_output_format_that_can_be_enforced() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 18}}}
    body = sent(response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}})
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"age": {"type": "integer", "description": "{minimum: 18}"}},
            "additionalProperties": False,
        },
    }


def test_any_json_object_is_asked_for_in_words() -> None:
    body = sent(response_format={"type": "json_object"}, messages=[{"role": "system", "content": "A"}, HI])
    assert body["system"][0] == text("A")
    assert "one valid JSON object" in body["system"][1]["text"]


def test_a_schema_is_closed_at_every_depth_and_tells_its_limits() -> None:
    schema = {
        "$defs": {"Pet": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}},
        "oneOf": [{"$ref": "#/$defs/Pet"}, {"type": ["object", "null"]}],
        "items": {"properties": {"at": {"type": "string", "format": "date-time"}}},
        "type": "array",
        "minItems": 3,
        "description": "Pets",
    }
    assert enforceable(schema) == {
        "$defs": {
            "Pet": {
                "type": "object",
                "properties": {"name": {"type": "string", "description": "{maxLength: 9}"}},
                "additionalProperties": False,
            }
        },
        "anyOf": [{"$ref": "#/$defs/Pet"}, {"type": ["object", "null"], "additionalProperties": False}],
        "items": {"properties": {"at": {"type": "string", "format": "date-time"}}, "additionalProperties": False},
        "type": "array",
        "description": "Pets\n\n{minItems: 3}",
    }
    assert enforceable({"type": "string", "format": "color"}) == {"type": "string", "description": '{format: "color"}'}


# --- thinking

ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "level"),
    [
        (MODEL, "low", ADAPTIVE, "low"),
        (MODEL, "minimal", ADAPTIVE, "low"),
        (MODEL, "xhigh", ADAPTIVE, "high"),
        (NEWEST, "xhigh", ADAPTIVE, "xhigh"),
        (NEWEST, "none", {"type": "disabled"}, None),
        ("claude-fable-5-2", "high", ADAPTIVE, "high"),
        ("claude-opus-4-5", "medium", {"type": "enabled", "budget_tokens": 8192}, "medium"),
        (BUDGET, "low", {"type": "enabled", "budget_tokens": 1024}, None),
        (BUDGET, "high", {"type": "enabled", "budget_tokens": 24_576}, None),
        (BUDGET, "none", {"type": "disabled"}, None),
        (OLD, "none", None, None),
    ],
)
def test_reasoning_effort_is_thinking_the_models_own_way(
    model: str, effort: str, thinking: Any, level: str | None
) -> None:
    body = sent(model=model, reasoning_effort=effort)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == level


def test_effort_is_refused_where_a_model_cannot_think_or_cannot_help_it() -> None:
    assert refused(model=OLD, reasoning_effort="high") == "reasoning_effort"
    assert refused(model="claude-fable-5-2", reasoning_effort="none") == "reasoning_effort"
    with pytest.raises(InvalidRequest, match="must be one of"):
        built(reasoning_effort="enormous")


def test_a_budget_leaves_room_for_the_answer() -> None:
    thinking = sent(model=BUDGET, reasoning_effort="high", max_tokens=4000)["thinking"]
    assert thinking == {"type": "enabled", "budget_tokens": 2000}
    short = built(model=BUDGET, reasoning_effort="high", max_tokens=500)
    assert "thinking" not in json.loads(short.body)
    assert short.dropped == ("reasoning_effort",)


def test_a_model_that_is_forced_to_call_does_not_think() -> None:
    forced: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required", "reasoning_effort": "low"}
    body = sent(**forced)
    assert "thinking" not in body
    assert body["output_config"] == {"effort": "low"}
    assert built(model=BUDGET, **forced).dropped == ("reasoning_effort",)


def test_a_loop_without_its_thoughts_goes_on_without_thinking() -> None:
    lost = built(model=BUDGET, reasoning_effort="low", messages=loop(call()), tools=[WEATHER])
    assert "thinking" not in json.loads(lost.body)
    assert lost.dropped == ("reasoning_effort",)
    thought = {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic", "index": 0}
    kept = sent(
        model=BUDGET, reasoning_effort="low", messages=loop(call(), reasoning_details=[thought]), tools=[WEATHER]
    )
    assert kept["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert sent(reasoning_effort="low", messages=loop(call()), tools=[WEATHER])["thinking"] == ADAPTIVE


def test_a_thinking_model_takes_no_other_temperature() -> None:
    assert refused(reasoning_effort="low", temperature=0.5) == "temperature"
    assert "temperature" not in sent(reasoning_effort="low", temperature=1.5)


def test_anthropics_own_word_for_thinking_is_passed_on() -> None:
    own = {"type": "enabled", "budget_tokens": 2048}
    assert sent(model=BUDGET, thinking=own)["thinking"] == own
    assert sent(model=BUDGET, thinking=own, reasoning_effort="high")["thinking"] == own
    with pytest.raises(InvalidRequest):
        sent(thinking="deeply")


def test_models_are_told_apart_by_their_names() -> None:
    assert traits_of("claude-sonnet-4-5-20250929").thinking == "budget"
    assert traits_of("claude-sonnet-4-20250514").thinking == "budget"
    assert traits_of("claude-3-7-sonnet-latest").thinking == "budget"
    assert traits_of("claude-opus-4-7").sampling is False
    assert traits_of("claude-mythos-preview").thinking == "always"
    assert traits_of("anthropic/claude-sonnet-4.6@latest").prefill is False
    assert traits_of("gpt-4o").sampling is True


# --- what cannot be asked


def test_a_legacy_prompt_is_what_the_user_says_and_embeddings_there_are_none() -> None:
    legacy = parse(Endpoint.COMPLETIONS, b'{"model":"m","prompt":"Hi"}')
    body = json.loads(ANTHROPIC.build_request(legacy, Target("", "", MODEL, {})).body)
    assert body["messages"] == [{"role": "user", "content": [text("Hi")]}]
    with pytest.raises(Unsupported):
        ANTHROPIC.build_request(parse(Endpoint.EMBEDDINGS, b'{"model":"m","input":"x"}'), Target("", "", MODEL, {}))


# --- the answer


def answered(*content: dict[str, Any], stop_reason: str | None = "end_turn", **members: Any) -> Any:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "usage": {"input_tokens": 5, "output_tokens": 7},
        **members,
    }
    return ANTHROPIC.parse_response(request(), json.dumps(body).encode())


def message_of(answer: Any) -> dict[str, Any]:
    assert isinstance(answer, Completion)
    choice: dict[str, Any] = json.loads(answer.body)["choices"][0]
    return {**choice["message"], "finish": choice["finish_reason"]}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("a_reason_to_come", "stop"),
    ],
)
def test_stop_reasons_are_finish_reasons(reason: str, finish: str) -> None:
    assert message_of(answered(text("x"), stop_reason=reason))["finish"] == finish


def test_blocks_are_text_reasoning_and_calls() -> None:
    message = message_of(
        answered(
            {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
            {"type": "redacted_thinking", "data": "sealed"},
            text("One "),
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
            text("two"),
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rom\u00e9"}},
            {"type": "tool_use", "id": "toolu_2", "name": "refresh", "input": {}},
            stop_reason="tool_use",
        )
    )
    assert message["content"] == "One two"
    assert message["reasoning_content"] == "Hm."
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic", "index": 0},
        {"type": "reasoning.encrypted", "data": "sealed", "format": "anthropic", "index": 1},
    ]
    calls = [
        (one["id"], one["function"]["name"], json.loads(one["function"]["arguments"])) for one in message["tool_calls"]
    ]
    assert calls == [("toolu_1", "weather", {"city": "Rom\u00e9"}), ("toolu_2", "refresh", {})]


def test_a_refusal_without_content_is_an_empty_answer() -> None:
    message = message_of(answered(stop_reason="refusal"))
    assert (message["content"], message["finish"]) == ("", "content_filter")


def test_tokens_of_the_cache_are_input_too() -> None:
    usage = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    answer = answered(text("x"), usage=usage)
    assert answer.usage == Usage(
        input_tokens=325, output_tokens=7, cached_tokens=300, cache_write_tokens=20, reasoning_tokens=3
    )
    told = json.loads(answer.body)["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (325, 7, 332)
    assert answered(text("x"), usage=None).usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"type":"message","content":[]}',
        b'{"type":"message","content":"Hi","stop_reason":"end_turn"}',
        b'{"object":"chat.completion","choices":[]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_a_broken_answer(body: bytes) -> None:
    failure = ANTHROPIC.parse_response(request(), body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL


# --- errors


def told(kind: str, message: str = "No.", **error: Any) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **error}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, told("invalid_request_error"), FailureKind.REQUEST, None),
        (
            400,
            told("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
            FailureKind.REQUEST,
            "context_length_exceeded",
        ),
        (400, told("invalid_request_error", "Your credit balance is too low to access"), FailureKind.AUTH, None),
        (401, told("authentication_error"), FailureKind.AUTH, None),
        (402, told("billing_error"), FailureKind.AUTH, None),
        (403, told("permission_error"), FailureKind.AUTH, None),
        (404, told("not_found_error"), FailureKind.REQUEST, None),
        (413, told("request_too_large"), FailureKind.REQUEST, None),
        (429, told("rate_limit_error"), FailureKind.RATE_LIMIT, None),
        (
            429,
            told("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
            FailureKind.QUOTA,
            "enforced_spend_limit_reached",
        ),
        (500, told("api_error"), FailureKind.SERVER, None),
        (504, told("timeout_error"), FailureKind.SERVER, None),
        (529, told("overloaded_error"), FailureKind.SERVER, None),
        (502, b"<html>", FailureKind.SERVER, None),
    ],
)
def test_errors_are_classified_by_status_and_then_by_words(
    status: int, body: bytes, kind: FailureKind, code: str | None
) -> None:
    failure = ANTHROPIC.parse_error(status, ((b"retry-after", b"7"),), body)
    assert (failure.kind, failure.status, failure.code) == (kind, status, code)
    assert failure.retry_after_seconds == 7
    assert failure.message


def test_the_list_of_models_is_read() -> None:
    assert ANTHROPIC.parse_models(b'{"data":[{"type":"model","id":"a"},{"id":"b"}],"has_more":false}') == ["a", "b"]
    with pytest.raises(ValueError, match="malformed"):
        ANTHROPIC.parse_models(b"<html>")
