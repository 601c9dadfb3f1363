"""Second tries do not help a provider in trouble: however many clients ask, hardly more reaches it than they send."""

import asyncio
import time
from collections import Counter
from dataclasses import asdict, dataclass

import httpx
import pytest

from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.outages import BODY
from tests.reports import report
from tests.upstream import Upstream

MOST, BESIDE = 1.2, 3  # upstream requests for each one of a client; and so many more


@dataclass(frozen=True)
class Storm:
    """What clients sent and what reached the provider."""

    client_requests: int
    upstream_requests: int
    seconds: float


async def ask_all(url: str, client: Client, *, at_once: int, each: int) -> Counter[int]:
    seen = Counter[int]()

    async def one(http: httpx.AsyncClient) -> None:
        for _ in range(each):
            answer = await http.post("/v1/chat/completions", json=BODY)
            seen[answer.status_code] += 1

    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(base_url=url, headers=client.headers, timeout=60, limits=limits) as http:
        await asyncio.gather(*(one(http) for _ in range(at_once)))
    return seen


def storm(client: Client, servers: Servers, *, fault: str, status: int, at_once: int, each: int) -> Storm:
    with Upstream(family="openai", log_limit=200_000) as upstream:
        upstream.script(fault, repeat=True)
        client.add_provider(upstream, name="in trouble")
        in_force(servers.door)
        began = time.monotonic()
        seen = asyncio.run(ask_all(servers.door.base_url, client, at_once=at_once, each=each))
        assert set(seen) <= {status, 503}
        assert seen.total() == at_once * each
        return Storm(seen.total(), upstream.stats()["requests"], round(time.monotonic() - began, 1))


# 429 leaves the circuit closed, so that nothing but the budget of second tries stands between clients and provider. It
# answers slowly, as such providers do: the budget is a share of the requests that wait.
TROUBLES = pytest.mark.parametrize(
    ("fault", "status"), [("latency=2000+status=429;retry_after=0", 429), ("status=503", 502)], ids=["429", "503"]
)


@TROUBLES
def test_second_tries_are_a_small_part_of_what_a_provider_in_trouble_gets(
    client: Client, servers: Servers, fault: str, status: int
) -> None:
    found = storm(client, servers, fault=fault, status=status, at_once=60, each=2)
    # Not the figure, which takes more requests: that it is far from the three times that everybody's tries would make.
    assert found.upstream_requests < 1.4 * found.client_requests


@pytest.mark.chaos
@pytest.mark.timeout(300)
@TROUBLES
def test_a_storm_that_lasts(client: Client, servers: Servers, fault: str, status: int) -> None:
    found = storm(client, servers, fault=fault, status=status, at_once=100, each=10)
    report(f"storm_of_{status}", **asdict(found))
    assert found.upstream_requests <= MOST * found.client_requests + BESIDE
