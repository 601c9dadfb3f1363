"""The figures of a machine with several workers: one answer for all of them, through deaths and restarts."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from django.db import connection

from tests.gateway.conftest import Client, in_force
from tests.gateway.scraping import Scrape, scrape
from tests.gateway.test_metrics import ask, body
from tests.stack import Server, Stack, eventually
from tests.upstream import Upstream

TOKEN = "a-token-for-the-operators-prometheus"


@pytest.fixture(scope="module")
def stack(committed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("alone"), connection.settings_dict["NAME"])
    yield stack
    stack.stop()


@pytest.fixture
def workers(stack: Stack) -> Iterator[Server]:
    with stack.serving("all", workers=3) as (server,):
        eventually(lambda: scrape(server).sum("nexus_processes") == 3, what="three workers in the figures")
        yield server


def test_any_worker_tells_of_all_and_a_killed_one_takes_nothing_back(
    workers: Server, client: Client, upstream: Upstream
) -> None:
    client.add_provider(upstream, name="primary")
    in_force(workers)
    before = scrape(workers)
    broken: list[str] = []
    stop = threading.Event()

    def load(number: int) -> int:
        answered = 0
        with httpx.Client(base_url=workers.base_url, headers=client.headers, timeout=10) as http:
            while not stop.is_set():
                try:
                    answered += http.post("/v1/chat/completions", json=body()).status_code == 200
                except httpx.TransportError as error:
                    broken.append(f"{number} {type(error).__name__}")
        return answered

    def watch() -> list[Scrape]:
        seen = [scrape(workers)]
        while not stop.is_set():
            try:
                seen.append(scrape(workers))
            except httpx.TransportError:
                continue  # the worker that was asked was killed
        return seen

    with ThreadPoolExecutor(5) as pool:
        watching = pool.submit(watch)
        loads = [pool.submit(load, number) for number in range(4)]
        try:
            for _ in range(3):
                kill_one(workers)
        finally:
            stop.set()
        seen, answered = watching.result(), sum(running.result() for running in loads)
    assert len(seen) > 10
    for earlier, later in pairwise(seen):
        for series, value in earlier.values.items():
            if series[0] in earlier.counters and "pid" not in dict(series[1]):
                assert later.values[series] >= value, series
    told = scrape(workers).sum("nexus_requests_total", status="2xx") - before.sum("nexus_requests_total", status="2xx")
    # A killed worker takes what it counted in its last second with it, and answers that nobody got were counted.
    assert answered * 0.7 < told <= answered + len(broken)


def kill_one(server: Server) -> None:
    before = server.children()
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(set(server.children()) - {before[0]}) == 3, seconds=20, what="the worker's successor")
    eventually(
        lambda: scrape(server).sum("nexus_processes") == 3, seconds=20, what="its numbers among those of the living"
    )


def test_a_restart_goes_on_where_it_stopped(stack: Stack, client: Client, upstream: Upstream) -> None:
    client.add_provider(upstream, name=f"of {client.tenant.slug}")
    counts = []
    for _ in range(2):
        server = stack.serve("all")
        in_force(server)
        assert ask(server.base_url, client).status_code == 200
        counts.append(scrape(server).sum("nexus_requests_total", provider=f"of {client.tenant.slug}"))
        server.stop()
    assert counts == [1, 2]


def test_what_waits_for_the_shipper_is_told(stack: Stack, client: Client, upstream: Upstream) -> None:
    client.add_provider(upstream, name="primary")
    server = stack.serve("all")
    in_force(server)
    before = scrape(server).sum("nexus_spool_pending_bytes")
    assert ask(server.base_url, client).status_code == 200
    eventually(lambda: scrape(server).sum("nexus_spool_pending_bytes") > before, what="a segment that waits")
    assert scrape(server).sum("nexus_spool_oldest_seconds") > 0
    shipping = stack.run("ship")
    eventually(lambda: scrape(server).sum("nexus_spool_oldest_seconds") == 0, what="an empty spool")
    shipping.stop()
    server.stop()


def test_a_token_opens_it_from_anywhere_and_nothing_else_does(stack: Stack) -> None:
    server = stack.serve("all", environment={"NEXUS_METRICS_TOKEN": TOKEN})
    url = f"{server.base_url}/metrics"
    for headers in (
        {},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
    ):
        refused = httpx.get(url, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in refused.text
    through = {"authorization": f"bearer {TOKEN}", "x-forwarded-for": "192.0.2.7"}
    assert scrape(server, headers=through).sum("nexus_processes") == 1
    server.stop()
    assert TOKEN not in stack.logs()


def test_tenants_are_labels_on_demand(stack: Stack, client: Client, upstream: Upstream) -> None:
    client.add_provider(upstream, name="primary", models={'odd "name" \\ here': "gpt-4o"})
    server = stack.serve("all", environment={"NEXUS_METRICS_BY_TENANT": "true"})
    in_force(server)
    assert ask(server.base_url, client, model='odd "name" \\ here').status_code == 200
    now = scrape(server)
    slug = client.tenant.slug
    assert now.sum("nexus_requests_total", tenant=slug, model='odd "name" \\ here') == 1
    assert now.sum("nexus_attempts_total", tenant=slug, fate="200") == 1
    assert now.sum("nexus_tokens_total", tenant=slug) > 0
    assert slug in now.labels("nexus_circuit_state", "tenant")
    server.stop()
    plain = stack.serve("all")
    again = scrape(plain)
    assert again.labels("nexus_requests_total", "tenant") == set()
    assert again.sum("nexus_requests_total") == now.sum("nexus_requests_total")
    plain.stop()


def test_numbers_that_cannot_be_read_are_a_503(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "meters").touch()
    server = stack.serve("all", environment={"NEXUS_DATA_DIR": str(folder)})
    answer = httpx.get(f"{server.base_url}/metrics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "METRICS_UNREADABLE")
    assert httpx.get(f"{server.base_url}/healthz").status_code == 200
    server.stop()
