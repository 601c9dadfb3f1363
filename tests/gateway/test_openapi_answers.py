"""What a running gateway answers is what the OpenAPI document says, to the last member and header."""

import json
import secrets
from typing import Any

import httpx
import pytest

from accounts.models import ApiKey
from gateway.openapi_shapes import EXAMPLES
from nexus.openapi import document
from tests.gateway.conftest import Client, Servers, in_force
from tests.openapi import assert_answer, assert_valid
from tests.upstream import Upstream

NOBODY = "01a21235-38d2-723d-80b0-d22a1f7f8d85"
CALLS = [
    pytest.param(path, example["value"], id=f"{path} {name}")
    for path, shape in (
        ("/v1/chat/completions", "ChatCompletionRequest"),
        ("/v1/completions", "CompletionRequest"),
        ("/v1/embeddings", "EmbeddingRequest"),
        ("/v1/responses", "ResponseRequest"),
    )
    for name, example in EXAMPLES[shape].items()
]
ALL_MODELS = {name: name for name in ("gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")}


@pytest.fixture
def documented(client: Client, upstream: Upstream, servers: Servers) -> Client:
    """A client whose provider serves the models of the document's examples; completions by a model that has them."""
    client.add_provider(upstream, name="primary", models=ALL_MODELS)
    in_force(servers.door, servers.twin)
    return client


def check(answer: httpx.Response, method: str, path: str, status: int) -> Any:
    """Assert that an answer is as described, and return its body."""
    assert answer.status_code == status, answer.text
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    body = answer.json() if is_json else answer.text
    assert_answer(method, path, status, answer.headers, body)
    return body


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_every_example_of_the_data_plane_works(base_url: str, documented: Client, path: str, body: Any) -> None:
    if path == "/v1/completions":
        body = {**body, "model": "gpt-3.5-turbo-instruct"}
    answer = httpx.post(f"{base_url}{path}", json=body, headers=documented.headers)
    check(answer, "POST", path, 200)
    if not body.get("stream"):
        return
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if path == "/v1/responses":
        for event in events:
            assert_valid(json.loads(event), {"$ref": "#/components/schemas/ResponseEvent"})
        assert json.loads(events[-1])["type"] == "response.completed"
        return
    assert events[-1] == "[DONE]"
    for event in events[:-1]:
        assert_valid(json.loads(event), {"$ref": "#/components/schemas/ChatCompletionChunk"})


@pytest.mark.parametrize(
    ("content", "authorized", "status", "code"),
    [
        (b"{", True, 400, "INVALID_REQUEST"),
        (b"{}", False, 401, "INVALID_API_KEY"),
        (b'{"model": "unheard of", "messages": [{"role": "user"}]}', True, 404, "MODEL_NOT_FOUND"),
    ],
)
def test_refusals_of_the_data_plane_are_as_described(
    base_url: str, routed: Client, content: bytes, authorized: bool, status: int, code: str
) -> None:
    path = "/v1/chat/completions"
    answer = httpx.post(f"{base_url}{path}", content=content, headers=routed.headers if authorized else {})
    assert check(answer, "POST", path, status)["error"]["code"] == code


def test_answers_to_idempotency_keys_are_as_described(base_url: str, routed: Client) -> None:
    path, key = "/v1/chat/completions", secrets.token_hex(8)
    headers = {**routed.headers, "idempotency-key": key}
    body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    for replayed in (None, "true"):
        answer = httpx.post(f"{base_url}{path}", json=body, headers=headers)
        check(answer, "POST", path, 200)
        assert answer.headers.get("idempotency-replayed") == replayed
    other = httpx.post(f"{base_url}{path}", json={**body, "seed": 1}, headers=headers)
    assert check(other, "POST", path, 422)["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("fault", "status"), [("status=500", 502), ("status=401", 502), ("status=429", 429), ("status=422", 422)]
)
def test_failures_of_providers_are_as_described(
    base_url: str, routed: Client, upstream: Upstream, fault: str, status: int
) -> None:
    upstream.script(fault, repeat=True)
    path, body = "/v1/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    check(httpx.post(f"{base_url}{path}", json=body, headers=routed.headers), "POST", path, status)


def test_limits_are_as_described(base_url: str, routed: Client, servers: Servers) -> None:
    ApiKey.objects.filter(id=routed.key_id).update(monthly_request_quota=1, rpm=100, tpm=100_000, max_concurrent=5)
    in_force(servers.door, servers.twin)
    path, body = "/v1/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    for status in (200, 429):
        answer = httpx.post(f"{base_url}{path}", json=body, headers=routed.headers)
        check(answer, "POST", path, status)
        assert {"x-nexus-quota-remaining", "x-ratelimit-limit-tokens"} <= set(answer.headers)
    assert answer.json()["error"]["code"] == "QUOTA_EXCEEDED"


def test_models_and_probes_are_as_described(base_url: str, routed: Client) -> None:
    for path, url, status in (
        ("/v1/models", "/v1/models", 200),
        ("/v1/models/{model}", "/v1/models/gpt-4o", 200),
        ("/v1/models/{model}", "/v1/models/unheard/of", 404),
        ("/healthz", "/healthz", 200),
        ("/metrics", "/metrics", 200),
    ):
        check(httpx.get(f"{base_url}{url}", headers=routed.headers), "GET", path, status)
    ready = check(httpx.get(f"{base_url}/readyz"), "GET", "/readyz", 200)
    assert ready["checks"]["configuration"]["ok"]


def test_the_document_comes_through_the_one_port(base_url: str) -> None:
    answer = httpx.get(f"{base_url}/v1/openapi.json")
    assert answer.json()["paths"] == json.loads(json.dumps(document()["paths"]))


class Api:
    """The management API of a running server, each answer held to the document."""

    def __init__(self, base_url: str, client: Client) -> None:
        self._http = httpx.Client(base_url=base_url, headers=client.headers, timeout=30)
        self.called: set[tuple[str, str]] = set()

    def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200, **ids: Any) -> Any:
        url = path
        for name, value in ids.items():
            url = url.replace(f"{{{name}}}", str(value))
        self.called.add((method, path))
        return check(self._http.request(method, url, json=body), method, path, status)


def test_every_operation_of_the_management_api_answers_as_described(
    servers: Servers, routed: Client, upstream: Upstream
) -> None:
    api = Api(servers.door.base_url, routed)
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{servers.door.base_url}/v1/chat/completions", json=ask, headers=routed.headers)
    routed.row(answer.headers["x-request-id"])
    made = api("POST", "/v1/keys", {"name": "one", "scopes": ["keys:read"]}, status=201)
    api("GET", "/v1/keys")
    api("GET", "/v1/keys/{key_id}", key_id=made["id"])
    api("PATCH", "/v1/keys/{key_id}", {"name": "two", "expires_at": "2099-01-01T00:00:00Z"}, key_id=made["id"])
    api("POST", "/v1/keys/{key_id}/rotate", {"grace_s": 60}, key_id=made["id"])
    api("DELETE", "/v1/keys/{key_id}", status=204, key_id=made["id"])
    member = api("POST", "/v1/members", {"email": f"dev@{routed.tenant.slug}.example", "role": "viewer"}, status=201)
    api("GET", "/v1/members")
    api("PATCH", "/v1/members/{member_id}", {"role": "developer"}, member_id=member["id"])
    api("DELETE", "/v1/members/{member_id}", status=204, member_id=member["id"])
    place = {"email": f"new@{routed.tenant.slug}.example", "role": "viewer"}
    invited = api("POST", "/v1/invitations", place, status=201)
    api("GET", "/v1/invitations")
    api("POST", "/v1/invitations/{invitation_id}/resend", invitation_id=invited["id"])
    api("DELETE", "/v1/invitations/{invitation_id}", status=204, invitation_id=invited["id"])
    provider = {"name": "second", "family": "openai", "base_url": upstream.base_url, "models": {"a": "gpt-4o"}}
    made = api("POST", "/v1/providers", {**provider, "api_key": "sk-another-one-entirely"}, status=201)
    api("GET", "/v1/providers")
    api("GET", "/v1/providers/{provider_id}", provider_id=made["id"])
    changed = api("PATCH", "/v1/providers/{provider_id}", {"base_url": f"{upstream.origin}/v2"}, provider_id=made["id"])
    assert changed["warnings"]
    api("POST", "/v1/providers/{provider_id}/test", provider_id=made["id"])
    by_hand = {"state": "open", "reason": "a drill"}
    api("POST", "/v1/providers/{provider_id}/circuit", by_hand, provider_id=made["id"])
    api("DELETE", "/v1/providers/{provider_id}", status=204, provider_id=made["id"])
    api("GET", "/v1/circuits")
    api("GET", "/v1/settings")
    api("PATCH", "/v1/settings", {"max_attempts": 3})
    api("GET", "/v1/audit")
    assert api("GET", "/v1/requests")["data"][0]["attempts"]
    api("GET", "/v1/requests/{request_id}", request_id=answer.headers["x-request-id"])
    known = {
        (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method, told in methods.items()
        if {"session": []} in told["security"]
    }
    assert api.called == known


def test_requests_as_csv_are_as_described(servers: Servers, routed: Client) -> None:
    answer = httpx.get(f"{servers.door.base_url}/v1/requests?format=csv", headers=routed.headers)
    assert check(answer, "GET", "/v1/requests", 200).startswith("id,created_at,")
