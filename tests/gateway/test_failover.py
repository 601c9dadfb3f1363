"""Failover: who is tried, in which order, what the client and the row are told."""

import json
from typing import Any

import httpx
import pytest

from gateway.models import RequestLog
from tests.gateway.conftest import Client, Servers, in_force
from tests.upstream import Upstream

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def ask(base_url: str, client: Client, *, stream: bool = False, **body: Any) -> httpx.Response:
    return httpx.post(
        f"{base_url}/v1/chat/completions", json={**BODY, "stream": stream, **body}, headers=client.headers, timeout=30
    )


def check_row(row: RequestLog, *, status: int, fates: list[str]) -> None:
    assert row.status == status
    assert [attempt["fate"] for attempt in row.attempts] == fates


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "fate"),
    [
        ("status=500", "500"),
        ("status=503", "503"),
        ("status=529", "529"),
        ("status=408", "408"),
        ("status=429", "429"),
        ("insufficient_quota", "429"),
        ("status=401", "401"),
        ("status=402", "402"),
        ("status=403", "403"),
        ("html502", "502"),
        ("empty", None),
        ("badjson", "bad_response"),
        ("reset@0", "connection_broken"),
    ],
)
def test_the_next_candidate_answers(
    base_url: str, failing_over: Client, upstream: Upstream, stream: bool, fault: str, fate: str | None
) -> None:
    upstream.script(fault)
    answer = ask(base_url, failing_over, stream=stream)
    assert answer.status_code == 200
    assert "Hello" in answer.text
    assert answer.headers["x-nexus-provider"] == "openai_compatible"
    assert answer.headers["x-nexus-attempt"] == "2"
    first, second = answer.headers["x-nexus-route"].split(";")
    assert second == "openai_compatible=200"
    if fate is not None:
        assert first == f"openai={fate}"
    row = failing_over.row(answer.headers["x-request-id"])
    check_row(row, status=200, fates=[first.split("=")[1], "200"])
    assert row.provider == "openai_compatible"


@pytest.mark.parametrize("fault", ["error_first", "empty", "cut@1", "reset@1", "badjson"])
def test_a_stream_fails_over_until_its_first_content(
    base_url: str, failing_over: Client, upstream: Upstream, fault: str
) -> None:
    upstream.script(fault)
    answer = ask(base_url, failing_over, stream=True)
    assert answer.status_code == 200
    assert answer.headers["x-nexus-attempt"] == "2"
    assert answer.text.count("data: [DONE]") == 1
    assert '"error"' not in answer.text


@pytest.mark.parametrize("fault", ["cut@3", "reset@3", "error@3", "no_done", "cutbytes@900"])
def test_after_the_first_content_there_is_one_provider_and_the_truth(
    base_url: str, failing_over: Client, upstream: Upstream, backup: Upstream, fault: str
) -> None:
    upstream.script(fault)
    answer = ask(base_url, failing_over, stream=True)
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == "STREAM_INTERRUPTED"
    assert error["request_id"] == answer.headers["x-request-id"]
    assert backup.stats()["requests"] == 0
    row = failing_over.row(answer.headers["x-request-id"])
    assert row.error_code == "STREAM_INTERRUPTED"
    assert row.retryable is True
    assert row.output_tokens is not None


def test_a_rejected_request_goes_to_the_client_at_once(base_url: str, failing_over: Client, backup: Upstream) -> None:
    answer = ask(base_url, failing_over, temperature=99)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert "temperature" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert backup.stats()["requests"] == 0
    check_row(failing_over.row(answer.headers["x-request-id"]), status=400, fates=["400"])


def test_a_refused_connection_fails_over(base_url: str, failing_over: Client, upstream: Upstream) -> None:
    upstream.stop()
    answer = ask(base_url, failing_over)
    assert answer.status_code == 200
    assert answer.headers["x-nexus-route"] == "openai=connect_error;openai_compatible=200"


def test_the_last_candidate_is_asked_again(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("status=503", "status=503")
    answer = ask(base_url, routed)
    assert answer.status_code == 200
    assert answer.headers["x-nexus-route"] == "openai=503;openai=503;openai=200"
    assert answer.headers["x-nexus-attempt"] == "3"


def test_at_most_two_repeats_and_every_attempt_is_told(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("status=503", repeat=True)
    answer = ask(base_url, routed)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert error["code"] == "ALL_PROVIDERS_FAILED"
    assert [attempt["status"] for attempt in error["nexus"]["attempts"]] == [503, 503, 503]
    assert all(attempt["provider"] == "openai" and attempt["ms"] >= 0 for attempt in error["nexus"]["attempts"])
    assert upstream.stats()["requests"] == 3


@pytest.mark.parametrize(("retry_after", "calls"), [("60", 1), ("0", 2), ("soon", 2)])
def test_a_retry_after_beyond_five_seconds_is_not_waited_for(
    base_url: str, routed: Client, upstream: Upstream, retry_after: str, calls: int
) -> None:
    upstream.script(f"status=429;retry_after={retry_after}")
    answer = ask(base_url, routed)
    assert upstream.stats()["requests"] == calls
    if calls == 1:
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "RATE_LIMITED"
        assert answer.headers["retry-after"] == "60"


def test_a_bad_credential_of_ours_is_not_tried_twice(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("status=401", repeat=True)
    answer = ask(base_url, routed)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "PROVIDER_AUTH_FAILED"
    assert upstream.stats()["requests"] == 1


def test_a_silent_provider_is_left_for_the_next_one(
    client: Client, upstream: Upstream, backup: Upstream, servers: Servers, base_url: str
) -> None:
    client.add_provider(upstream, name="primary", weight=100, timeout_s=1)
    client.add_provider(backup, name="backup", weight=1, family="openai_compatible")
    upstream.script("hang", "stall_headers", "stall@1")
    in_force(servers.door, servers.twin)
    for stream in (False, False, True):
        answer = ask(base_url, client, stream=stream)
        assert answer.status_code == 200
        assert answer.headers["x-nexus-route"] == "openai=timeout;openai_compatible=200"


def test_the_total_deadline_holds_and_is_nobodys_fault(
    client: Client, upstream: Upstream, servers: Servers, base_url: str
) -> None:
    client.tenant.deadline_s = 1
    client.tenant.save()
    client.add_provider(upstream, name="primary", timeout_s=60)
    upstream.script("hang", repeat=True)
    in_force(servers.door, servers.twin)
    answer = ask(base_url, client)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "PROVIDER_TIMEOUT"
    assert answer.elapsed.total_seconds() < 2


def test_the_attempts_of_a_request_are_limited(
    client: Client, upstream: Upstream, backup: Upstream, servers: Servers, base_url: str
) -> None:
    client.tenant.max_attempts = 1
    client.tenant.save()
    client.add_provider(upstream, name="primary", weight=100)
    client.add_provider(backup, name="backup", weight=1)
    upstream.script("status=500", repeat=True)
    in_force(servers.door, servers.twin)
    answer = ask(base_url, client)
    assert answer.status_code == 502
    assert backup.stats()["requests"] == 0


def test_models_are_named_per_provider(
    client: Client, upstream: Upstream, backup: Upstream, servers: Servers, base_url: str
) -> None:
    client.add_provider(upstream, name="primary", weight=100, models={"gpt-4o": "gpt-4o"})
    client.add_provider(backup, name="backup", weight=1, models={"gpt-4o": "llama-4"}, family="openai_compatible")
    upstream.script("status=500")
    in_force(servers.door, servers.twin)
    answer = ask(base_url, client)
    assert answer.headers["x-nexus-model"] == "llama-4"
    assert backup.log()[-1]["body"]["model"] == "llama-4"
    row = client.row(answer.headers["x-request-id"])
    assert (row.model, row.upstream_model) == ("gpt-4o", "llama-4")


def test_no_answer_tells_the_upstreams_key_or_address(base_url: str, routed: Client, upstream: Upstream) -> None:
    for fault in ("status=400", "status=401", "status=500", "html502", "error_first"):
        upstream.script(fault, repeat=True)
        answer = ask(base_url, routed, stream=fault == "error_first")
        assert "sk-upstream-secret" not in answer.text
        assert "127.0.0.1" not in answer.text + str(answer.headers)
