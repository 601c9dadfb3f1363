"""What clients notice while Redis, PostgreSQL or the disk is away; the upstream's own counters tell the truth.

Each outage has a short form, which holds on a busy machine, and a long one (`make chaos`), whose figures are reported.
"""

import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from accounts.models import ApiKey
from gateway.models import RequestLog
from tests.gateway.conftest import Client, in_force
from tests.gateway.outages import BODY, Ground, Load, a_client, check, ground, until_it_says
from tests.reports import report
from tests.stack import Server, eventually
from tests.upstream import Upstream

pytestmark = pytest.mark.timeout(300)  # the first test of a module also makes its servers and migrates them
WITHOUT_SEGMENTS = 1024 * 1024  # bytes that a file may have: a segment of the spool has more


@pytest.fixture(scope="module")
def own(django_db_setup: None, django_db_blocker: Any) -> Iterator[Ground]:
    with django_db_blocker.unblock(), ground() as made:
        yield made


@pytest.fixture
def shaky() -> Iterator[Upstream]:
    """A provider that fails now and then: the circuit board has something to tell Redis about."""
    with Upstream(family="openai", fail_rate=0.2, fail_status=503, log_limit=200_000) as running:
        yield running


@pytest.fixture
def sound() -> Iterator[Upstream]:
    with Upstream(family="openai_compatible", log_limit=200_000) as running:
        yield running


@pytest.fixture(scope="module")
def server(own: Ground) -> Server:
    """A runtime that lives through all of these outages, one after the other."""
    stack = own.stack()
    stack.run("ship")
    return stack.serve("all")


def rows(load: Load) -> int:
    return RequestLog.objects.filter(id__in=load.ids).count()


# --- Redis


def redis_outage(
    own: Ground, server: Server, client: Client, *, how: str, seconds: float, base_seconds: float
) -> dict[str, Any]:
    """Take Redis away under load; return what the clients noticed."""
    with Load(server.base_url, client.headers) as before:
        time.sleep(base_seconds)
    with Load(server.base_url, client.headers) as load:
        eventually(lambda: load.asked > 10, what="traffic")
        own.stall("valkey") if how == "stalled" else own.kill("valkey")
        try:
            until_it_says(server.base_url, "circuits", ok=False)
            assert "this process alone" in check(server.base_url, "circuits")["detail"]
            assert httpx.get(f"{server.base_url}/readyz").status_code == 200
            time.sleep(seconds)
        finally:
            own.resume("valkey") if how == "stalled" else own.start("valkey")
        until_it_says(server.base_url, "circuits", ok=True)
    assert load.broken == {}
    eventually(lambda: rows(load) == len(load.ids), what="the rows")
    return {
        "seconds_away": seconds,
        "requests": load.asked,
        "success_percent": round(100 * load.succeeded / load.asked, 3),
        "base_p50_ms": before.percentile(0.5),
        "base_p99_ms": before.percentile(0.99),
        "base_slowest_ms": before.percentile(1),
        "p50_ms": load.percentile(0.5),
        "p99_ms": load.percentile(0.99),
        "slowest_ms": load.percentile(1),
    }


@pytest.mark.parametrize("how", ["dead", "stalled"])
def test_nobody_notices_that_redis_is_away(
    own: Ground, server: Server, shaky: Upstream, sound: Upstream, how: str
) -> None:
    client = a_client(shaky, sound)
    in_force(server)
    found = redis_outage(own, server, client, how=how, seconds=3, base_seconds=2)
    assert found["success_percent"] == 100
    assert found["slowest_ms"] < found["base_slowest_ms"] + 5_000  # not the figure: that it is no matter of a timeout


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["dead", "stalled"])
def test_redis_is_away_for_long(own: Ground, server: Server, shaky: Upstream, sound: Upstream, how: str) -> None:
    client = a_client(shaky, sound)
    in_force(server)
    found = redis_outage(own, server, client, how=how, seconds=30, base_seconds=30)
    report(f"redis_{how}", **found)
    assert found["success_percent"] >= 99.9
    assert found["slowest_ms"] <= found["base_slowest_ms"] + 150


@pytest.mark.parametrize("how", ["dead", "stalled"])
def test_a_key_is_revoked_within_seconds_though_redis_is_away(
    own: Ground, server: Server, sound: Upstream, how: str
) -> None:
    client = a_client(sound)
    in_force(server)
    assert ask(server, client.headers).status_code == 200
    own.stall("valkey") if how == "stalled" else own.kill("valkey")
    try:
        until_it_says(server.base_url, "circuits", ok=False)
        ApiKey.objects.for_tenant(client.tenant).filter(id=client.key_id).update(revoked_at=datetime.now(UTC))
        eventually(lambda: ask(server, client.headers).status_code == 401, seconds=5, what="the end of the key")
    finally:
        own.resume("valkey") if how == "stalled" else own.start("valkey")
    until_it_says(server.base_url, "circuits", ok=True)


# --- PostgreSQL


def database_outage(own: Ground, server: Server, sound: Upstream, *, how: str, seconds: float) -> dict[str, Any]:
    """Take PostgreSQL away under load; return what the clients noticed and what the log knows afterwards."""
    client = a_client(sound)
    in_force(server)
    with Load(server.base_url, client.headers) as load:
        eventually(lambda: load.asked > 10, what="traffic")
        own.stall("postgres") if how == "stalled" else own.kill("postgres")
        try:
            told = until_it_says(server.base_url, "database", ok=False)
            assert "PostgreSQL does not answer" in told["detail"]
            assert httpx.get(f"{server.base_url}/readyz").status_code == 200
            time.sleep(seconds)
        finally:
            back_at = time.monotonic()
            own.resume("postgres") if how == "stalled" else own.start("postgres")
        until_it_says(server.base_url, "database", ok=True)
    eventually(lambda: rows(load) == len(load.ids), seconds=60, what="the rows")
    shipped_after = time.monotonic() - back_at
    assert load.broken == {}
    # Every request that reached the provider has its row, and there are no others.
    assert sound.stats()["requests"] == load.asked == len(client.rows())
    assert check(server.base_url, "spool")["dropped"] == 0
    return {
        "seconds_away": seconds,
        "requests": load.asked,
        "success_percent": round(100 * load.succeeded / load.asked, 3),
        "rows": len(client.rows()),
        "upstream_requests": sound.stats()["requests"],
        "p99_ms": load.percentile(0.99),
        "slowest_ms": load.percentile(1),
        "rows_complete_after_seconds": round(shipped_after, 1),
    }


@pytest.mark.parametrize("how", ["dead", "stalled"])
def test_requests_go_on_without_postgresql_and_the_log_is_whole_afterwards(
    own: Ground, server: Server, sound: Upstream, how: str
) -> None:
    assert database_outage(own, server, sound, how=how, seconds=5)["success_percent"] == 100


@pytest.mark.chaos
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["dead", "stalled"])
def test_postgresql_is_away_for_long(own: Ground, server: Server, sound: Upstream, how: str) -> None:
    found = database_outage(own, server, sound, how=how, seconds=120)
    report(f"postgres_{how}", **found)
    assert found["success_percent"] == 100
    assert found["rows"] == found["upstream_requests"]


# --- the disk


def test_a_process_that_starts_on_a_full_disk_serves_and_tells_what_it_loses(own: Ground, sound: Upstream) -> None:
    client = a_client(sound)
    stack = own.stack("full")
    stack.run("ship")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (WITHOUT_SEGMENTS, before[1]))  # inherited: no room for a segment
    try:
        server = stack.serve("all")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for _ in range(20):
        assert ask(server, client.headers).status_code == 200
    told = check(server.base_url, "spool")
    assert told["ok"] is False
    assert "records are lost: [Errno 27]" in told["detail"]
    assert told["dropped"] == 40  # two for each request
    assert "loses records" in stack.logs()

    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)

    def written() -> bool:
        ask(server, client.headers)
        return bool(check(server.base_url, "spool")["ok"])

    eventually(written, what="room for records")
    ask(server, client.headers)
    lost = check(server.base_url, "spool")["dropped"] // 2
    eventually(lambda: len(client.rows()) == sound.stats()["requests"] - lost, what="the rows of all others")
    stack.stop()


def ask(server: Server, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{server.base_url}/v1/chat/completions", json=BODY, headers=headers, timeout=10)
