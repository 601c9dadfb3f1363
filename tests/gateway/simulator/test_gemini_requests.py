"""The simulated Gemini API refuses what Google refuses, in Google's words."""

import base64
import json
from typing import Any

import pytest

from gateway.simulator.dialect import Circumstances, Refused, Reply, Request, Stream
from gateway.simulator.gemini import GEMINI

HELLO: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Hello"}]}]
CALL = {"functionCall": {"name": "weather", "args": {}}}
RESULT = {"functionResponse": {"name": "weather", "response": {"result": "18"}}}
PIXEL = base64.b64encode(b"pixel").decode()
MODEL = "gemini-2.5-flash"


def answer(
    path: str, body: Any = None, *, method: str = "POST", query: str = "alt=sse", **headers: str
) -> Reply | Stream:
    """Ask the dialect itself, without any socket."""
    given = {"x-goog-api-key": "key"} | {name.replace("_", "-"): value for name, value in headers.items()}
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(method, path, query, given, content)
    circumstances = Circumstances(0, "ab" * 16, 0, giant=False, with_usage=True, seen_before=lambda _: False)
    try:
        GEMINI.authenticate(request, "")
        return GEMINI.answer(request, GEMINI.look(request), circumstances)
    except Refused as refused:
        return refused.reply


def generate(model: str = MODEL, **body: Any) -> tuple[int, Any]:
    said = answer(f"/v1beta/models/{model}:generateContent", {"contents": HELLO, **body})
    assert isinstance(said, Reply)
    return said.status, json.loads(said.body)


def declared(**declaration: Any) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": "f", **declaration}]}]}


def turns(*contents: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"contents": [*HELLO, *({"role": role, "parts": [part]} for role, part in contents)]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "Please use a valid role: user, model."),
        ({"contents": [{"role": "user", "parts": []}]}, "contents.parts must not be empty"),
        (
            {"contents": [{"role": "user", "parts": [{}]}]},
            "required oneof field 'data' must have one initialized field",
        ),
        ({"contents": [{"role": "user", "parts": [{"text": "x", **CALL}]}]}, "oneof field 'data' is already set"),
        ({"contents": [{"parts": [{"text": 7}]}]}, "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 7"),
        ({"messages": []}, 'Unknown name "messages": Cannot find field.'),
        ({"generationConfig": {"max_tokens": 5}}, "Unknown name \"max_tokens\" at 'generation_config': Cannot find"),
        ({"generation_config": {"temperature": 2.5}}, "temperature must be in the range [0, 2]"),
        ({"generationConfig": {"topP": 2}}, "top_p must be in the range"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "max_output_tokens must be in the range"),
        ({"generationConfig": {"candidateCount": True}}, "'generation_config.candidate_count' (TYPE_INT), true"),
        ({"generationConfig": {"candidateCount": 9}}, "candidate_count must be in the range"),
        ({"generationConfig": {"stopSequences": list("abcdef")}}, "at most 5 stop sequences"),
        ({"generationConfig": {"logprobs": 2}}, "Logprobs is only allowed"),
        ({"generationConfig": {"responseMimeType": "text/html"}}, "allowed mimetypes are `text/plain`"),
        ({"generationConfig": {"responseJsonSchema": {}}}, "requires a response mime type"),
        (
            {
                "generationConfig": {
                    "responseMimeType": "application/json",
                    "responseSchema": {"additionalProperties": False},
                }
            },
            "Unknown name \"additionalProperties\" at 'generation_config.response_schema'",
        ),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}, "Thinking level is not supported"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}},
            "only one of thinking budget and thinking level",
        ),
        (declared(name="1st"), "Invalid function name. Must start with a letter or an underscore"),
        (
            declared(parameters={"$ref": "#/$defs/x"}),
            "Unknown name \"$ref\" at 'tools[0].function_declarations[0].parameters'",
        ),
        (declared(parameters={"type": "STRING"}), "parameters schema should be of type OBJECT"),
        (declared(parameters={"type": "OBJECT"}, parametersJsonSchema={}), "only one of parameters and"),
        ({"tools": [*declared()["tools"], *declared()["tools"]]}, "Duplicate function declaration found: f"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "set without function_declarations"),
        (
            declared() | {"toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}},
            "should only be set when mode is ANY",
        ),
        (declared() | {"toolConfig": {"functionCallingConfig": {"mode": "required"}}}, '(TYPE_ENUM), "required"'),
        (declared() | {"generationConfig": {"responseMimeType": "application/json"}}, "is unsupported"),
        (turns(("model", CALL)), "is followed by a function response turn"),
        (turns(("user", RESULT)), "response turn comes immediately after a function call turn"),
        (turns(("model", CALL), ("user", {"text": "x"})), "number of function response parts is equal"),
        (
            turns(("model", {"text": "x"}), ("model", CALL), ("user", RESULT)),
            "call turn comes immediately after a user turn",
        ),
        (turns(("model", CALL), ("user", {"functionResponse": {"name": "", "response": {}}})), "Name cannot be empty"),
        (turns(("model", CALL), ("user", {"functionResponse": {"name": "f", "response": "x"}})), '(TYPE_STRUCT), "x"'),
        (turns(("user", {"inlineData": {"mimeType": "image/gif", "data": PIXEL}})), "Unsupported MIME type: image/gif"),
        (turns(("user", {"inlineData": {"mimeType": "image/png", "data": "@@@"}})), 'Base64 decoding failed for "@@@"'),
    ],
)
def test_a_request_it_refuses(body: dict[str, Any], words: str) -> None:
    status, said = generate(**body)
    assert (status, said["error"]["code"], said["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in said["error"]["message"]


@pytest.mark.parametrize(
    ("model", "thinking", "words"),
    [
        ("gemini-2.0-flash", {"includeThoughts": True}, "Thinking is not enabled for this model."),
        ("gemini-2.5-pro", {"thinkingBudget": 0}, "only works in thinking mode"),
        ("gemini-3.1-pro-preview", {"thinkingLevel": "MINIMAL"}, "MINIMAL is not supported"),
        ("gemini-2.5-flash", {"thinkingBudget": 99999}, "thinking budget 99999 is invalid"),
    ],
)
def test_thinking_that_a_model_refuses(model: str, thinking: dict[str, Any], words: str) -> None:
    status, said = generate(model, generationConfig={"thinkingConfig": thinking})
    assert status == 400
    assert words in said["error"]["message"]


def test_names_may_be_in_either_case() -> None:
    config = {"max_output_tokens": 5, "response_mime_type": "text/plain"}
    status, said = generate("gemini-2.0-flash", generation_config=config, system_instruction={"parts": [{"text": "x"}]})
    assert status == 200
    assert said["candidates"][0]["finishReason"] == "MAX_TOKENS"


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1beta1"])
def test_every_version_answers(version: str) -> None:
    assert isinstance(answer(f"/{version}/models/{MODEL}:streamGenerateContent", {"contents": HELLO}), Stream)


@pytest.mark.parametrize(
    ("path", "method"),
    [("/v1beta/nothing", "GET"), ("/models", "GET"), (f"/v1beta/models/{MODEL}", "POST"), ("/v1beta/models", "PUT")],
)
def test_another_address_is_googles_page_for_it(path: str, method: str) -> None:
    said = answer(path, {}, method=method)
    assert isinstance(said, Reply)
    assert (said.status, said.content_type) == (404, "text/html; charset=UTF-8")


@pytest.mark.parametrize(
    "target",
    ["gemini-missing:generateContent", f"{MODEL}:embedContent", "text-embedding-004:generateContent", f"{MODEL}:fly"],
)
def test_what_a_model_cannot_do_is_not_found(target: str) -> None:
    said = answer(f"/v1beta/models/{target}", {"contents": HELLO})
    assert isinstance(said, Reply)
    error = json.loads(said.body)["error"]
    assert (said.status, error["status"]) == (404, "NOT_FOUND")
    assert "is not found for API version v1beta, or is not supported for" in error["message"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    said = answer(f"/v1beta/models/{MODEL}:generateContent", body)
    assert isinstance(said, Reply)
    assert (said.status, json.loads(said.body)["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_schema_that_goes_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(200):
        schema = {"type": "ARRAY", "items": schema}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    status, said = generate(generationConfig=config)
    assert status == 400
    assert "too deep" in said["error"]["message"]


@pytest.mark.parametrize(
    ("model", "method", "body", "words"),
    [
        ("gemini-embedding-001", "embedContent", {"content": {"parts": [{"text": ""}]}}, "is not specified"),
        ("gemini-embedding-001", "batchEmbedContents", {}, "requests is not specified"),
        (
            "gemini-embedding-001",
            "batchEmbedContents",
            {"requests": [{"model": "x"}]},
            "must be the same as the batch's",
        ),
        (
            "text-embedding-004",
            "embedContent",
            {"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 3072},
            "must be in the range [1, 768]",
        ),
    ],
)
def test_an_embedding_it_refuses(model: str, method: str, body: Any, words: str) -> None:
    said = answer(f"/v1beta/models/{model}:{method}", body)
    assert isinstance(said, Reply)
    assert said.status == 400
    assert words in json.loads(said.body)["error"]["message"]


def test_vertex_ai_embeds_one_text_at_a_time_with_geminis_model() -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/gemini-embedding-001:predict"
    said = answer(path, {"instances": [{"content": "a"}, {"content": "b"}]}, authorization="Bearer t")
    assert isinstance(said, Reply)
    assert "Max allowed: 1" in json.loads(said.body)["error"]["message"]


def test_vertex_ai_lists_its_publishers_models() -> None:
    said = answer("/v1beta1/publishers/google/models", method="GET", authorization="Bearer t")
    assert isinstance(said, Reply)
    names = [model["name"] for model in json.loads(said.body)["publisherModels"]]
    assert "publishers/google/models/gemini-2.5-pro" in names


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1beta/models", {"x_goog_api_key": ""}, 403),
        ("/v1beta/models", {"x_goog_api_key": "", "authorization": "Bearer token"}, 200),
        ("/v1/publishers/google/models", {}, 401),
        ("/v1/publishers/google/models", {"authorization": "Basic a2V5"}, 401),
        ("/v1/publishers/google/models", {"authorization": "Bearer token"}, 200),
    ],
)
def test_each_address_has_its_kind_of_credential(path: str, headers: dict[str, str], status: int) -> None:
    said = answer(path, method="GET", **headers)
    assert isinstance(said, Reply)
    assert said.status == status
