"""Idempotency keys: the same request twice is one upstream call, one row and the same answer, at every door."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from accounts.models import ApiKey
from gateway.models import IdempotencyClaim
from gateway.tasks import forget_idempotency_claims
from tests.factories import make_key
from tests.gateway.conftest import EVERY_DOOR, Client, Servers, in_force
from tests.gateway.raw import BODY as RAW_BODY
from tests.gateway.raw import ask, connected, request
from tests.gateway.scraping import scrape
from tests.stack import eventually
from tests.upstream import Upstream

pytestmark = EVERY_DOOR
BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello, Grüße, 世界"}]}
STREAM = {**BODY, "stream": True}


def a_key() -> str:
    return secrets.token_hex(8)


def post(base_url: str, client: Client, key: str, body: dict[str, Any] = BODY, path: str = "chat/completions") -> Any:
    headers = {**client.headers, "idempotency-key": key}
    return httpx.post(f"{base_url}/v1/{path}", json=body, headers=headers, timeout=20)


def claims(client: Client) -> list[IdempotencyClaim]:
    return list(IdempotencyClaim.objects.for_tenant(client.tenant))


def replayed(answer: httpx.Response) -> bool:
    told: str | None = answer.headers.get("idempotency-replayed")
    return told == "true"


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_the_second_request_gets_the_first_ones_answer(
    base_url: str, routed: Client, upstream: Upstream, body: dict[str, Any]
) -> None:
    key = a_key()
    first, second, third = (post(base_url, routed, key, body) for _ in range(3))
    assert first.status_code == second.status_code == third.status_code == 200
    assert [replayed(answer) for answer in (first, second, third)] == [False, True, True]
    assert first.content == second.content == third.content
    assert len(first.content) > 100
    for name in ("x-request-id", "content-type", "x-nexus-provider", "x-nexus-cost-usd", "x-nexus-route"):
        assert first.headers.get(name) == second.headers.get(name)
    assert upstream.stats()["requests"] == 1
    routed.row(first.headers["x-request-id"])
    assert len(routed.rows()) == 1


def test_a_request_without_a_key_leaves_no_claim(base_url: str, routed: Client, upstream: Upstream) -> None:
    for _ in range(2):
        assert ask(base_url, request(routed.key)).status == 200
    assert upstream.stats()["requests"] == 2
    assert claims(routed) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {**BODY, "temperature": 1}),
        ("chat/completions", {**BODY, "stream": True}),
        ("embeddings", {"model": "text-embedding-3-small", "input": "Hello"}),
    ],
)
def test_a_key_is_good_for_one_request_only(
    base_url: str, routed: Client, upstream: Upstream, path: str, body: dict[str, Any]
) -> None:
    key = a_key()
    assert post(base_url, routed, key).status_code == 200
    other = post(base_url, routed, key, body, path)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert other.headers["x-should-retry"] == "false"
    assert upstream.stats()["requests"] == 1
    assert replayed(post(base_url, routed, key))


def test_a_key_belongs_to_one_api_key(
    base_url: str, routed: Client, other_client: Client, upstream: Upstream, servers: Servers
) -> None:
    other_client.add_provider(upstream, name="primary")
    colleague = Client(routed.tenant, routed.user, make_key(routed.tenant, routed.user), routed.key_id)
    in_force(*servers.running)
    key = a_key()
    for client in (routed, other_client, colleague):
        answer = post(base_url, client, key)
        assert answer.status_code == 200
        assert not replayed(answer)
    assert upstream.stats()["requests"] == 3


def test_a_request_beside_its_running_twin_is_told_to_wait(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("latency=1500")
    key = a_key()
    with connected(base_url) as link:
        link.send(request(routed.key, RAW_BODY, f"idempotency-key: {key}"))
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        twin = ask(base_url, request(routed.key, RAW_BODY, f"idempotency-key: {key}"))
        assert (twin.status, twin.error["code"]) == (409, "IDEMPOTENCY_IN_PROGRESS")
        assert twin.headers["retry-after"] == "1"
        first = link.answer()
    assert twin.error["nexus"]["first_request_id"] == first.headers["x-request-id"]
    again = ask(base_url, request(routed.key, RAW_BODY, f"idempotency-key: {key}"))
    assert again.body == first.body
    assert again.headers["idempotency-replayed"] == "true"
    assert upstream.stats()["requests"] == 1


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        pytest.param(BODY, ["status=500"] * 3, id="the provider failed"),
        pytest.param(BODY, ["status=429;retry_after=60"], id="the provider was busy"),
        pytest.param(STREAM, ["cut@4"], id="a stream broke"),
        pytest.param(STREAM, ["no_done"], id="a stream had no end marker"),
    ],
)
def test_a_failure_frees_the_key(
    base_url: str, routed: Client, upstream: Upstream, body: dict[str, Any], faults: list[str]
) -> None:
    upstream.script(*faults)
    key = a_key()
    failed = post(base_url, routed, key, body)
    assert failed.status_code != 200 or "STREAM_INTERRUPTED" in failed.text
    assert upstream.stats()["requests"] == len(faults)
    again = post(base_url, routed, key, body)
    assert (again.status_code, replayed(again)) == (200, False)
    assert "error" not in again.text
    assert upstream.stats()["requests"] == len(faults) + 1


def test_what_never_went_upstream_frees_the_key(base_url: str, routed: Client) -> None:
    key = a_key()
    assert post(base_url, routed, key, {**BODY, "model": "unknown"}).status_code == 404
    assert post(base_url, routed, key, {**BODY, "messages": []}).status_code == 400
    assert post(base_url, routed, key).status_code == 200


def test_a_refusal_by_the_provider_is_an_answer(base_url: str, routed: Client, upstream: Upstream) -> None:
    upstream.script("status=400")
    key = a_key()
    first, second = post(base_url, routed, key), post(base_url, routed, key)
    assert (first.status_code, second.status_code) == (400, 400)
    assert first.content == second.content
    assert replayed(second)
    assert upstream.stats()["requests"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_key(base_url: str, routed: Client, upstream: Upstream, stream: bool) -> None:
    upstream.script("stall@3" if stream else "hang")
    key, body = a_key(), json.dumps(STREAM if stream else BODY).encode()
    with connected(base_url) as link:
        link.send(request(routed.key, body, f"idempotency-key: {key}"))
        eventually(lambda: upstream.stats()["in_flight"], what="the upstream call")
        if stream:
            assert link.socket.recv(64)
        link.hang_up()
    eventually(lambda: claims(routed) == [], what="the release of the key")
    again = ask(base_url, request(routed.key, body, f"idempotency-key: {key}"))
    assert again.status == 200
    assert "idempotency-replayed" not in again.headers
    assert upstream.stats()["requests"] == 2


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["idempotency-key: "], id="empty"),
        pytest.param(["idempotency-key: " + "k" * 256], id="too long"),
        pytest.param(["idempotency-key: \xe9"], id="not ASCII"),
        pytest.param(["idempotency-key: a\tb"], id="a control character"),
        pytest.param(["idempotency-key: a", "idempotency-key: b"], id="two keys"),
    ],
)
def test_a_key_that_is_none_is_refused(base_url: str, routed: Client, upstream: Upstream, lines: list[str]) -> None:
    answer = ask(base_url, request(routed.key, RAW_BODY, *lines))
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert answer.error["param"] == "Idempotency-Key"
    assert upstream.stats()["requests"] == 0


def test_a_key_of_255_characters_is_one(base_url: str, routed: Client) -> None:
    key = "k/ ~" + a_key() + "k" * 235
    assert len(key) == 255
    assert not replayed(post(base_url, routed, key))
    assert replayed(post(base_url, routed, key))


def test_what_is_kept_is_sealed_and_opens_in_its_own_row_only(base_url: str, routed: Client) -> None:
    one, two = a_key(), a_key()
    answer = post(base_url, routed, one)
    assert post(base_url, routed, two).status_code == 200
    rows = {str(row.id): row for row in claims(routed)}
    first = rows.pop(answer.headers["x-request-id"])
    (second,) = rows.values()
    for secret in (answer.content[:40], one.encode(), b"Hello", b"application/json"):
        assert secret not in bytes(first.answer_sealed or b"")
    assert one not in first.key_hash
    second.answer_sealed = first.answer_sealed
    second.save(update_fields=["answer_sealed"])
    moved = post(base_url, routed, two)
    assert (moved.status_code, moved.json()["error"]["code"]) == (409, "IDEMPOTENCY_ANSWER_GONE")
    assert replayed(post(base_url, routed, one))


def test_a_key_is_free_again_after_its_day(base_url: str, routed: Client, upstream: Upstream) -> None:
    key = a_key()
    post(base_url, routed, key)
    (claim,) = claims(routed)
    day = timedelta(hours=24)
    assert abs(claim.expires_at - datetime.now(UTC) - day) < timedelta(minutes=1)
    IdempotencyClaim.objects.filter(id=claim.id).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    again = post(base_url, routed, key, {**BODY, "temperature": 0})  # even for another request
    assert (again.status_code, replayed(again)) == (200, False)
    assert upstream.stats()["requests"] == 2


def test_expired_answers_are_purged(base_url: str, routed: Client) -> None:
    old, young = a_key(), a_key()
    past = post(base_url, routed, old).headers["x-request-id"]
    post(base_url, routed, young)
    IdempotencyClaim.objects.filter(id=past).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    forget_idempotency_claims()
    assert [str(claim.id) for claim in claims(routed)] != [past]
    assert len(claims(routed)) == 1
    assert replayed(post(base_url, routed, young))


def test_a_replay_uses_nothing_up_and_comes_after_the_quotas_end(
    base_url: str, routed: Client, upstream: Upstream, servers: Servers
) -> None:
    ApiKey.objects.filter(id=routed.key_id).update(monthly_request_quota=2)
    in_force(*servers.running)
    key, other = a_key(), a_key()
    first = post(base_url, routed, key)
    for _ in range(3):
        assert replayed(post(base_url, routed, key))
    assert post(base_url, routed, other).status_code == 200
    new = post(base_url, routed, a_key())
    assert (new.status_code, new.json()["error"]["code"]) == (429, "QUOTA_EXCEEDED")
    again = post(base_url, routed, key)
    assert replayed(again)
    assert again.content == first.content
    assert upstream.stats()["requests"] == 2


def test_a_replay_tells_what_is_left_now(base_url: str, routed: Client, upstream: Upstream, servers: Servers) -> None:
    ApiKey.objects.filter(id=routed.key_id).update(monthly_request_quota=50, rpm=100, tpm=100_000)
    in_force(*servers.running)
    key = a_key()
    first = post(base_url, routed, key)
    for _ in range(5):
        assert post(base_url, routed, a_key()).status_code == 200
    again = post(base_url, routed, key)
    assert replayed(again)
    left = "x-nexus-quota-remaining"
    assert (first.headers[left], again.headers.get_list(left)) == ("49", ["44"])
    for kind in ("requests", "tokens"):
        assert len(again.headers.get_list(f"x-ratelimit-limit-{kind}")) == 1
    assert upstream.stats()["requests"] == 6


def test_replays_are_counted_apart_from_requests(base_url: str, routed: Client) -> None:
    # Embeddings, since the page is of the whole machine, and what other doors counted comes within a second.
    body = {"model": "text-embedding-3-small", "input": "Hello"}

    def counted() -> tuple[float, float]:
        page = scrape(base_url)
        return page.sum("nexus_replayed_answers_total", endpoint="embeddings"), page.sum(
            "nexus_requests_total", endpoint="embeddings", status="2xx"
        )

    key = a_key()
    post(base_url, routed, key, body, "embeddings")
    replays, requests = counted()
    for _ in range(3):
        assert replayed(post(base_url, routed, key, body, "embeddings"))
    assert counted() == (replays + 3, requests)
