"""The simulator refuses what OpenAI refuses, in OpenAI's words."""

from typing import Any

import httpx
import pytest

from tests.gateway.simulator.asking import HELLO, KEY, ask
from tests.upstream import Upstream

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@"}}


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": ["Hello"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", None),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            "messages[0].content[0].image_url.url",
            "invalid_base64",
        ),
        ({"messages": [{"role": "system", "content": [IMAGE]}]}, "messages[0].content[0]", "invalid_value"),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "call_1", "content": "x"}]}, "messages.[1].role", None),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, *HELLO]}, "messages.[2].role", None),
        ({"model": None}, None, None),
        ({"model": 4}, "model", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"temperature": -1}, "temperature", "decimal_below_min_value"),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"top_p": 1.5}, "top_p", "decimal_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", None),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "array_above_max_length"),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"tools": []}, "tools", "empty_array"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
        ({"tool_choice": "auto"}, None, None),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        ({"response_format": {"type": "json_object"}}, "messages", None),
        ({"model": "o3", "max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"model": "gpt-5-mini", "temperature": 0.2}, "temperature", "unsupported_value"),
        ({"model": "o1", "stop": "x"}, "stop", "unsupported_parameter"),
        ({"mystery": 1}, "mystery", "unknown_parameter"),
    ],
)
def test_a_chat_it_refuses(upstream: Upstream, members: dict[str, Any], param: str | None, code: str | None) -> None:
    answer = ask(upstream, **members)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]
    assert answer.headers["x-nexus-simulated"] == "openai"


def test_the_words_are_openais(upstream: Upstream) -> None:
    said = ask(upstream, mystery=1).json()["error"]["message"]
    assert said == "Unrecognized request argument supplied: mystery"
    said = ask(upstream, temperature=99).json()["error"]["message"]
    assert said == ("Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 99 instead.")


@pytest.mark.parametrize("model", ["gpt-missing", "does-not-exist-7b"])
def test_an_unknown_model_is_not_found(upstream: Upstream, model: str) -> None:
    answer = ask(upstream, model=model)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(upstream: Upstream, body: bytes) -> None:
    headers = {**KEY, "content-type": "application/json"}
    answer = httpx.post(f"{upstream.base_url}/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert "could not parse the JSON body" in answer.json()["error"]["message"]


def test_another_content_type_is_refused(upstream: Upstream) -> None:
    answer = ask(upstream, headers={"content-type": "text/plain"})
    assert answer.json()["error"]["code"] == "unsupported_content_type"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic c2s="])
def test_a_request_without_a_token_is_unauthorized(upstream: Upstream, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = httpx.post(
        f"{upstream.base_url}/chat/completions", json={"model": "x", "messages": HELLO}, headers=headers
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_compatible_server_is_more_tolerant(backup: Upstream) -> None:
    answer = httpx.post(
        f"{backup.base_url}/chat/completions", json={"model": "o3", "messages": HELLO, "mystery": 1, "max_tokens": 50}
    )
    assert answer.status_code == 200
    assert answer.headers["x-nexus-simulated"] == "openai_compatible"
    assert ask(backup, messages=[]).status_code == 400


def test_a_compatible_server_with_a_key_wants_it() -> None:
    with Upstream("openai_compatible", api_key="secret") as upstream:
        assert httpx.get(f"{upstream.base_url}/models").status_code == 401
        assert httpx.get(f"{upstream.base_url}/models", headers={"authorization": "Bearer secret"}).status_code == 200


def test_wrong_addresses_and_methods_are_named(upstream: Upstream) -> None:
    unknown = httpx.post(f"{upstream.base_url}/nothing", json={}, headers=KEY)
    assert unknown.status_code == 404
    assert unknown.json()["error"]["message"] == "Invalid URL (POST /v1/nothing)"
    wrong = httpx.get(f"{upstream.base_url}/chat/completions", headers=KEY)
    assert wrong.status_code == 405


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({}, "input"),
        ({"input": ""}, None),
        ({"input": [""]}, None),
        ({"input": {"text": "x"}}, "input"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "dimensions": 5000}, "dimensions"),
        ({"input": "x", "model": "text-embedding-ada-002", "dimensions": 5}, "dimensions"),
        ({"input": ["x"] * 2049}, None),
    ],
)
def test_an_embedding_it_refuses(upstream: Upstream, members: dict[str, Any], param: str | None) -> None:
    answer = ask(upstream, "/embeddings", **{"model": "text-embedding-3-small", **members})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
