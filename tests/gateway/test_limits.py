"""The limits of a key: what is let through is counted by the provider's own counter, never by ours."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import connection

from accounts.models import ApiKey
from gateway.models import KeyUse
from nexus.redis_clients import sync_client
from tests.gateway.boards import own_server
from tests.gateway.conftest import Client, Servers, in_force
from tests.reports import report
from tests.stack import Server, Stack, eventually
from tests.upstream import Upstream

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"


def limit(client: Client, servers: list[Server], **limits: int | None) -> None:
    """Set limits on the client's key, and wait until the servers know them."""
    ApiKey.objects.for_tenant(client.tenant).filter(id=client.key_id).update(**limits)
    in_force(*servers)


async def flood(
    servers: list[Server], client: Client, requests: int, *, at_once: int, body: dict[str, Any] = BODY
) -> Counter[tuple[int, str]]:
    """Send so many requests, so many at once; return how often each status and error code came."""
    left = iter(range(requests))
    seen = Counter[tuple[int, str]]()

    async def one(server: Server) -> None:
        async with httpx.AsyncClient(base_url=server.base_url, headers=client.headers, timeout=60) as http:
            for _ in left:
                answer = await http.post(CHAT, json=body)
                code = answer.json()["error"]["code"] if answer.status_code != 200 else ""
                seen[answer.status_code, code] += 1

    await asyncio.gather(*(one(servers[number % len(servers)]) for number in range(at_once)))
    return seen


@pytest.fixture(scope="module")
def fleet(servers: Servers) -> Iterator[list[Server]]:
    """Four processes, both doors among them."""
    with servers.stack.serving("all", "all") as more:
        yield [servers.door, servers.twin, *more]


def test_four_processes_let_exactly_the_quota_through(client: Client, upstream: Upstream, fleet: list[Server]) -> None:
    client.add_provider(upstream, name="primary")
    limit(client, fleet, monthly_request_quota=200)
    seen = asyncio.run(flood(fleet, client, 1000, at_once=40))
    assert seen == {(200, ""): 200, (429, "QUOTA_EXCEEDED"): 800}
    assert upstream.stats()["requests"] == 200
    # The log comes to the same sum.
    eventually(lambda: sum(KeyUse.objects.filter(key_id=client.key_id).values_list("requests", flat=True)) == 200)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_of_five_thousand_requests_a_thousand_are_let_through(client: Client, fleet: list[Server]) -> None:
    with Upstream(log_limit=10_000) as upstream:
        client.add_provider(upstream, name="primary")
        limit(client, fleet, monthly_request_quota=1000)
        began = time.monotonic()
        seen = asyncio.run(flood(fleet, client, 5000, at_once=100))
        report(
            "quota_of_1000",
            requests=seen.total(),
            at_once=100,
            processes=len(fleet),
            upstream_requests=upstream.stats()["requests"],
            answered=seen[200, ""],
            quota_exceeded=seen[429, "QUOTA_EXCEEDED"],
            seconds=round(time.monotonic() - began, 1),
        )
        assert seen == {(200, ""): 1000, (429, "QUOTA_EXCEEDED"): 4000}
        assert upstream.stats()["requests"] == 1000


def test_an_emptied_redis_lets_nothing_more_through_a_quota(
    client: Client, upstream: Upstream, fleet: list[Server]
) -> None:
    client.add_provider(upstream, name="primary")
    limit(client, fleet, monthly_request_quota=150)

    async def story() -> Counter[tuple[int, str]]:
        flooding = asyncio.create_task(flood(fleet, client, 600, at_once=24))
        while upstream.stats()["requests"] < 60:
            await asyncio.sleep(0.01)
        sync_client(settings.REDIS_URL).flushall()
        return await flooding

    assert asyncio.run(story()) == {(200, ""): 150, (429, "QUOTA_EXCEEDED"): 450}
    assert upstream.stats()["requests"] == 150


def test_a_quota_set_in_mid_month_counts_what_was_used_before(
    client: Client, upstream: Upstream, fleet: list[Server]
) -> None:
    client.add_provider(upstream, name="primary")
    in_force(*fleet)
    assert asyncio.run(flood(fleet, client, 8, at_once=4)) == {(200, ""): 8}
    eventually(lambda: sum(KeyUse.objects.filter(key_id=client.key_id).values_list("requests", flat=True)) == 8)
    limit(client, fleet, monthly_request_quota=10)
    assert asyncio.run(flood(fleet, client, 8, at_once=4)) == {(200, ""): 2, (429, "QUOTA_EXCEEDED"): 6}


def test_what_a_killed_process_had_in_hand_comes_back(client: Client, upstream: Upstream, servers: Servers) -> None:
    client.add_provider(upstream, name="primary")
    doomed = servers.stack.serve("all")
    limit(client, [servers.door, doomed], monthly_request_quota=40)
    assert asyncio.run(flood([doomed], client, 3, at_once=1)) == {(200, ""): 3}
    (claim,) = KeyUse.objects.filter(key_id=client.key_id).exclude(process="")
    assert claim.spare > 0
    os.kill(doomed.pid, signal.SIGKILL)
    eventually(
        lambda: not KeyUse.objects.filter(key_id=client.key_id, process=claim.process), what="the end of a lease"
    )
    assert asyncio.run(flood([servers.door], client, 50, at_once=4)) == {(200, ""): 37, (429, "QUOTA_EXCEEDED"): 13}
    assert upstream.stats()["requests"] == 40


def test_a_killed_process_frees_its_slots(client: Client, servers: Servers) -> None:
    with Upstream(latency_ms=60_000) as slow:
        client.add_provider(slow, name="slow")
        doomed = servers.stack.serve("all")
        limit(client, [servers.door, doomed], max_concurrent=2)

        async def story() -> None:
            async with httpx.AsyncClient(headers=client.headers, timeout=60) as http:
                running = [asyncio.create_task(http.post(doomed.base_url + CHAT, json=BODY)) for _ in range(2)]
                while slow.stats()["requests"] < 2:
                    await asyncio.sleep(0.01)
                refused = await http.post(servers.door.base_url + CHAT, json=BODY)
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
                assert refused.json()["error"]["nexus"] == {"limit": "max_concurrent", "value": 2}
                assert refused.headers["retry-after"] == "1"
                os.kill(doomed.pid, signal.SIGKILL)
                await asyncio.gather(*running, return_exceptions=True)
                # The lease runs out within ten seconds; then a request gets through, and waits for the slow provider.
                for _ in range(60):
                    try:
                        answer = await http.post(servers.door.base_url + CHAT, json=BODY, timeout=1.0)
                    except httpx.ReadTimeout:
                        return
                    assert answer.status_code == 429
                    await asyncio.sleep(0.25)
            raise AssertionError("the slots did not come back")

        asyncio.run(story())
        assert slow.stats()["requests"] == 3


def test_without_redis_quotas_stay_exact_and_rates_are_each_processs_own(
    client: Client, upstream: Upstream, committed: None, tmp_path: Path
) -> None:
    client.add_provider(upstream, name="primary")
    with own_server() as services:
        environment = {"REDIS_URL": services.start().redis_url}
        stack = Stack(tmp_path / "stack", connection.settings_dict["NAME"], environment)
        try:
            pair = stack.serve_together("all", "all")
            limit(client, pair, monthly_request_quota=60)
            services.stop()
            assert asyncio.run(flood(pair, client, 150, at_once=8)) == {(200, ""): 60, (429, "QUOTA_EXCEEDED"): 90}
            checks = [httpx.get(f"{server.base_url}/readyz").json()["checks"]["limits"] for server in pair]
            assert [check["ok"] for check in checks] == [False, False]
            ApiKey.objects.for_tenant(client.tenant).filter(id=client.key_id).update(monthly_request_quota=None, rpm=9)
            in_force(*pair)
            upstream.reset()
            minute = time.time() // 60
            seen = asyncio.run(flood(pair, client, 40, at_once=4))
            minutes = 1 + time.time() // 60 - minute
            assert 18 <= seen[200, ""] <= 18 * minutes
            assert upstream.stats()["requests"] == seen[200, ""]
        finally:
            stack.stop()


def post(base_url: str, client: Client, body: Any = BODY) -> httpx.Response:
    return httpx.post(base_url + CHAT, headers=client.headers, json=body, timeout=20)


def only(servers: Servers, base_url: str) -> list[Server]:
    return [server for server in (servers.door, servers.twin) if server.base_url == base_url]


def test_answers_and_refusals_tell_what_is_left(routed: Client, servers: Servers, base_url: str) -> None:
    limit(routed, only(servers, base_url), monthly_request_quota=2, rpm=100, tpm=100_000)
    first, second, third = (post(base_url, routed) for _ in range(3))
    assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
    assert [answer.headers["x-nexus-quota-remaining"] for answer in (first, second, third)] == ["1", "0", "0"]
    for answer in (first, second, third):
        assert answer.headers["x-ratelimit-limit-requests"] == "100"
        assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
        assert 90 <= int(answer.headers["x-ratelimit-remaining-requests"]) <= 100
        assert 98_000 < int(answer.headers["x-ratelimit-remaining-tokens"]) <= 100_000
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
        assert answer.headers["x-ratelimit-reset-tokens"].endswith("s")
    error = third.json()["error"]
    assert (error["code"], error["type"]) == ("QUOTA_EXCEEDED", "rate_limit_error")
    assert error["nexus"] == {"limit": "monthly_request_quota", "value": 2}
    assert third.headers["x-should-retry"] == "false"
    assert 0 < int(third.headers["retry-after"]) <= 31 * 86_400
    assert third.headers["x-request-id"] == error["request_id"]
    assert routed.row(error["request_id"]).error_class == "quota_exceeded"


def test_a_key_without_limits_hears_of_none(routed: Client, base_url: str) -> None:
    answer = post(base_url, routed)
    assert not [name for name in answer.headers if "ratelimit" in name or "quota" in name]


def test_what_reaches_no_provider_uses_up_nothing(routed: Client, servers: Servers, base_url: str) -> None:
    limit(routed, only(servers, base_url), monthly_request_quota=1)
    assert post(base_url, routed, {"model": "gpt-4o"}).status_code == 400
    assert post(base_url, routed, {**BODY, "model": "unknown"}).status_code == 404
    assert post(base_url, routed).status_code == 200
    # The quota stands before the body: what is refused for it is not read.
    refused = post(base_url, routed, {"model": "gpt-4o"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "QUOTA_EXCEEDED")


def test_requests_a_minute(routed: Client, upstream: Upstream, fleet: list[Server]) -> None:
    limit(routed, fleet, rpm=30)
    for _ in range(3):
        minute_with_room(20)
        upstream.reset()
        minute = time.time() // 60
        seen = asyncio.run(flood(fleet, routed, 120, at_once=12))
        if time.time() // 60 == minute:
            break  # else the machine was slow, and a part of them came in the next minute
    assert seen == {(200, ""): 30, (429, "RATE_LIMITED"): 90}
    assert upstream.stats()["requests"] == 30
    refused = post(fleet[0].base_url, routed)
    assert refused.json()["error"]["nexus"] == {"limit": "rpm", "value": 30}
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-should-retry" not in refused.headers


def test_tokens_a_minute_are_reserved_and_settled_with_the_real_use(
    routed: Client, servers: Servers, base_url: str
) -> None:
    limit(routed, only(servers, base_url), tpm=1000)
    minute_with_room(15)
    # Four requests that may take 300 each do not fit at once, but each takes far less in the end.
    answers = [post(base_url, routed, {**BODY, "max_tokens": 280}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    used = sum(answer.json()["usage"]["total_tokens"] for answer in answers)
    after = post(base_url, routed, {**BODY, "max_tokens": 280})
    assert 1000 - used - 330 <= int(after.headers["x-ratelimit-remaining-tokens"]) <= 1000 - used
    too_much = post(base_url, routed, {**BODY, "max_tokens": 5000})
    assert (too_much.status_code, too_much.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert too_much.headers["x-should-retry"] == "false"
    assert "max_tokens" in too_much.json()["error"]["message"]


def test_requests_at_once(client: Client, servers: Servers, base_url: str) -> None:
    with Upstream(latency_ms=700) as slow:
        client.add_provider(slow, name="slow")
        limit(client, only(servers, base_url), max_concurrent=3)
        first = asyncio.run(flood(only(servers, base_url), client, 8, at_once=8))
        assert first == {(200, ""): 3, (429, "RATE_LIMITED"): 5}
        again = asyncio.run(flood(only(servers, base_url), client, 3, at_once=3))
        assert again == {(200, ""): 3}


def minute_with_room(seconds: float) -> None:
    """Wait for the next minute where fewer seconds are left of the present one."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left)
