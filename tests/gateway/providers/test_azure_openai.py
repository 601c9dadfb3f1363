"""Azure OpenAI: addresses, keys and versions; the rest is OpenAI's own, with the filter's remarks in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Usage
from gateway.providers.azure_openai import AZURE_OPENAI
from gateway.providers.base import Completion, FailureKind, Target
from gateway.schema import Endpoint, ModelRequest, parse
from gateway.simulator import azure_openai as simulator
from gateway.simulator.azure_openai_errors import failure as azure_failure
from gateway.simulator.dialect import Circumstances, Refused, Reply, Request, Stream
from tests.gateway.test_sse import pieces

ASK = [{"role": "user", "content": "Hello there"}]
CIRCUMSTANCES = Circumstances(
    now=1_700_000_000, token="0" * 32, latency_ms=0, giant=False, with_usage=True, seen_before=lambda _: False
)
JWT = "eyJ0eXAi.eyJhdWQi.c2lnbmVk"


def request(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> ModelRequest:
    return parse(endpoint, json.dumps({"model": "gpt-4o", "messages": ASK, **body}).encode())


def target(path: str = "", key: str = "key", model: str = "my deployment", **options: str) -> Target:
    return Target(path, key, model, options)


def simulated(asked: ModelRequest, where: Target) -> Reply | Stream:
    """Send a request to the simulator without a wire."""
    built = AZURE_OPENAI.build_request(asked, where)
    path, _, query = built.path.decode().partition("?")
    headers = {name.decode(): value.decode() for name, value in built.headers}
    received = Request("POST", path.replace("%20", " "), query, headers, built.body)
    simulator.authenticate(received, "key")
    return simulator.respond(received, simulator.look(received), CIRCUMSTANCES)


@pytest.mark.parametrize(
    ("path", "version", "expected"),
    [
        ("", "", "/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"),
        (
            "",
            "2025-04-01-preview",
            "/openai/deployments/my%20deployment/chat/completions?api-version=2025-04-01-preview",
        ),
        ("/openai", "", "/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"),
        (
            "/openai/deployments/other",
            "",
            "/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21",
        ),
        ("/proxy/azure", "", "/proxy/azure/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"),
        (
            "/openai-proxy",
            "",
            "/openai-proxy/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21",
        ),
        ("/openai/v1", "", "/openai/v1/chat/completions"),
        ("/openai/v1", "preview", "/openai/v1/chat/completions?api-version=preview"),
        ("", "v1", "/openai/v1/chat/completions"),
        ("", "preview", "/openai/v1/chat/completions?api-version=preview"),
    ],
)
def test_every_form_of_address_is_understood(path: str, version: str, expected: str) -> None:
    options = {"api_version": version} if version else {}
    assert AZURE_OPENAI.build_request(request(), target(path, **options)).path.decode() == expected


def test_embeddings_and_completions_have_their_own_paths() -> None:
    embeddings = parse(Endpoint.EMBEDDINGS, b'{"model":"m","input":"x"}')
    assert b"/my%20deployment/embeddings?" in AZURE_OPENAI.build_request(embeddings, target()).path
    legacy = parse(Endpoint.COMPLETIONS, b'{"model":"m","prompt":"x"}')
    assert AZURE_OPENAI.build_request(legacy, target("/openai/v1")).path == b"/openai/v1/completions"


@pytest.mark.parametrize(
    ("key", "header"),
    [("an-azure-key", (b"api-key", b"an-azure-key")), (JWT, (b"authorization", b"Bearer " + JWT.encode()))],
)
def test_a_key_is_a_key_and_a_token_a_token(key: str, header: tuple[bytes, bytes]) -> None:
    credentials = [
        pair for pair in AZURE_OPENAI.build_request(request(), target(key=key)).headers if key.encode() in pair[1]
    ]
    assert credentials == [header]


def test_the_body_goes_out_as_it_came_with_usage_asked_for() -> None:
    sent = json.loads(AZURE_OPENAI.build_request(request(stream=True, data_sources=[{"a": 1.50}]), target()).body)
    assert sent["data_sources"] == [{"a": 1.5}]
    assert sent["stream_options"] == {"include_usage": True}


def test_models_are_listed_by_either_api() -> None:
    assert AZURE_OPENAI.models_request(target()).path == b"/openai/models?api-version=2024-10-21"
    listing = AZURE_OPENAI.models_request(target("/openai/v1"))
    assert (listing.path, dict(listing.headers)[b"api-key"]) == (b"/openai/v1/models", b"key")
    assert AZURE_OPENAI.parse_models(b'{"data":[{"id":"gpt-4o","capabilities":{}}]}') == ["gpt-4o"]


def test_a_whole_answer_keeps_the_filters_remarks() -> None:
    reply = simulated(request(), target())
    assert isinstance(reply, Reply)
    answer = AZURE_OPENAI.parse_response(request(), reply.body)
    assert isinstance(answer, Completion)
    assert b"prompt_filter_results" in answer.body
    assert answer.usage == Usage(input_tokens=3, output_tokens=9)


def whole(**body: Any) -> tuple[ModelRequest, bytes]:
    asked = request(stream=True, **body)
    answer = simulated(asked, target("/openai/v1"))
    assert isinstance(answer, Stream)
    return asked, b"".join(event.wire for event in answer.events)


def test_the_chunk_of_the_prompts_filter_commits_to_nothing() -> None:
    asked, data = whole()
    decoder = AZURE_OPENAI.stream_decoder(asked)
    first, rest = data.split(b"\n\n", 1)
    assert b"prompt_filter_results" in first
    assert decoder.feed(first + b"\n\n") == b""
    assert not decoder.committed
    passed = decoder.feed(rest)
    assert passed.startswith(first)
    assert decoder.finished
    assert decoder.usage == Usage(input_tokens=3, output_tokens=9)


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_gives_the_same_bytes(cuts: list[int]) -> None:
    asked, data = whole(stream_options={"include_usage": True})
    decoder = AZURE_OPENAI.stream_decoder(asked)
    assert b"".join(decoder.feed(piece) for piece in pieces(data, cuts)) == data
    assert decoder.end() is None


@given(st.integers(0, 2_000))
def test_any_prefix_without_the_end_marker_is_truncated(length: int) -> None:
    asked, data = whole()
    decoder = AZURE_OPENAI.stream_decoder(asked)
    decoder.feed(data[: min(length, len(data) - 15)])
    failure = decoder.end()
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED


def test_a_stream_with_the_asynchronous_filter_comes_to_its_end() -> None:
    asked = request(stream=True)
    answer = simulated(asked, target(model="async-filter"))
    assert isinstance(answer, Stream)
    decoder = AZURE_OPENAI.stream_decoder(asked)
    passed = decoder.feed(b"".join(event.wire for event in answer.events))
    assert b"content_filter_offsets" in passed
    assert decoder.finished


def test_a_blocked_answer_is_an_answer_and_a_blocked_prompt_the_clients_own_error() -> None:
    asked, data = whole(messages=[{"role": "user", "content": "[filter answer]"}])
    decoder = AZURE_OPENAI.stream_decoder(asked)
    assert b'"content_filter"' in decoder.feed(data)
    assert decoder.finished
    with pytest.raises(Refused) as refused:
        simulated(request(messages=[{"role": "user", "content": "[filter prompt]"}]), target())
    failure = AZURE_OPENAI.parse_error(400, (), refused.value.reply.body)
    assert (failure.kind, failure.code, failure.param) == (FailureKind.REQUEST, "content_filter", "prompt")


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, FailureKind.REQUEST, "BadRequest"),
        (401, FailureKind.AUTH, "401"),
        (403, FailureKind.AUTH, "AccessDenied"),
        (404, FailureKind.REQUEST, "404"),
        (408, FailureKind.RATE_LIMIT, "Timeout"),
        (429, FailureKind.RATE_LIMIT, "429"),
        (500, FailureKind.SERVER, "InternalServerError"),
        (503, FailureKind.SERVER, "ServiceUnavailable"),
    ],
)
def test_azures_errors_without_a_type_are_classified(status: int, kind: FailureKind, code: str) -> None:
    failure = AZURE_OPENAI.parse_error(
        status, ((b"retry-after-ms", b"250"), (b"retry-after", b"9")), azure_failure(status, None).body
    )
    assert (failure.kind, failure.code, failure.type) == (kind, code, None)
    assert failure.retry_after_seconds == 0.25
    assert failure.message


def test_a_used_up_quota_is_not_asked_again() -> None:
    failure = AZURE_OPENAI.parse_error(429, (), simulator.AZURE_OPENAI.quota_failure.body)
    assert failure.kind is FailureKind.QUOTA
