"""Idempotency keys while PostgreSQL does not answer: no request that asks for the promise runs without it."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import httpx
import pytest

from tests.gateway.conftest import Client, in_force
from tests.gateway.outages import BODY, Ground, a_client
from tests.gateway.outages import ground as made_ground
from tests.gateway.test_idempotency_chances import PASSING, Bustle, check_all, faults
from tests.reports import report
from tests.stack import Server, eventually
from tests.upstream import Upstream


@dataclass
class Scene:
    """A server on a PostgreSQL of the test's own, and a client of it."""

    ground: Ground
    server: Server
    client: Client
    upstream: Upstream

    def post(self, key: str | None) -> httpx.Response:
        headers = {**self.client.headers, **({"idempotency-key": key} if key else {})}
        return httpx.post(f"{self.server.base_url}/v1/chat/completions", json=BODY, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def stage(committed: None) -> Iterator[tuple[Ground, Server]]:
    with made_ground() as ground:
        yield ground, ground.stack().serve("all")


@pytest.fixture
def scene(stage: tuple[Ground, Server]) -> Iterator[Scene]:
    ground, server = stage
    with Upstream() as upstream:
        client = a_client(upstream)
        in_force(server)
        yield Scene(ground, server, client, upstream)


def test_without_postgresql_only_requests_with_a_key_are_refused(scene: Scene) -> None:
    kept = secrets.token_hex(8)
    assert scene.post(kept).status_code == 200
    new = secrets.token_hex(8)
    scene.ground.stall("postgres")
    try:
        for key in (kept, new):
            refused = scene.post(key)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "IDEMPOTENCY_UNAVAILABLE")
            assert refused.headers["retry-after"] == "1"
        assert scene.upstream.stats()["requests"] == 1
        assert scene.post(None).status_code == 200
    finally:
        scene.ground.resume("postgres")
    again = eventually(lambda: a if (a := scene.post(kept)).status_code == 200 else None, seconds=20, what="the replay")
    assert again.headers["idempotency-replayed"] == "true"
    assert scene.upstream.stats()["requests"] == 2
    # What PostgreSQL was asked while it slept does not hold the key for the length of a lease.
    first = eventually(lambda: a if (a := scene.post(new)).status_code == 200 else None, seconds=15, what="an answer")
    assert "idempotency-replayed" not in first.headers
    assert scene.upstream.stats()["requests"] == 3


def test_postgresql_may_restart_between_two_requests_with_keys(scene: Scene) -> None:
    """The connections that were open before are dead; nobody notices."""
    key = secrets.token_hex(8)
    assert scene.post(key).status_code == 200
    scene.ground.kill("postgres")
    assert scene.post(secrets.token_hex(8)).status_code == 503
    scene.ground.start("postgres")
    assert scene.post(key).headers["idempotency-replayed"] == "true"
    assert scene.upstream.stats()["requests"] == 1


def test_an_answer_that_comes_while_postgresql_is_away_is_kept_when_it_is_back(scene: Scene) -> None:
    scene.upstream.script("latency=1500")
    key = secrets.token_hex(8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(scene.post, key)
        eventually(lambda: scene.upstream.stats()["in_flight"], what="the upstream call")
        scene.ground.stall("postgres")
        try:
            answer = first.result()
        finally:
            scene.ground.resume("postgres")
    assert answer.status_code == 200  # it is not held back from the client who pays for it
    again = eventually(lambda: a if (a := scene.post(key)).status_code == 200 else None, seconds=20, what="the replay")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == answer.content
    assert scene.upstream.stats()["requests"] == 1


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_copies_at_random_are_paid_once_while_postgresql_comes_and_goes(committed: None) -> None:
    """Stalls shorter than the lease: after a longer one a request that still runs may be asked for again."""
    seed = secrets.randbelow(1_000_000)
    chance = Random(seed)
    with made_ground() as ground, Upstream() as upstream:
        client = a_client(upstream)
        patient = {"NEXUS_IDEMPOTENCY_LEASE_SECONDS": "10"}
        servers = [ground.stack(name, environment=patient).serve("all") for name in ("one", "two")]
        upstream.script(*faults(chance), repeat=True)
        bustle = Bustle(client, servers, seed, passing=PASSING | {"IDEMPOTENCY_UNAVAILABLE"})
        until, stalls = time.monotonic() + 45, 0
        with bustle.going_on():
            while time.monotonic() < until:
                time.sleep(chance.uniform(0.2, 3))
                ground.stall("postgres")
                time.sleep(chance.uniform(0.1, 4))
                ground.resume("postgres")
                stalls += 1
        report("idempotency_outage", seed=seed, stalls=stalls, **check_all(bustle, upstream, servers[0]))
