"""A runtime worker is killed under load: the service goes on, and every answered request is logged exactly once."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx

from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.totals import log_totals, rollup_totals
from tests.stack import Server, eventually
from tests.upstream import Upstream

KILLS = 4
CLIENTS = 8


def kill_one(server: Server, answered: list[UUID]) -> None:
    """Kill one of two workers once there is traffic again, and wait for its successor."""
    floor = len(answered) + 50
    eventually(lambda: len(answered) > floor, seconds=60, what="fifty more answers")
    before = server.children()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(set(server.children()) - {before[0]}) == 2, seconds=60, what="the worker's successor")


def test_the_service_goes_on_and_the_log_tells_the_truth(client: Client, upstream: Upstream, servers: Servers) -> None:
    client.add_provider(upstream, name="primary")
    server = servers.stack.serve("all", workers=2)
    in_force(server)
    answered: list[UUID] = []
    broken = Counter[str]()
    stop = threading.Event()

    def load(number: int) -> None:
        body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"Hello {number}"}]}
        with httpx.Client(base_url=server.base_url, headers=client.headers, timeout=60) as http:
            while not stop.is_set():
                try:
                    answer = http.post("/v1/chat/completions", json={**body, "stream": number % 2 == 0})
                except httpx.TransportError as error:
                    broken[type(error).__name__] += 1
                    continue
                assert answer.status_code == 200, answer.text
                answered.append(UUID(answer.headers["x-request-id"]))

    with ThreadPoolExecutor(CLIENTS) as pool:
        loads = [pool.submit(load, number) for number in range(CLIENTS)]
        try:
            for _ in range(KILLS):
                kill_one(server, answered)
        finally:
            stop.set()
        for running in loads:
            running.result()
    server.stop()
    # A connection that a killed process held is lost, and nothing else: at most one per client and kill.
    assert sum(broken.values()) <= CLIENTS * KILLS
    assert len(answered) > 200
    assert len(set(answered)) == len(answered)

    def shipped() -> bool:
        return len(client.rows()) >= len(answered) and not open_segments()

    def open_segments() -> list[str]:
        spool = servers.stack.folder / "spool"
        return [path.name for path in spool.iterdir() if path.suffix == ".sealed"]

    eventually(shipped, seconds=30, what="the rows")
    statuses = {row.id: row.status for row in client.rows()}
    assert {statuses[id_] for id_ in answered} == {200}
    # Everything that reached the provider is accounted for: an answer, or a row that says what became of it.
    eventually(lambda: len(client.rows()) == upstream.stats()["requests"], seconds=20, what="one row per upstream call")
    assert set(statuses.values()) <= {200, 499, 0}
    totals = log_totals([client.tenant.id])
    assert totals == rollup_totals([client.tenant.id])
