"""The Gemini adapter: what becomes of every part of a request, of an answer, and of an error."""

import base64
import json
import struct
from typing import Any

import pytest

from billing.pricing import Usage
from gateway.providers.base import Completion, Failure, FailureKind, Target, Unsupported, UpstreamRequest
from gateway.providers.gemini import GEMINI
from gateway.schema import Endpoint, ModelRequest, parse
from nexus.errors import InvalidRequest

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
PNG = base64.b64encode(b"\x89PNG").decode()
VERTEX: dict[str, Any] = {"vertex": {"project": "acme", "location": "europe-west4"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}


def request(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> ModelRequest:
    given = {"messages": HELLO} if endpoint is Endpoint.CHAT else {}
    return parse(endpoint, json.dumps({"model": "m", **given, **body}).encode())


def target(model: str = "gemini-2.0-flash", *, base_path: str = "", **options: Any) -> Target:
    return Target(base_path, "the-key", model, options)


def built(model: str = "gemini-2.0-flash", options: dict[str, Any] | None = None, **body: Any) -> UpstreamRequest:
    return GEMINI.build_request(request(**body), target(model, **(options or {})))


def sent(model: str = "gemini-2.0-flash", **body: Any) -> Any:
    return json.loads(built(model, **body).body)


def call(
    name: str = "weather", call_id: str = "call_1", signature: str = "", arguments: str = '{"city":"Rome"}'
) -> Any:
    made: dict[str, Any] = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    if signature:
        made["extra_content"] = {"google": {"thought_signature": signature}}
    return made


def result(content: Any = "18 degrees", call_id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def calling(*calls: Any, **members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **members}


# --- where it goes


@pytest.mark.parametrize(
    ("base_path", "options", "model", "path"),
    [
        ("", {}, "gemini-2.0-flash", "/v1beta/models/gemini-2.0-flash:generateContent"),
        ("/v1", {}, "gemini-2.0-flash", "/v1/models/gemini-2.0-flash:generateContent"),
        ("/proxy/v1beta", {}, "gemini-2.0-flash", "/proxy/v1beta/models/gemini-2.0-flash:generateContent"),
        ("", {}, "tunedModels/mine", "/v1beta/tunedModels/mine:generateContent"),
        ("", {}, "a b?c#d", "/v1beta/models/a%20b%3Fc%23d:generateContent"),
        (
            "",
            VERTEX,
            "gemini-2.0-flash",
            "/v1/projects/acme/locations/europe-west4/publishers/google/models/gemini-2.0-flash:generateContent",
        ),
        (
            "/v1beta1",
            VERTEX,
            "endpoints/7",
            "/v1beta1/projects/acme/locations/europe-west4/endpoints/7:generateContent",
        ),
    ],
)
def test_method_and_model_stand_in_the_path(base_path: str, options: Any, model: str, path: str) -> None:
    upstream = GEMINI.build_request(request(), target(model, base_path=base_path, **options))
    assert upstream.path == path.encode()


def test_a_stream_has_a_method_of_its_own() -> None:
    chat, at = request(stream=True), target()
    assert GEMINI.build_request(chat, at).path == b"/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse"
    assert "stream" not in json.loads(GEMINI.build_request(chat, at).body)
    assert GEMINI.build_request(request(), at).path.endswith(b":generateContent")


def test_the_key_is_a_header_and_vertex_ai_gets_a_token() -> None:
    studio, vertex = dict(built().headers), dict(built(options=VERTEX).headers)
    assert (studio[b"x-goog-api-key"], b"authorization" in studio) == (b"the-key", False)
    assert (vertex[b"authorization"], b"x-goog-api-key" in vertex) == (b"Bearer the-key", False)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://generativelanguage.googleapis.com"),
        (VERTEX, "https://europe-west4-aiplatform.googleapis.com"),
        ({"vertex": {"project": "acme", "location": "global"}}, "https://aiplatform.googleapis.com"),
    ],
)
def test_googles_own_address_depends_on_the_location(options: dict[str, Any], url: str) -> None:
    assert GEMINI.own_base_url is not None
    assert GEMINI.own_base_url(options) == url


# --- messages


def test_system_and_developer_messages_are_the_system_instruction() -> None:
    messages = [{"role": "system", "content": "Be kind."}, *HELLO, {"role": "developer", "content": "Be brief."}]
    assert sent(messages=messages) == {
        "systemInstruction": {"parts": [{"text": "Be kind."}, {"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
    }


def test_a_chat_of_system_messages_alone_is_what_the_user_says() -> None:
    body = sent(messages=[{"role": "system", "content": "Tell a joke."}])
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]}


def test_the_assistant_is_the_model_and_empty_messages_are_left_out() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "assistant", "content": ""}, *HELLO]
    assert [(content["role"], content["parts"]) for content in sent(messages=messages)["contents"]] == [
        ("user", [{"text": "Hello"}]),
        ("model", [{"text": "Hi"}]),
        ("user", [{"text": "Hello"}]),
    ]


def test_an_image_goes_inline() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]
    assert sent(messages=messages)["contents"][0]["parts"] == [
        {"text": "What?"},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
    ]


@pytest.mark.parametrize("options", [{}, {"drop_unsupported": True}])
def test_an_image_by_its_address_is_refused_and_never_dropped(options: dict[str, Any]) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    with pytest.raises(Unsupported, match="data URLs only"):
        built(options=options, messages=[{"role": "user", "content": [image]}])


def test_calls_and_results_are_parts_and_the_name_comes_from_the_call() -> None:
    messages = [*HELLO, calling(call(), call("time", "call_2", arguments="")), result(), result('{"h": 9}', "call_2")]
    assert sent(messages=messages)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Rome"}}},
                {"functionCall": {"id": "call_2", "name": "time", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "call_1", "name": "weather", "response": {"result": "18 degrees"}}},
                {"functionResponse": {"id": "call_2", "name": "time", "response": {"h": 9}}},
            ],
        },
    ]


@pytest.mark.parametrize("content", ["[1, 2]", "12", "{", '"text"', "[" * 100_000])
def test_a_result_that_is_no_object_is_wrapped(content: str) -> None:
    (part,) = sent(messages=[*HELLO, calling(call()), result(content)])["contents"][2]["parts"]
    assert part["functionResponse"]["response"] == {"result": content}


def test_an_id_that_comes_again_means_the_last_call() -> None:
    messages = [*HELLO, calling(call()), result(), calling(call("time")), result()]
    contents = sent(messages=messages)["contents"]
    names = [part["functionResponse"]["name"] for at in (2, 4) for part in contents[at]["parts"]]
    assert names == ["weather", "time"]


def test_a_result_without_a_call_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="call_9"):
        built(messages=[*HELLO, calling(call()), result(call_id="call_9")])


def test_a_signature_goes_back_to_its_call() -> None:
    messages = [*HELLO, calling(call(signature="c2ln"), call("time", "call_2")), result(), result("9", "call_2")]
    first, second = sent("gemini-3-flash-preview", messages=messages)["contents"][1]["parts"]
    assert first["thoughtSignature"] == "c2ln"
    assert "thoughtSignature" not in second


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-3-flash-preview", "skip_thought_signature_validator"),
        ("gemini-3.1-pro-preview", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
        ("publishers/google/models/gemini-4-argon", "skip_thought_signature_validator"),
        ("gemini-2.5-pro", None),
        ("gemma-3-27b-it", None),
    ],
)
def test_a_call_of_another_vendor_needs_no_signature_with_new_models(model: str, signature: str | None) -> None:
    earlier = [
        *HELLO,
        calling(call(call_id="call_0")),
        result(call_id="call_0"),
        {"role": "assistant", "content": "18"},
    ]
    messages = [*earlier, *HELLO, calling(call(), call("time", "call_2")), result(), result("9", "call_2")]
    contents = sent(model, messages=messages)["contents"]
    signatures = [
        part.get("thoughtSignature") for content in contents for part in content["parts"] if "functionCall" in part
    ]
    assert signatures == [None, signature, None]


def test_what_other_families_thought_is_left_out_and_our_signature_is_kept() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "x", "format": "anthropic", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2ln", "format": "gemini", "index": 0},
    ]
    answer = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "reasoning_details": details}
    contents = sent(messages=[*HELLO, answer, *HELLO])["contents"]
    assert contents[1]["parts"] == [{"text": "Hi", "thoughtSignature": "c2ln"}]


# --- parameters


@pytest.mark.parametrize(
    ("members", "config"),
    [
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_completion_tokens": 6}, {"maxOutputTokens": 6}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 2}, {"temperature": 2}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.9}, {"topP": 0.9}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"n": 3}, {"candidateCount": 3}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": 2**31 + 7}, {"seed": 7}),
        ({"frequency_penalty": 0.5, "presence_penalty": -1}, {"frequencyPenalty": 0.5, "presencePenalty": -1}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
        ({"n": 1, "stop": None, "logprobs": False, "response_format": {"type": "text"}}, None),
    ],
)
def test_a_parameter_of_generation(members: dict[str, Any], config: dict[str, Any] | None) -> None:
    assert sent(**members).get("generationConfig") == config


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-flash-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-3-flash-preview", "xhigh", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-pro-latest", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
    ],
)
def test_an_effort_is_a_budget_or_a_level(model: str, effort: str, thinking: dict[str, Any]) -> None:
    assert sent(model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": thinking}


def test_tools_keep_their_json_schema() -> None:
    plain = {"type": "function", "function": {"name": "now"}}
    assert sent(tools=[WEATHER, plain])["tools"] == [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "Tells it", "parametersJsonSchema": SCHEMA},
                {"name": "now"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "calling_config"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_a_tool_choice_is_a_mode(choice: Any, calling_config: dict[str, Any] | None) -> None:
    config = sent(tools=[WEATHER], tool_choice=choice).get("toolConfig")
    assert config == (None if calling_config is None else {"functionCallingConfig": calling_config})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parallel_tool_calls", False),
        ("logit_bias", {"50256": -100}),
        ("prediction", {"type": "content", "content": "x"}),
        ("verbosity", "low"),
        ("web_search_options", {}),
        ("reasoning_effort", "high"),  # of a model that does not think
        ("mystery", 1),
    ],
)
def test_what_gemini_cannot_honour_is_refused_or_dropped(name: str, value: Any) -> None:
    with pytest.raises(Unsupported) as raised:
        built(**{name: value})
    assert raised.value.param == name
    upstream = built(options={"drop_unsupported": True}, **{name: value})
    assert upstream.dropped == (name,)
    assert json.loads(upstream.body) == sent()


@pytest.mark.parametrize("name", ["user", "safety_identifier", "metadata", "store", "service_tier", "prompt_cache_key"])
def test_a_hint_is_always_dropped_and_named(name: str) -> None:
    hints: dict[str, Any] = {name: "x"}
    assert built(**hints).dropped == (name,)


def test_a_legacy_completion_is_a_chat() -> None:
    completion = parse(Endpoint.COMPLETIONS, b'{"model":"m","prompt":"Hello","max_tokens":5}')
    body = json.loads(GEMINI.build_request(completion, target()).body)
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hello"}]}]


# --- answers


def answered(content: Any, **body: Any) -> Any:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = GEMINI.parse_response(request(**body), raw)
    return json.loads(answer.body) if isinstance(answer, Completion) else answer


def candidate(*parts: dict[str, Any], finish: str | None = "STOP", **members: Any) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, **members}


def test_a_plain_answer() -> None:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "cachedContentTokenCount": 4}
    body = {
        "candidates": [candidate({"text": "Hé"}, {"text": "llo"})],
        "usageMetadata": {**usage, "totalTokenCount": 19, "toolUsePromptTokenCount": 2},
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r1",
    }
    answer = GEMINI.parse_response(request(), json.dumps(body).encode())
    assert isinstance(answer, Completion)
    assert answer.usage == Usage(input_tokens=11, output_tokens=10, cached_tokens=4, reasoning_tokens=3)
    told = json.loads(answer.body)
    assert (told["id"], told["object"], told["model"]) == ("r1", "chat.completion", "gemini-2.5-flash-001")
    assert told["choices"][0]["message"]["content"] == "Héllo"
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["usage"]["total_tokens"] == 21


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *((word, "content_filter") for word in ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT")),
        *((word, "content_filter") for word in ("SPII", "IMAGE_SAFETY")),
    ],
)
def test_a_finish_reason_in_openais_words(native: str, reason: str) -> None:
    choice = answered({"candidates": [{"content": {"role": "model"}, "finishReason": native}]})["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == (reason, "")


@pytest.mark.parametrize(
    "native", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER", "SOMETHING_NEW"]
)
def test_a_finish_without_an_answer_is_a_failure(native: str) -> None:
    failure = answered({"candidates": [{"content": {}, "finishReason": native}]})
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.code, failure.moves_on) == (FailureKind.SERVER, native, True)


@pytest.mark.parametrize("blocked", [{"promptFeedback": {"blockReason": "SAFETY"}}, {"candidates": []}])
def test_a_blocked_prompt_is_filtered_content(blocked: dict[str, Any]) -> None:
    choice = answered({**blocked, "usageMetadata": {"promptTokenCount": 5}})["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "")


def test_calls_have_ids_and_signatures() -> None:
    parts: list[dict[str, Any]] = [
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "own"}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g"}},
    ]
    choice = answered({"candidates": [candidate(*parts)], "responseId": "r1"})["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": "own",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a": 1}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
        {"id": "call_r1_0_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_calls_without_any_id_never_share_one() -> None:
    body = {"candidates": [candidate({"functionCall": {"name": "f", "args": {}}})]}
    ids = {answered(body)["choices"][0]["message"]["tool_calls"][0]["id"] for _ in range(2)}
    assert len(ids) == 2


def test_thoughts_are_reasoning_and_a_signed_text_says_so() -> None:
    parts: list[dict[str, Any]] = [{"text": "Hm.", "thought": True}, {"text": "Hi", "thoughtSignature": "c2ln"}]
    message = answered({"candidates": [candidate(*parts)]})["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hi", "Hm.")
    assert message["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "c2ln", "format": "gemini", "index": 0}
    ]


def test_log_probabilities_are_openais() -> None:
    tops = [{"candidates": [{"token": "Hi", "tokenId": 1, "logProbability": -0.5}]}]
    chosen = [{"token": "Hi", "tokenId": 1, "logProbability": -0.5}]
    body = candidate({"text": "Hi"}, logprobsResult={"chosenCandidates": chosen, "topCandidates": tops})
    logprobs = answered({"candidates": [body]})["choices"][0]["logprobs"]
    one = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    assert logprobs["content"] == [{**one, "top_logprobs": [one]}]


def test_candidates_are_choices_in_their_order() -> None:
    body = {"candidates": [candidate({"text": "b"}, index=1), candidate({"text": "a"}, index=0)]}
    assert [choice["message"]["content"] for choice in answered(body, n=2)["choices"]] == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"candidates": 7}', b'{"candidates":[{"content":{"parts":"x"}}]}', b"[" * 99],
)
def test_a_200_that_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    failure = answered(body)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.counts_for_breaker) == (FailureKind.PROTOCOL, True)


def test_an_answer_without_a_finish_is_truncated() -> None:
    failure = answered({"candidates": [candidate({"text": "Hi"}, finish=None)]})
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TRUNCATED


# --- errors


def error(status: int, word: str = "", message: str = "words", *details: dict[str, Any]) -> bytes:
    return json.dumps(
        {"error": {"code": status, "message": message, "status": word, "details": list(details)}}
    ).encode()


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "RequestsPerDayPerModel"}],
}
PER_MINUTE = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerMinute"}]}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error(400, "INVALID_ARGUMENT"), FailureKind.REQUEST),
        (400, error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), FailureKind.AUTH),
        (400, error(400, "INVALID_ARGUMENT", "words", BAD_KEY), FailureKind.AUTH),
        (400, error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), FailureKind.AUTH),
        (400, error(400, "FAILED_PRECONDITION"), FailureKind.REQUEST),
        (401, error(401, "UNAUTHENTICATED"), FailureKind.AUTH),
        (403, error(403, "PERMISSION_DENIED"), FailureKind.AUTH),
        (404, error(404, "NOT_FOUND"), FailureKind.REQUEST),
        (429, error(429, "RESOURCE_EXHAUSTED", "words", PER_MINUTE, WAIT), FailureKind.RATE_LIMIT),
        (429, error(429, "RESOURCE_EXHAUSTED", "words", PER_DAY, WAIT), FailureKind.QUOTA),
        (429, b"[" + error(429, "RESOURCE_EXHAUSTED", "words", PER_DAY) + b"]", FailureKind.QUOTA),
        (429, error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), FailureKind.QUOTA),
        (500, error(500, "INTERNAL"), FailureKind.SERVER),
        (503, error(503, "UNAVAILABLE"), FailureKind.SERVER),
        (504, error(504, "DEADLINE_EXCEEDED"), FailureKind.SERVER),
        (502, b"<html>Bad Gateway</html>", FailureKind.SERVER),
        (400, b'{"error": "words"}', FailureKind.REQUEST),
        (429, b'{"error": {"details": [7, {"violations": [7]}, {"violations": "x"}]}}', FailureKind.RATE_LIMIT),
    ],
)
def test_every_error_has_its_class(status: int, body: bytes, kind: FailureKind) -> None:
    failure = GEMINI.parse_error(status, (), body)
    assert (failure.kind, failure.status) == (kind, status)
    assert failure.message


def test_the_words_and_the_wait_are_googles() -> None:
    failure = GEMINI.parse_error(429, (), error(429, "RESOURCE_EXHAUSTED", "Slow down.", PER_MINUTE, WAIT))
    assert (failure.message, failure.code) == ("Slow down.", "RESOURCE_EXHAUSTED")
    assert failure.retry_after_seconds == 34.07
    assert GEMINI.parse_error(429, ((b"retry-after", b"2"),), error(429, "", "", WAIT)).retry_after_seconds == 2


@pytest.mark.parametrize("delay", ["soon", "-3s", "nans", "infs", "1e99s", 34, None])
def test_a_wait_that_is_no_duration_is_none(delay: Any) -> None:
    assert GEMINI.parse_error(429, (), error(429, "", "", {"retryDelay": delay})).retry_after_seconds is None


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        (503, FailureKind.SERVER, 200),
        (429, FailureKind.RATE_LIMIT, 200),
        (403, FailureKind.AUTH, 200),
        (400, FailureKind.REQUEST, 400),
        ("odd", FailureKind.SERVER, 200),
    ],
)
def test_a_200_with_an_error_in_it_is_that_failure(code: Any, kind: FailureKind, status: int) -> None:
    failure = answered({"error": {"code": code, "message": "words", "status": "X"}})
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status, failure.message) == (kind, status, "words")


# --- models


def test_the_models_are_listed_where_each_api_has_them() -> None:
    studio, vertex = GEMINI.models_request(target()), GEMINI.models_request(target(base_path="/v1", **VERTEX))
    assert studio.path == b"/v1beta/models?pageSize=1000"
    assert dict(studio.headers)[b"x-goog-api-key"] == b"the-key"
    assert vertex.path == b"/v1beta1/publishers/google/models?pageSize=1000"
    assert dict(vertex.headers)[b"authorization"] == b"Bearer the-key"
    assert GEMINI.parse_models(b'{"models":[{"name":"models/a"},{"name":"models/b"}]}') == ["a", "b"]
    assert GEMINI.parse_models(b'{"publisherModels":[{"name":"publishers/google/models/c"}]}') == ["c"]


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"models": 7}', b'{"data": []}'])
def test_another_vendors_list_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        GEMINI.parse_models(body)


# --- embeddings


def embedded(options: dict[str, Any] | None = None, **body: Any) -> UpstreamRequest:
    embedding = request(Endpoint.EMBEDDINGS, **body)
    return GEMINI.build_request(embedding, target("gemini-embedding-001", **(options or {})))


@pytest.mark.parametrize(("given", "texts"), [("a", ["a"]), (["a", "b"], ["a", "b"])])
def test_texts_are_embedded_in_one_batch(given: Any, texts: list[str]) -> None:
    upstream = embedded(input=given, dimensions=256, encoding_format="float", user="u")
    assert upstream.path == b"/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert upstream.dropped == ("user",)
    assert json.loads(upstream.body)["requests"] == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "outputDimensionality": 256,
        }
        for text in texts
    ]


def test_vertex_ai_predicts_embeddings() -> None:
    upstream = embedded(VERTEX, input=["a"], dimensions=256)
    assert upstream.path.endswith(b"/publishers/google/models/gemini-embedding-001:predict")
    assert json.loads(upstream.body) == {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 256}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"] * 101}, "input"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "dimensions": "many"}, "dimensions"),
        ({"input": "x", "task": "query"}, "task"),
    ],
)
def test_an_embedding_that_gemini_cannot_make(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        embedded(**body)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"embeddings": [{"values": [0.5, -1]}], "usageMetadata": {"promptTokenCount": 3}}, Usage(3, 0)),
        (
            {"predictions": [{"embeddings": {"values": [0.5, -1], "statistics": {"token_count": 3.0}}}]},
            Usage(3, 0),
        ),
    ],
)
def test_vectors_are_told_as_openai_tells_them(body: dict[str, Any], usage: Usage) -> None:
    asked = request(Endpoint.EMBEDDINGS, input="x")
    answer = GEMINI.parse_response(asked, json.dumps(body).encode())
    assert isinstance(answer, Completion)
    assert answer.usage == usage
    told = json.loads(answer.body)
    assert told["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, -1]}]
    assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = GEMINI.parse_response(
        request(Endpoint.EMBEDDINGS, input="x", encoding_format="base64"), json.dumps(body).encode()
    )
    assert isinstance(packed, Completion)
    assert base64.b64decode(json.loads(packed.body)["data"][0]["embedding"]) == struct.pack("<2f", 0.5, -1)


def test_usage_that_is_not_told_is_estimated() -> None:
    answer = GEMINI.parse_response(request(Endpoint.EMBEDDINGS, input="x" * 400), b'{"embeddings":[{"values":[1]}]}')
    assert isinstance(answer, Completion)
    assert answer.usage is not None
    assert answer.usage.estimated
    assert answer.usage.input_tokens > 0


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embeddings": 7}', b'{"embeddings": [{"values": "x"}]}'])
def test_a_200_without_vectors_is_a_protocol_failure(body: bytes) -> None:
    failure = GEMINI.parse_response(request(Endpoint.EMBEDDINGS, input="x"), body)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL
