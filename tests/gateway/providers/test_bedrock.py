"""Bedrock's adapter: what becomes of a chat on its way there, and of an answer on its way back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway.providers.base import Completion, Failure, FailureKind, Target, Unsupported, UpstreamRequest
from gateway.providers.bedrock import BEDROCK, sign
from gateway.providers.bedrock_request import JSON_TOOL
from gateway.schema import Endpoint, ModelRequest, parse
from nexus.errors import InvalidRequest

SONNET, OPUS = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-opus-5-5-v1:0"
HAIKU, NOVA, NOVA_2 = "anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-lite-v1:0", "amazon.nova-2-lite-v1:0"
LLAMA, GPT = "meta.llama3-3-70b-instruct-v1:0", "openai.gpt-oss-120b-1:0"
USER = {"role": "user", "content": "Hello"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tell it.", "parameters": PARAMETERS}}
SPEC = {"toolSpec": {"name": "weather", "description": "Tell it.", "inputSchema": {"json": PARAMETERS}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def request(**body: Any) -> ModelRequest:
    return parse(Endpoint.CHAT, json.dumps({"model": "m", "messages": [USER], **body}).encode())


def target(model: str = SONNET, **options: Any) -> Target:
    return Target("", "the-secret", model, options)


def built(model: str = SONNET, *, drop: bool = False, **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    upstream = BEDROCK.build_request(request(**body), target(model, drop_unsupported=drop))
    return json.loads(upstream.body), upstream.dropped


def turns(*messages: Any, **body: Any) -> Any:
    return built(messages=list(messages), **body)[0]["messages"]


# --- the request line and the credential


def test_the_models_name_is_encoded_once_in_the_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    paths = [
        BEDROCK.build_request(request(stream=stream), Target("/prefix", "", model, {})).path
        for model, stream in ((SONNET, False), (arn, True))
    ]
    assert paths[0] == b"/prefix/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    assert paths[1].startswith(b"/prefix/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.")
    assert paths[1].endswith(b"v1%3A0/converse-stream")


def test_an_access_key_signs_and_an_api_key_is_a_bearers() -> None:
    signing = target(region="eu-west-1", access_key_id="AKID")
    unsigned = BEDROCK.build_request(request(), signing)
    assert b"authorization" not in dict(unsigned.headers)
    first = sign(unsigned, signing, host=b"h", now=1_800_000_000)
    headers = dict(first.headers)
    assert headers[b"x-amz-date"] == b"20270115T080000Z"
    assert b"Credential=AKID/20270115/eu-west-1/bedrock/aws4_request" in headers[b"authorization"]
    assert b"the-secret" not in b"".join(headers.values())
    tomorrow = sign(unsigned, signing, host=b"h", now=1_800_086_400)
    assert b"AKID/20270116/" in dict(tomorrow.headers)[b"authorization"]

    bearing = target()
    sent = sign(BEDROCK.build_request(request(), bearing), bearing, host=b"h", now=1.0)
    assert dict(sent.headers)[b"authorization"] == b"Bearer the-secret"
    assert b"x-amz-date" not in dict(sent.headers)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (b"bedrock-runtime.ap-south-1.amazonaws.com", b"ap-south-1"),
        (b"bedrock-runtime-fips.us-west-2.amazonaws.com", b"us-west-2"),
        (b"bedrock.eu-north-1.amazonaws.com", b"eu-north-1"),
        (b"127.0.0.1:8000", b"us-east-1"),
    ],
)
def test_without_a_region_the_hosts_counts(host: bytes, region: bytes) -> None:
    request_ = UpstreamRequest(b"/x", (), b"")
    signed = sign(request_, target(access_key_id="AKID"), host=host, now=0.0)
    assert b"/" + region + b"/bedrock/" in dict(signed.headers)[b"authorization"]


# --- messages


def test_system_and_developer_messages_are_the_system_prompt() -> None:
    messages = [{"role": "system", "content": "One."}, USER, {"role": "developer", "content": "Two."}]
    body, _ = built(messages=messages)
    assert body["system"] == [{"text": "One."}, {"text": "Two."}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "Hello"}]}]


def test_system_messages_alone_are_said_by_the_user() -> None:
    body, _ = built(messages=[{"role": "system", "content": "Greet."}])
    assert body["messages"] == [{"role": "user", "content": [{"text": "Greet."}]}]
    assert "system" not in body


def test_neighbours_of_one_role_are_merged_and_blank_texts_left_out() -> None:
    said = {"role": "assistant", "content": "Hi."}
    assert turns(USER, {"role": "user", "content": " "}, USER, said, {"role": "assistant", "content": ""}, USER) == [
        {"role": "user", "content": [{"text": "Hello"}, {"text": "Hello"}]},
        {"role": "assistant", "content": [{"text": "Hi."}]},
        {"role": "user", "content": [{"text": "Hello"}]},
    ]


def test_the_user_begins_and_ends_where_there_is_no_prefill() -> None:
    greeting = {"role": "assistant", "content": "Hi. "}
    assert [turn["role"] for turn in turns(greeting, USER)] == ["user", "assistant", "user"]
    assert turns(USER, greeting)[-1]["content"] == [{"text": "Hi."}]
    assert [turn["role"] for turn in turns(USER, greeting, model=OPUS)] == ["user", "assistant", "user"]


def test_calls_and_all_their_results_are_two_turns_results_first() -> None:
    second = {**CALL, "id": "call_2"}
    history = [USER, {**ASKED, "tool_calls": [CALL, second]}, RESULT, USER, {**RESULT, "tool_call_id": "call_2"}]
    asked, answered = turns(*history, tools=[WEATHER])[1:]
    assert asked["content"][0]["toolUse"] == {"toolUseId": "call_1", "name": "weather", "input": {"city": "Rome"}}
    kinds = [next(iter(block)) for block in answered["content"]]
    assert kinds == ["toolResult", "toolResult", "text"]
    assert answered["content"][0]["toolResult"] == {"toolUseId": "call_1", "content": [{"text": "18 degrees"}]}


def test_an_id_that_bedrock_refuses_is_rewritten_in_call_and_result_alike() -> None:
    odd = "call|" + "x" * 80
    history = [USER, {**ASKED, "tool_calls": [{**CALL, "id": odd}]}, {**RESULT, "tool_call_id": odd}]
    once, again = turns(*history, tools=[WEATHER]), turns(*history, tools=[WEATHER])
    used, answered = once[1]["content"][0]["toolUse"]["toolUseId"], once[2]["content"][0]["toolResult"]["toolUseId"]
    assert used == answered == again[1]["content"][0]["toolUse"]["toolUseId"]
    assert used.startswith("call_")
    assert len(used) <= 64


@pytest.mark.parametrize("more", [{}, {"tools": [WEATHER], "tool_choice": "none"}])
def test_without_tools_the_calls_of_the_past_are_told_as_text(more: Any) -> None:
    body, _ = built(messages=[USER, ASKED, RESULT], **more)
    assert "toolConfig" not in body
    assert body["messages"][1]["content"] == [{"text": '[Called weather with {"city": "Rome"}]'}]
    assert body["messages"][2]["content"] == [{"text": "[weather answered: 18 degrees]"}]


def test_arguments_that_are_no_object_are_refused() -> None:
    broken = {**CALL, "function": {"name": "weather", "arguments": "[1]"}}
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        built(messages=[USER, {**ASKED, "tool_calls": [broken]}, RESULT], tools=[WEATHER])


def test_an_image_goes_as_its_bytes() -> None:
    content = turns({"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]})[0]["content"]
    assert content == [{"text": "What?"}, {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}]


@pytest.mark.parametrize("url", ["https://example.com/cat.png", "data:image/tiff;base64,AAAA"])
def test_an_image_by_its_address_or_of_another_type_is_unsupported(url: str) -> None:
    with pytest.raises(Unsupported):
        turns({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})


def test_what_is_marked_for_the_cache_gets_a_cache_point() -> None:
    part = {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "system", "content": [part]}, USER]
    assert built(messages=messages)[0]["system"] == [{"text": "Long."}, {"cachePoint": {"type": "default"}}]
    assert built(LLAMA, messages=messages)[0]["system"] == [{"text": "Long."}]


def test_bedrocks_own_reasoning_comes_back_unchanged_and_others_does_not() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "bedrock", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2VhbGVk", "format": "bedrock", "index": 1},
        {"type": "reasoning.text", "text": "No.", "signature": "x", "format": "anthropic", "index": 0},
    ]
    said = {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm.", "reasoning_details": details}
    assert turns(USER, said, USER)[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
        {"text": "Hi."},
    ]


# --- parameters


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        (SONNET, {"max_tokens": 5}, {"maxTokens": 5}),
        (SONNET, {"max_completion_tokens": 6}, {"maxTokens": 6}),
        (NOVA, {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5, "topP": 0.5}),
        (NOVA, {"temperature": 1.7}, {"temperature": 1}),
        (SONNET, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}),
        (SONNET, {"temperature": 1, "top_p": 0.5}, {"topP": 0.5}),
        (OPUS, {"temperature": 1, "top_p": 1}, None),
        (NOVA, {"stop": "a"}, {"stopSequences": ["a"]}),
        (NOVA, {"stop": ["a", "\n"]}, {"stopSequences": ["a", "\n"]}),
        (SONNET, {}, None),
    ],
)
def test_numbers_and_stops_are_the_inference_configuration(model: str, given: Any, sent: Any) -> None:
    assert built(model, **given)[0].get("inferenceConfig") == sent


@pytest.mark.parametrize(
    ("model", "given", "name"),
    [
        (SONNET, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (OPUS, {"temperature": 0.5}, "temperature"),
        (OPUS, {"top_p": 0.5}, "top_p"),
        (SONNET, {"stop": ["a", "\n"]}, "stop"),
        (SONNET, {"n": 2}, "n"),
        (SONNET, {"seed": 1}, "seed"),
        (SONNET, {"logprobs": True}, "logprobs"),
        (SONNET, {"frequency_penalty": 1}, "frequency_penalty"),
        (SONNET, {"parallel_tool_calls": False, "tools": [WEATHER]}, "parallel_tool_calls"),
        (LLAMA, {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        (LLAMA, {"response_format": JSON_SCHEMA}, "response_format"),
        (LLAMA, {"reasoning_effort": "low"}, "reasoning_effort"),
        (HAIKU, {"reasoning_effort": "low"}, "reasoning_effort"),
        (SONNET, {"reasoning_effort": "low", "temperature": 0.5}, "temperature"),
        (SONNET, {"mystery": 1}, "mystery"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_or_dropped(model: str, given: Any, name: str) -> None:
    with pytest.raises(Unsupported) as raised:
        built(model, **given)
    assert raised.value.param == name
    _, dropped = built(model, drop=True, **given)
    assert dropped == (name,)


def test_hints_are_always_left_out_and_named() -> None:
    _, dropped = built(store=True, service_tier="flex", prompt_cache_key="k")
    assert dropped == ("store", "service_tier", "prompt_cache_key")


def test_whose_request_it_is_goes_to_amazons_log() -> None:
    body, dropped = built(user="u-1", safety_identifier="s 1", metadata={"team": "a/b", "odd": "ü"})
    assert body["requestMetadata"] == {"team": "a/b", "user": "u-1", "safety_identifier": "s 1"}
    assert dropped == ("metadata",)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", None),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, sent: Any) -> None:
    config = built(tools=[WEATHER], tool_choice=choice)[0]["toolConfig"]
    assert config["tools"] == [SPEC]
    assert config.get("toolChoice") == sent


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    tool = {"type": "function", "function": {"name": "now", "strict": True}}
    spec = built(tools=[tool])[0]["toolConfig"]["tools"][0]["toolSpec"]
    schema = {"type": "object", "properties": {}}
    assert spec == {"name": "now", "inputSchema": {"json": schema}, "strict": True}


def test_a_schema_is_the_output_configuration_where_the_model_has_one() -> None:
    wanted = built(SONNET, response_format=JSON_SCHEMA)[0]["outputConfig"]["textFormat"]
    named = wanted["structure"]["jsonSchema"]
    assert (wanted["type"], named["name"]) == ("json_schema", "person")
    assert json.loads(named["schema"]) == {**SCHEMA, "additionalProperties": False}  # as Claude wants it
    named = built(GPT, response_format=JSON_SCHEMA)[0]["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert json.loads(named["schema"]) == SCHEMA


@pytest.mark.parametrize(
    ("model", "output", "schema"),
    [
        (NOVA, JSON_SCHEMA, SCHEMA),
        (HAIKU, JSON_SCHEMA, SCHEMA),
        (SONNET, {"type": "json_object"}, {"type": "object"}),
    ],
)
def test_elsewhere_json_is_the_input_of_a_tool_that_must_be_called(model: str, output: Any, schema: Any) -> None:
    config = built(model, response_format=output)[0]["toolConfig"]
    (tool,) = config["tools"]
    assert tool["toolSpec"]["name"] == JSON_TOOL
    assert tool["toolSpec"]["inputSchema"]["json"] == schema
    assert config["toolChoice"] == {"tool": {"name": JSON_TOOL}}
    beside = built(model, response_format=output, tools=[WEATHER])[0]["toolConfig"]
    assert beside["toolChoice"] == {"any": {}}
    assert len(beside["tools"]) == 2


@pytest.mark.parametrize(
    ("model", "given", "more", "effort"),
    [
        (SONNET, {"reasoning_effort": "medium"}, {"thinking": {"type": "enabled", "budget_tokens": 8192}}, None),
        (
            SONNET,
            {"reasoning_effort": "high", "max_tokens": 4000},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            None,
        ),
        (OPUS, {"reasoning_effort": "low"}, {"thinking": {"type": "adaptive", "display": "summarized"}}, "low"),
        (
            NOVA_2,
            {"reasoning_effort": "max"},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            None,
        ),
        (GPT, {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, None),
        (SONNET, {"reasoning_effort": "none"}, None, None),
    ],
)
def test_reasoning_is_asked_for_in_each_models_words(model: str, given: Any, more: Any, effort: Any) -> None:
    body, dropped = built(model, **given)
    assert body.get("additionalModelRequestFields") == more
    assert body.get("outputConfig", {}).get("effort") == effort
    assert dropped == ()


@pytest.mark.parametrize(
    "given",
    [
        {"max_tokens": 500},
        {"tools": [WEATHER], "tool_choice": "required"},
        {"tools": [WEATHER], "messages": [USER, ASKED, RESULT]},
    ],
)
def test_where_claude_cannot_think_it_answers_without(given: Any) -> None:
    body, dropped = built(SONNET, reasoning_effort="low", **given)
    assert "additionalModelRequestFields" not in body
    assert dropped == ("reasoning_effort",)


# --- embeddings

TITAN, COHERE, COHERE_4 = "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3", "eu.cohere.embed-v4:0"


def embedding(**body: Any) -> ModelRequest:
    return parse(Endpoint.EMBEDDINGS, json.dumps({"model": "m", "input": "a cat", **body}).encode())


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        (TITAN, {"dimensions": 256}, {"inputText": "a cat", "dimensions": 256}),
        (TITAN, {"input": ["a dog"]}, {"inputText": "a dog"}),
        ("amazon.titan-embed-text-v1", {}, {"inputText": "a cat"}),
        (
            COHERE,
            {"input": ["a", "b"]},
            {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]},
        ),
        (
            COHERE_4,
            {"dimensions": 512, "input_type": "search_query"},
            {"texts": ["a cat"], "input_type": "search_query", "embedding_types": ["float"], "output_dimension": 512},
        ),
    ],
)
def test_embeddings_are_asked_for_in_the_models_own_words(model: str, given: Any, sent: Any) -> None:
    upstream = BEDROCK.build_request(embedding(encoding_format="base64", **given), target(model))
    assert upstream.path.endswith(b"/invoke")
    assert json.loads(upstream.body) == sent


@pytest.mark.parametrize(
    ("model", "given", "name"),
    [
        (TITAN, {"input": ["a", "b"]}, "input"),
        (TITAN, {"input": [1, 2]}, "input"),
        (COHERE, {"input": ["a"] * 97}, "input"),
        (COHERE, {"dimensions": 256}, "dimensions"),
        ("amazon.titan-embed-text-v1", {"dimensions": 256}, "dimensions"),
        (NOVA, {}, "model"),
    ],
)
def test_embeddings_that_cannot_be_had_are_refused_by_name(model: str, given: Any, name: str) -> None:
    with pytest.raises(Unsupported) as raised:
        BEDROCK.build_request(embedding(**given), target(model))
    assert raised.value.param == name


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"embedding": [0.5, -0.25], "inputTextTokenCount": 3}, Usage(3, 0)),
        ({"embeddings": {"float": [[0.5, -0.25]]}}, None),
    ],
)
def test_vectors_come_as_floats_or_packed(body: Any, usage: Usage | None) -> None:
    for encoding, vector in ((None, [0.5, -0.25]), ("base64", "AAAAPwAAgL4=")):
        parsed = BEDROCK.parse_response(embedding(encoding_format=encoding), json.dumps(body).encode())
        assert isinstance(parsed, Completion)
        assert json.loads(parsed.body)["data"] == [{"object": "embedding", "index": 0, "embedding": vector}]
        assert parsed.usage is not None
        assert parsed.usage == usage or (usage is None and parsed.usage.estimated)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embedding": "x"}', b'{"embeddings": [[1]]}'])
def test_a_200_without_vectors_is_a_protocol_failure(body: bytes) -> None:
    failure = BEDROCK.parse_response(embedding(), body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL


# --- answers


def answer(*blocks: Any, stop: str = "end_turn", **more: Any) -> bytes:
    return json.dumps(
        {
            "output": {"message": {"role": "assistant", "content": blocks}},
            "stopReason": stop,
            "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12},
            "metrics": {"latencyMs": 1},
            **more,
        }
    ).encode()


def choice_of(body: bytes) -> dict[str, Any]:
    parsed = BEDROCK.parse_response(request(), body)
    assert isinstance(parsed, Completion)
    choice: dict[str, Any] = json.loads(parsed.body)["choices"][0]
    return choice


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_every_stop_reason_has_its_finish_reason(stop: str, finish: str) -> None:
    choice = choice_of(answer({"text": "Hi"}, {"text": "."}, stop=stop))
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hi.", finish)


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_answer_is_a_failure(stop: str) -> None:
    failure = BEDROCK.parse_response(request(), answer({"text": "Hi"}, stop=stop))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.code, failure.moves_on) == (FailureKind.SERVER, stop, True)


def test_a_call_is_a_tool_call() -> None:
    use = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Rome"}}}
    choice = choice_of(answer({"text": "Let me see."}, use, stop="tool_use"))
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["function"]) == ("tooluse_1", {"name": "weather", "arguments": '{"city":"Rome"}'})


def test_json_that_came_as_a_tools_input_is_the_text() -> None:
    use = {"toolUse": {"toolUseId": "tooluse_1", "name": JSON_TOOL, "input": {"age": 1}}}
    choice = choice_of(answer(use, stop="tool_use"))
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"age":1}', "stop")
    assert "tool_calls" not in choice["message"]


def test_reasoning_is_told_with_its_signature() -> None:
    message = choice_of(
        answer(
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
            {"text": "Hi."},
        )
    )["message"]
    assert message["reasoning_content"] == "Hm."
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "bedrock", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2VhbGVk", "format": "bedrock", "index": 1},
    ]


def test_the_caches_tokens_are_input_too() -> None:
    usage = {"inputTokens": 5, "outputTokens": 7, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 20}
    parsed = BEDROCK.parse_response(request(), answer({"text": "Hi"}, usage=usage))
    assert isinstance(parsed, Completion)
    assert parsed.usage == Usage(input_tokens=125, output_tokens=7, cached_tokens=100, cache_write_tokens=20)
    told = json.loads(parsed.body)["usage"]
    assert (told["prompt_tokens"], told["prompt_tokens_details"]["cached_tokens"]) == (125, 100)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", answer()[:-9], answer({"toolUse": {}}), answer({"text": 1})]
)
def test_a_200_that_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    failure = BEDROCK.parse_response(request(), body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL


def test_a_200_with_a_complaint_is_that_failure() -> None:
    failure = BEDROCK.parse_response(request(), b'{"message": "Busy."}')
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.message) == (FailureKind.SERVER, "Busy.")


# --- errors


@pytest.mark.parametrize(
    ("status", "name", "kind", "breaker"),
    [
        (400, "ValidationException", FailureKind.REQUEST, False),
        (400, "ServiceQuotaExceededException", FailureKind.QUOTA, False),
        (400, "ExpiredTokenException", FailureKind.AUTH, False),
        (403, "AccessDeniedException", FailureKind.AUTH, False),
        (403, "UnrecognizedClientException", FailureKind.AUTH, False),
        (403, "InvalidSignatureException", FailureKind.AUTH, False),
        (404, "ResourceNotFoundException", FailureKind.REQUEST, False),
        (408, "ModelTimeoutException", FailureKind.RATE_LIMIT, False),
        (424, "ModelErrorException", FailureKind.RATE_LIMIT, False),
        (429, "ThrottlingException", FailureKind.RATE_LIMIT, False),
        (429, "ModelNotReadyException", FailureKind.RATE_LIMIT, False),
        (500, "InternalServerException", FailureKind.SERVER, True),
        (503, "ServiceUnavailableException", FailureKind.SERVER, True),
    ],
)
@pytest.mark.parametrize("how", ["header", "body"])
def test_every_error_has_its_class(status: int, name: str, kind: FailureKind, breaker: bool, how: str) -> None:
    if how == "header":
        headers: Any = ((b"x-amzn-errortype", f"{name}:http://internal.amazon.com/coral/".encode()),)
        body = b'{"message": "Why."}'
    else:
        headers, body = (), json.dumps({"__type": f"com.amazon.bedrock#{name}", "Message": "Why."}).encode()
    failure = BEDROCK.parse_error(status, headers, body)
    assert (failure.kind, failure.code, failure.message) == (kind, name, "Why.")
    assert failure.moves_on is (kind is not FailureKind.REQUEST)
    assert failure.counts_for_breaker is breaker
    assert failure.fate == str(status)


def test_a_days_tokens_are_a_quota_that_waiting_does_not_cure() -> None:
    body = b'{"message": "Too many tokens per day, please wait before trying again."}'
    failure = BEDROCK.parse_error(429, ((b"x-amzn-errortype", b"ThrottlingException"),), body)
    assert (failure.kind, failure.may_repeat) == (FailureKind.QUOTA, False)


@given(st.binary(max_size=60))
def test_any_body_of_an_error_is_classified(body: bytes) -> None:
    assert BEDROCK.parse_error(502, (), body).kind is FailureKind.SERVER


def test_models_are_listed_by_the_control_plane() -> None:
    listing = BEDROCK.models_request(target())
    assert listing.path == b"/foundation-models"
    assert dict(listing.headers)[b"authorization"] == b"Bearer the-secret"
    assert BEDROCK.models_host is not None
    assert BEDROCK.models_host("bedrock-runtime.eu-west-1.amazonaws.com") == "bedrock.eu-west-1.amazonaws.com"
    assert BEDROCK.models_host("127.0.0.1") == "127.0.0.1"
    assert BEDROCK.parse_models(b'{"modelSummaries": [{"modelId": "a.b", "x": 1}]}') == ["a.b"]
    with pytest.raises(ValueError, match="modelSummaries"):
        BEDROCK.parse_models(b'{"data": []}')
