"""A runtime worker is killed under load: the service goes on, and every answered request is logged exactly once."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.db import connection

from gateway.models import RequestLog
from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.totals import log_totals, rollup_totals
from tests.reports import report
from tests.stack import Server, Stack, eventually
from tests.upstream import Upstream

KILLS = 4
CLIENTS = 8


@dataclass
class Traffic:
    """Clients that ask all the time over a service whose processes are killed."""

    answered: list[UUID] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, url: str, client: Client, number: int) -> None:
        body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"Hello {number}"}]}
        with httpx.Client(base_url=url, headers=client.headers, timeout=60) as http:
            while not self.stop.is_set():
                try:
                    answer = http.post("/v1/chat/completions", json={**body, "stream": number % 2 == 0})
                except httpx.TransportError as error:
                    self.broken[type(error).__name__] += 1
                    continue
                assert answer.status_code == 200, answer.text
                self.answered.append(UUID(answer.headers["x-request-id"]))

    def has_answered(self, count: int) -> bool:
        return len(self.answered) > count

    def while_it_flows(self, url: str, client: Client, kill: Callable[[], object], *, times: int) -> None:
        """Kill so often, and again only when fifty more requests have been answered."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            loads = [pool.submit(self.ask, url, client, number) for number in range(CLIENTS)]
            try:
                for _ in range(times):
                    floor = len(self.answered) + 50
                    eventually(partial(self.has_answered, floor), seconds=60, what="fifty more answers")
                    kill()
            finally:
                self.stop.set()
            for running in loads:
                running.result()


def kill_one(server: Server, *, which: int = 0) -> None:
    """Kill a worker, and wait for its successor."""
    before = server.children()
    os.kill(before[which], signal.SIGKILL)
    eventually(
        lambda: len(set(server.children()) - {before[which]}) == len(before), seconds=60, what="the worker's successor"
    )


def account(client: Client, upstream: Upstream, traffic: Traffic, spool: Path) -> dict[str, int]:
    """Wait until everything is shipped, and hold the log against what clients and provider know."""
    answered = traffic.answered
    assert len(set(answered)) == len(answered)

    def shipped() -> bool:
        sealed = [path.name for path in spool.iterdir() if path.suffix == ".sealed"]
        return RequestLog.objects.for_tenant(client.tenant).count() >= len(answered) and not sealed

    eventually(shipped, seconds=60, what="the rows")
    # Everything that reached the provider is accounted for: an answer, or a row that says what became of it.
    asked = upstream.stats()["requests"]
    eventually(
        lambda: RequestLog.objects.for_tenant(client.tenant).count() >= asked, seconds=30, what="one row per call"
    )
    statuses = {row.id: row.status for row in client.rows()}
    assert set(statuses.values()) <= {200, 499, 0}
    # A worker that is killed between the note that it will ask and the asking leaves a row without a call.
    assert len(statuses) - asked <= sum(status == 0 for status in statuses.values())
    totals = log_totals([client.tenant.id])
    assert totals == rollup_totals([client.tenant.id])
    return {
        "answered": len(answered),
        "answered_and_not_in_the_log": sum(statuses.get(id_) != 200 for id_ in answered),
        "upstream_requests": asked,
        "rows": len(statuses),
        "rows_that_say_aborted": sum(status == 0 for status in statuses.values()),
        "connections_lost": traffic.broken.total(),
    }


def test_the_service_goes_on_and_the_log_tells_the_truth(client: Client, upstream: Upstream, servers: Servers) -> None:
    client.add_provider(upstream, name="primary")
    server = servers.stack.serve("all", workers=2)
    in_force(server)
    traffic = Traffic()
    traffic.while_it_flows(server.base_url, client, lambda: kill_one(server), times=KILLS)
    server.stop()
    found = account(client, upstream, traffic, servers.stack.folder / "spool")
    assert found["answered"] > 200
    assert found["answered_and_not_in_the_log"] == 0
    # A connection that a killed process held is lost, and nothing else: at most one per client and kill.
    assert found["connections_lost"] <= CLIENTS * KILLS


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_twenty_five_kills_of_workers_and_as_many_of_the_shipper(
    client: Client, committed: None, tmp_path: Path
) -> None:
    dice, over = random.Random(25), threading.Event()
    stack = Stack(tmp_path / "stack", connection.settings_dict["NAME"])
    shippers = [0]

    def ship_and_die() -> None:
        while not over.is_set():
            shipper = stack.run("ship")
            over.wait(dice.uniform(2.0, 5.0))  # a second of which it takes to start
            if not over.is_set():
                os.kill(shipper.pid, signal.SIGKILL)
                shippers[0] += 1

    with Upstream(family="openai", log_limit=500_000) as upstream:
        client.add_provider(upstream, name="primary")
        server = stack.serve("all", workers=4)
        in_force(server)
        traffic = Traffic()
        with ThreadPoolExecutor(1) as pool:
            shipping = pool.submit(ship_and_die)
            try:
                traffic.while_it_flows(
                    server.base_url, client, lambda: kill_one(server, which=dice.randrange(4)), times=25
                )
            finally:
                over.set()
            shipping.result()
        server.stop()
        found = account(client, upstream, traffic, stack.folder / "spool")
    stack.stop()
    report("kills", worker_kills=25, shipper_kills=shippers[0], **found)
    assert found["answered_and_not_in_the_log"] == 0
    assert found["connections_lost"] <= CLIENTS * 25
