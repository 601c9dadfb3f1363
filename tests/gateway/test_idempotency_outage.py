"""Idempotency keys while PostgreSQL does not answer: no request that asks for the promise runs without it."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.gateway.conftest import Client
from tests.gateway.outages import BODY, Ground, a_client
from tests.gateway.outages import ground as made_ground
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


@pytest.fixture
def scene(committed: None) -> Iterator[Scene]:
    with made_ground() as ground, Upstream() as upstream:
        client = a_client(upstream)
        yield Scene(ground, ground.stack().serve("all"), client, upstream)


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
