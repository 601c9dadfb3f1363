"""GET /metrics from real servers: what it says agrees with what was asked, in every process, and who may read it."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from accounts.models import ApiKey
from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.scraping import scrape
from tests.stack import eventually
from tests.upstream import Upstream


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], **fields}


def ask(url: str, client: Client, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=body(**fields), headers=client.headers, timeout=30)


@pytest.fixture
def named(client: Client, upstream: Upstream, backup: Upstream, servers: Servers) -> Client:
    """A client whose two providers no other test has: figures are of the whole machine."""
    client.add_provider(backup, name=f"{client.tenant.slug} second", family="openai_compatible", weight=10)
    client.add_provider(upstream, name=f"{client.tenant.slug} first", weight=100)
    in_force(servers.door, servers.twin)
    return client


def test_the_figures_agree_with_the_request_log(base_url: str, named: Client, upstream: Upstream) -> None:
    first, second = f"{named.tenant.slug} first", f"{named.tenant.slug} second"
    before = scrape(base_url)
    answers = [ask(base_url, named) for _ in range(3)]
    answers.append(ask(base_url, named, stream=True))
    upstream.script("status=503")
    answers.append(ask(base_url, named))  # failed over
    upstream.script("status=400")
    answers.append(ask(base_url, named))  # the client's fault, as the provider says
    rows = [named.row(answer.headers["x-request-id"]) for answer in answers]
    after = scrape(base_url)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 400]
    assert after.sum("nexus_requests_total", provider=first, model="gpt-4o", family="openai", status="2xx") == 4
    assert after.sum("nexus_requests_total", provider=first, status="4xx") == 1
    assert after.sum("nexus_requests_total", provider=second, family="openai_compatible", status="2xx") == 1
    assert after.sum("nexus_attempts_total", provider=first, fate="200") == 4
    assert after.sum("nexus_attempts_total", provider=first, fate="503") == 1
    assert after.sum("nexus_attempts_total", provider=second, fate="200") == 1
    for kind in ("input", "output"):
        logged = sum(getattr(row, f"{kind}_tokens") or 0 for row in rows)
        told = sum(after.sum("nexus_tokens_total", provider=name, kind=kind) for name in (first, second))
        assert told == logged > 0
    cost = sum((row.cost_usd or Decimal(0) for row in rows), Decimal(0))
    told = after.sum("nexus_cost_usd_total", provider=first) + after.sum("nexus_cost_usd_total", provider=second)
    assert told == pytest.approx(float(cost))
    assert cost > 0

    place = {"endpoint": "chat/completions", "family": "openai"}
    for name, number in (("nexus_request_duration_seconds", 5), ("nexus_time_to_first_content_seconds", 4)):
        assert after.sum(f"{name}_count", **place) - before.sum(f"{name}_count", **place) == number
        assert after.sum(f"{name}_bucket", le="+Inf", **place) == after.sum(f"{name}_count", **place)
        assert after.sum(f"{name}_sum", **place) > before.sum(f"{name}_sum", **place)
    overhead = [each.sum("nexus_overhead_seconds_count", endpoint="chat/completions") for each in (before, after)]
    assert overhead[1] - overhead[0] == 5  # of the answers


def test_refusals_are_counted_by_their_code_and_strangers_words_are_no_labels(base_url: str, named: Client) -> None:
    before = scrape(base_url)
    assert ask(base_url, named, model="made up by a client").status_code == 404
    wrong = {"authorization": "Bearer nxk_wrong"}
    assert httpx.post(f"{base_url}/v1/chat/completions", json=body(), headers=wrong).status_code == 401
    after = scrape(base_url)
    for code in ("MODEL_NOT_FOUND", "INVALID_API_KEY"):
        place = {"endpoint": "chat/completions", "code": code}
        assert after.sum("nexus_request_errors_total", **place) - before.sum("nexus_request_errors_total", **place) == 1
    assert "made up by a client" not in after.labels("nexus_requests_total", "model")


def test_a_stream_that_broke_and_a_client_that_left_are_told(base_url: str, named: Client, upstream: Upstream) -> None:
    first = f"{named.tenant.slug} first"
    upstream.script("cut@3")
    broken = ask(base_url, named, stream=True)
    assert "STREAM_INTERRUPTED" in broken.text
    upstream.script("stall@3")
    with httpx.stream(
        "POST", f"{base_url}/v1/chat/completions", json=body(stream=True), headers=named.headers, timeout=30
    ) as leaving:
        next(leaving.iter_bytes())

    def both() -> bool:
        now = scrape(base_url)
        return (
            now.sum("nexus_requests_total", provider=first, status="5xx") == 1
            and now.sum("nexus_requests_total", provider=first, status="499") == 1
        )

    eventually(both, what="both endings in the figures")


@pytest.mark.parametrize(("field", "limit"), [("rpm", "rpm"), ("monthly_request_quota", "monthly_request_quota")])
def test_what_a_limit_refused_is_told_by_the_limits_name(
    base_url: str, named: Client, servers: Servers, field: str, limit: str
) -> None:
    ApiKey.objects.for_tenant(named.tenant).filter(id=named.key_id).update(**{field: 1})
    in_force(servers.door, servers.twin)
    before = scrape(base_url).sum("nexus_limit_refusals_total", limit=limit)
    statuses = [ask(base_url, named).status_code for _ in range(5)]
    refused = statuses.count(429)
    assert refused >= 3  # of the others two may be let through, if a minute ends meanwhile
    assert scrape(base_url).sum("nexus_limit_refusals_total", limit=limit) == before + refused


def test_requests_under_way_are_told(base_url: str, named: Client, upstream: Upstream) -> None:
    upstream.script("stall@3")
    # What another process told a moment ago may be a request of the test before, which is over.
    eventually(lambda: scrape(base_url).sum("nexus_requests_in_flight") == 0, what="the end of earlier requests")
    with httpx.stream(
        "POST", f"{base_url}/v1/chat/completions", json=body(stream=True), headers=named.headers, timeout=30
    ) as running:
        chunks = running.iter_bytes()
        next(chunks)
        eventually(lambda: scrape(base_url).sum("nexus_requests_in_flight") == 1, what="a request under way")


def test_the_state_of_a_circuit_is_told_by_every_process(servers: Servers, named: Client, upstream: Upstream) -> None:
    first, second = f"{named.tenant.slug} first", f"{named.tenant.slug} second"
    assert scrape(servers.door).sum("nexus_circuit_state", provider=first) == 0
    changes = scrape(servers.door).sum("nexus_circuit_changes_total", to="open")
    upstream.script("status=500", repeat=True)
    for _ in range(5):
        assert ask(servers.door.base_url, named).status_code == 200
    for server in (servers.door, servers.twin):
        eventually(lambda: scrape(server).sum("nexus_circuit_state", provider=first) == 2, what="the open circuit")  # noqa: B023
        assert scrape(server).sum("nexus_circuit_state", provider=second) == 0
        assert scrape(server).sum("nexus_circuit_changes_total", to="open") == changes + 1


def test_it_tells_of_the_processes_and_what_they_depend_on(base_url: str, servers: Servers, named: Client) -> None:
    now = scrape(base_url)
    ready = httpx.get(f"{base_url}/readyz").json()["checks"]["configuration"]["revision"]
    assert now.sum("nexus_processes") >= 2
    assert now.sum("nexus_processes") == len(now.labels("nexus_process_start_time_seconds", "pid"))
    assert 0 < now.sum("nexus_config_revision") <= ready
    assert 0 <= now.sum("nexus_config_age_seconds") < 30
    assert now.sum("nexus_breaker_processes", backend="redis") == now.sum("nexus_processes")
    assert now.sum("nexus_breaker_processes", backend="local") == 0
    assert now.sum("nexus_limits_processes", backend="shared") == now.sum("nexus_processes")
    assert now.sum("nexus_limits_processes", backend="local") == 0
    assert now.sum("nexus_spool_dropped_records_total") == 0
    for name in ("nexus_process_resident_memory_bytes", "nexus_process_cpu_seconds_total", "nexus_process_open_fds"):
        assert now.sum(name) > 0
    assert {name for name, _ in now.values if name.startswith("nexus_spool_pending")} == {
        "nexus_spool_pending_bytes",
        "nexus_spool_pending_segments",
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_is_for_reading_only(base_url: str, method: str) -> None:
    answer = httpx.request(method, f"{base_url}/metrics")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert httpx.head(f"{base_url}/metrics").content == b""


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto"])
def test_what_came_through_a_proxy_is_not_local(base_url: str, header: str) -> None:
    answer = httpx.get(f"{base_url}/metrics", headers={header: "127.0.0.1"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "FORBIDDEN"
    assert "nexus_requests" not in answer.text
