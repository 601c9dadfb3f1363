"""Copies of requests in random order, with hang-ups, faults and ends of processes: the provider's log is the oracle.

Whatever happens, per idempotency key: the provider is never asked twice at once, nor again after a client held a whole
answer; every whole answer is the same one; a second call that was worth paying is owed to somebody who went away; and
no key is lost.
"""

import json
import secrets
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from gateway.models import IdempotencyClaim
from tests.gateway.conftest import EVERY_DOOR, Client, Servers, in_force
from tests.gateway.raw import Answer, Link, ask, connected, request
from tests.reports import report
from tests.stack import Server, eventually
from tests.upstream import Upstream

HASTE = {"NEXUS_IDEMPOTENCY_LEASE_SECONDS": "2", "NEXUS_DRAIN_SECONDS": "1"}
CLIENTS = 6
CALLERS = 160
AT_ONCE = 4  # keys that most requests are for
GOOD = ("", "latency=60", "latency=150", "drip=10", "split")
BAD = (
    *("status=500", "status=429", "html502", "reset", "empty", "error_first", "badjson", "cut@4", "reset@4"),
    *("cutbytes@120", "no_done"),
)
# Answers that may come instead of the whole one, as long as the key is not answered.
PASSING = frozenset(
    {"IDEMPOTENCY_IN_PROGRESS", "SERVICE_STOPPING", "ALL_PROVIDERS_FAILED", "PROVIDER_TIMEOUT", "RATE_LIMITED"}
)


@dataclass
class Order:
    """One thing that is wanted, under one key, by several copies of a request."""

    key: str
    stream: bool
    answers: list[tuple[str, bytes, bool]] = field(default_factory=list)  # whole ones: request id, body, replayed
    answered_at: float | None = None  # Unix time at which the first was held
    gone: int = 0  # copies whose client or process went away

    def copy(self, client: Client) -> bytes:
        body = {"model": "gpt-4o", "stream": self.stream, "messages": [{"role": "user", "content": self.key}]}
        return request(client.key, json.dumps(body).encode(), f"idempotency-key: {self.key}")


@dataclass
class Bustle:
    """Clients that ask at random. `told` counts what they heard, by code."""

    client: Client
    servers: list[Server]
    seed: int
    passing: frozenset[str] = PASSING
    orders: list[Order] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._ask_on, Random(self.seed * 100 + number)) for number in range(CLIENTS)]
            try:
                yield
            finally:
                self._over.set()
        for each in clients:
            each.result()

    def _ask_on(self, chance: Random) -> None:
        while not self._over.is_set():
            order, url = self._choose(chance), chance.choice(self.servers).base_url
            patience = chance.choice([None, None, None, 0.0, chance.uniform(0, 0.2), chance.uniform(0, 0.5)])
            try:
                with connected(url, timeout=60) as link:
                    link.send(order.copy(self.client))
                    if patience is None:
                        self.take(order, whole(link))
                        continue
                    link.socket.settimeout(max(patience, 0.001))
                    link.socket.recv(chance.choice([1, 200, 2000]))
                    link.hang_up()
            except TimeoutError:
                pass  # the client's patience is over, and it hangs up
            except (OSError, BrokenAnswer):
                self._over.wait(0.05)  # a process that ended, mostly one that is not up again
            with self._lock:
                order.gone += 1

    def _choose(self, chance: Random) -> Order:
        with self._lock:
            if not self.orders or chance.random() < 0.15:
                self.orders.append(Order(secrets.token_hex(8), stream=chance.random() < 0.5))
            return chance.choice(self.orders if chance.random() < 0.2 else self.orders[-AT_ONCE:])

    def take(self, order: Order, answer: Answer) -> bool:
        """Look at an answer; return whether it was the whole one."""
        now = time.time()
        with self._lock:
            if answer.status != 200:
                code = answer.error["code"]
                assert code in self.passing, (answer.status, code)
                self.told[code] += 1
                return False
            replayed = "idempotency-replayed" in answer.headers
            if order.stream and not answer.body.endswith(b"data: [DONE]\n\n"):
                assert b"STREAM_INTERRUPTED" in answer.body
                assert not replayed
                self.told["STREAM_INTERRUPTED"] += 1
                return False
            self.told["replay" if replayed else "answer"] += 1
            order.answers.append((answer.headers["x-request-id"], answer.body, replayed))
            order.answered_at = order.answered_at or now
            return True


class BrokenAnswer(Exception):
    """The connection ended before the answer did."""


def whole(link: Link) -> Answer:
    """Read an answer. Raises BrokenAnswer."""
    try:
        answer = link.answer()
    except (AssertionError, OSError, ValueError, IndexError) as error:
        raise BrokenAnswer from error
    if len(answer.body) != int(answer.headers.get("content-length", len(answer.body))):
        raise BrokenAnswer
    return answer


def faults(chance: Random, count: int = 200) -> list[str]:
    """Return steps for the provider: never so much trouble in a row that its circuit opens."""
    steps: list[str] = []
    while len(steps) < count:
        steps += [chance.choice(GOOD) for _ in range(chance.randint(2, 4))]
        steps.append(chance.choice(BAD))
    return [step or "ok" for step in steps]


def is_good(call: dict[str, Any]) -> bool:
    """Whether a provider's answer is one that a client can use, sent to its end."""
    fault = call["fault"]
    fine = fault in GOOD or (fault == "no_done" and not call["stream"])
    return fine and call["status"] == 200 and call["fate"] == "completed"


def check_order(order: Order, calls: list[dict[str, Any]]) -> None:
    """Hold one key's answers against what the provider says of it."""
    assert len({(id_, body) for id_, body, _ in order.answers}) == 1, "two answers"
    assert sum(not replayed for _, _, replayed in order.answers) <= 1, "an answer given twice and not called a replay"
    assert order.answered_at is not None
    assert calls, "an answer from nowhere"
    for call, following in pairwise(calls):
        assert call["seconds"] is not None
        # The provider hears of a hang-up in its own time.
        assert following["at"] > call["at"] + call["seconds"] - 0.1, "asked twice at once"
    assert calls[-1]["at"] < order.answered_at, "asked again after a whole answer"
    assert is_good(calls[-1]), "the answer is not the last that the provider gave"
    assert sum(map(is_good, calls)) <= 1 + order.gone, "paid twice"


def check_all(bustle: Bustle, upstream: Upstream, survivor: Server) -> dict[str, int]:
    """See to it that every key can still be answered, and check them all. Returns figures."""
    client = bustle.client
    upstream.script()
    for order in bustle.orders:
        copy = order.copy(client)

        def answered(order: Order = order, copy: bytes = copy) -> bool:
            return bustle.take(order, ask(survivor.base_url, copy))

        eventually(answered, seconds=30, what=f"an answer for {order}")
    log = upstream.log()
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in log:
        calls[call["body"]["messages"][0]["content"]].append(call)
    for order in bustle.orders:
        try:
            check_order(order, calls[order.key])
        except AssertionError as error:
            told = [
                {name: call[name] for name in ("at", "seconds", "fault", "status", "fate")} for call in calls[order.key]
            ]
            raise AssertionError(
                f"seed {bustle.seed}: {error}; calls {told}; {order.key} {order.answered_at} {order.gone}"
            ) from error
    statuses = IdempotencyClaim.objects.for_tenant(client.tenant).values_list("status", flat=True)
    assert list(statuses) == [200] * len(bustle.orders)
    good = sum(map(is_good, log))
    return {
        "keys": len(bustle.orders),
        "calls": len(log),
        "good": good,
        "gone": sum(o.gone for o in bustle.orders),
    } | dict(bustle.told)


@pytest.fixture
def hurried(servers: Servers) -> Iterator[list[Server]]:
    """Processes with short leases, which tests may end and replace."""
    running: list[Server] = []
    yield running
    for server in running:
        if server.running:
            server.stop(signal.SIGKILL)


def held(client: Client) -> bool:
    """Whether a request holds an idempotency key, or died with one."""
    return IdempotencyClaim.objects.for_tenant(client.tenant).filter(status=None).exists()


def begin(servers: Servers) -> Server:
    return servers.stack.serve("all", environment=HASTE)


def test_copies_at_random_are_paid_once(
    servers: Servers, routed: Client, upstream: Upstream, hurried: list[Server]
) -> None:
    """Two doors, and a process that is killed in the middle."""
    seed = 5
    chance = Random(seed)
    hurried.append(begin(servers))
    in_force(*hurried)
    upstream.script(*faults(chance), repeat=True)
    bustle = Bustle(routed, [hurried[0], servers.door, servers.twin], seed)
    with bustle.going_on():
        eventually(lambda: upstream.stats()["requests"] > 40, what="traffic")
        hurried[0].stop(signal.SIGKILL)
        bustle.servers = bustle.servers[1:]
        seen = upstream.stats()["requests"]
        eventually(lambda: upstream.stats()["requests"] > seen + 10, what="more traffic")
    figures = check_all(bustle, upstream, servers.door)
    assert figures["replay"] > 20
    assert figures["gone"] > 20


@EVERY_DOOR
def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    base_url: str, routed: Client, upstream: Upstream
) -> None:
    """Not even those that leave while a stream that has begun is on its way through a framework."""
    chance = Random(7)
    patience = [chance.uniform(0, 0.1) for _ in range(CALLERS)]

    def leave(seconds: float) -> None:
        with connected(base_url) as link:
            link.send(Order(secrets.token_hex(8), stream=True).copy(routed))
            time.sleep(seconds)
            link.hang_up()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(leave, patience))

    def recorded() -> bool:
        # An attempt that was cancelled before it was sent is on record too.
        return sum(bool(row.attempts) for row in routed.rows()) >= upstream.stats()["requests"]

    eventually(recorded, what="a row for every upstream call")
    eventually(lambda: not held(routed), what="the end of every claim")
    assert upstream.stats()["requests"] > CALLERS / 10


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_copies_at_random_are_paid_once_over_many_ends_of_processes(
    servers: Servers, routed: Client, upstream: Upstream, hurried: list[Server]
) -> None:
    """Every door, and two processes, one after the other killed or told to stop, and replaced."""
    seed = secrets.randbelow(1_000_000)
    chance = Random(seed)
    hurried += [begin(servers), begin(servers)]
    in_force(*hurried)
    upstream.script(*faults(chance), repeat=True)
    bustle = Bustle(routed, [*hurried, servers.twin, servers.plain], seed)
    until = time.monotonic() + 120
    ends = 0
    with bustle.going_on():
        while time.monotonic() < until:
            seen = upstream.stats()["requests"] + chance.randint(5, 60)
            eventually(lambda seen=seen: upstream.stats()["requests"] > seen, seconds=60, what="traffic")  # type: ignore[misc]
            place = chance.randrange(2)
            bustle.servers[place].stop(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            ends += 1
            hurried.append(begin(servers))
            bustle.servers[place] = hurried[-1]
    figures = check_all(bustle, upstream, servers.door)
    report("idempotency", seed=seed, ends_of_processes=ends, **figures)
