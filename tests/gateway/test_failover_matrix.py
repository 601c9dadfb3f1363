"""Failover from every family to every family, whatever the first one does, plain and streamed.

Each fault has a connection of its own, so that no circuit opens. The short form pairs each fault with one second
family, in turn, which makes all pairs of families; the long form pairs each with all.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.models import RequestLog
from gateway.providers.base import Failure, FailureKind
from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.gateway.families import KEYS, NAMES, UPSTREAM_MODELS, connect, simulators
from tests.stack import eventually
from tests.upstream import Upstream

AT_ONCE = 8
# Fault of the first provider -> the fate that is told, and the class of the failure. Both faces of a request meet it.
MOVES_ON: Mapping[str, tuple[str | None, FailureKind | None]] = {
    "status=500": ("500", FailureKind.SERVER),
    "status=502": ("502", FailureKind.SERVER),
    "status=503": ("503", FailureKind.SERVER),
    "status=504": ("504", FailureKind.SERVER),
    "status=529": ("529", FailureKind.SERVER),
    "html502": ("502", FailureKind.SERVER),
    "status=408": ("408", FailureKind.RATE_LIMIT),
    "status=429": ("429", FailureKind.RATE_LIMIT),
    "status=429;retry_after=2": ("429", FailureKind.RATE_LIMIT),
    "status=429;retry_after=soon": ("429", FailureKind.RATE_LIMIT),
    "insufficient_quota": (None, None),  # each vendor has its own status and words for it
    "status=401": ("401", FailureKind.AUTH),
    "status=402": ("402", FailureKind.AUTH),
    "status=403": ("403", FailureKind.AUTH),
    "empty": (None, None),
    "badjson": (None, None),
    "error_first": (None, None),
    "reset@0": ("connection_broken", FailureKind.CONNECTION),
    "cutbytes@1": (None, None),
    "hang": ("timeout", FailureKind.TIMEOUT),
    "stall_headers": ("timeout", FailureKind.TIMEOUT),
}
IS_THE_CLIENTS = ("status=400", "status=404", "status=413", "status=422")
FAULTS = (*MOVES_ON, *IS_THE_CLIENTS)


@dataclass(frozen=True)
class Case:
    """One way to go wrong, and who is second in line."""

    first: str
    second: str
    fault: str

    @property
    def model(self) -> str:
        return f"{self.fault} then {self.second}"


@pytest.fixture(scope="module")
def upstreams(committed: None) -> Iterator[Mapping[str, Upstream]]:
    with simulators() as running:
        yield running


def prepare(servers: Servers, upstreams: Mapping[str, Upstream], cases: list[Case]) -> Client:
    """Make a tenant with two connections for each case."""
    client = make_client()
    for case in cases:
        name = UPSTREAM_MODELS.get(case.first, "gpt-4o")
        faulty = {case.model: f"{name}!{case.fault}"}
        connect(client, upstreams[case.first], models=faulty, weight=100, timeout_s=2)
    for second in {case.second for case in cases}:
        clean = {case.model: UPSTREAM_MODELS.get(second, "gpt-4o") for case in cases if case.second == second}
        connect(client, upstreams[second], models=clean, weight=1)
    in_force(servers.door)
    return client


async def ask_all(base_url: str, client: Client, cases: list[Case]) -> list[tuple[Case, bool, httpx.Response]]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(http: httpx.AsyncClient, case: Case, *, stream: bool) -> tuple[Case, bool, httpx.Response]:
        body: dict[str, Any] = {"model": case.model, "messages": [{"role": "user", "content": "Hello"}]}
        async with turn:
            answer = await http.post("/v1/chat/completions", json={**body, "max_tokens": 100, "stream": stream})
        return case, stream, answer

    async with httpx.AsyncClient(base_url=base_url, headers=client.headers, timeout=60) as http:
        return await asyncio.gather(*(ask(http, case, stream=stream) for case in cases for stream in (False, True)))


def check(client: Client, upstreams: Mapping[str, Upstream], case: Case, stream: bool, answer: httpx.Response) -> None:
    """Hold one answer to what the case promises the client."""
    what = f"{case}, streamed: {stream}: {answer.status_code} {answer.text[:300]}"
    told = answer.text + "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
    for family in (case.first, case.second):
        assert KEYS[family] not in told, what
        assert f"127.0.0.1:{upstreams[family].port}" not in told, what
    route = answer.headers["x-nexus-route"].split(";")
    if case.fault in IS_THE_CLIENTS:
        status = case.fault.removeprefix("status=")
        assert (str(answer.status_code), route) == (status, [f"{case.first}={status}"]), what
        return
    assert answer.status_code == 200, what
    assert "Hello" in answer.text, what
    assert ("data: [DONE]" in answer.text) is stream, what
    assert (answer.headers["x-nexus-provider"], answer.headers["x-nexus-attempt"]) == (case.second, "2"), what
    assert route[1] == f"{case.second}=200", what
    fate = MOVES_ON[case.fault][0]
    assert fate is None or route[0] == f"{case.first}={fate}", what


def check_rows(client: Client, asked: Counter[str]) -> None:
    """Each request is one row, which tells how its first attempt failed, and whether that is the provider's fault."""

    def all_there() -> list[RequestLog] | None:
        rows = client.rows()
        return rows if len(rows) == asked.total() else None

    rows = eventually(all_there, seconds=60, what="the rows")
    assert Counter(row.model for row in rows) == asked
    for row in rows:
        fault = str(row.model).partition(" then ")[0]
        kind = FailureKind(row.attempts[0]["kind"])
        if fault in IS_THE_CLIENTS:
            assert kind is FailureKind.REQUEST, row.model
            continue
        expected = MOVES_ON[fault][1]
        assert expected is None or kind is expected, f"{row.provider} {row.model}: {kind}"
        if fault in ("empty", "badjson", "cutbytes@1"):
            assert Failure(kind, "").counts_for_breaker, f"{row.model}: {kind}"
        if fault == "insufficient_quota":
            assert not Failure(kind, "").counts_for_breaker, f"{row.model}: {kind}"


def run(servers: Servers, upstreams: Mapping[str, Upstream], cases: list[Case]) -> None:
    client = prepare(servers, upstreams, cases)
    answers = asyncio.run(ask_all(servers.door.base_url, client, cases))
    for case, stream, answer in answers:
        check(client, upstreams, case, stream, answer)
    check_rows(client, Counter(case.model for case, _, _ in answers))


@pytest.mark.parametrize("first", NAMES)
def test_every_fault_of_every_family_leads_to_the_next(
    servers: Servers, upstreams: Mapping[str, Upstream], first: str
) -> None:
    start = NAMES.index(first)
    seconds = [NAMES[(start + turn) % len(NAMES)] for turn in range(len(FAULTS))]
    run(servers, upstreams, [Case(first, second, fault) for second, fault in zip(seconds, FAULTS, strict=True)])


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", NAMES)
def test_every_fault_of_every_family_leads_to_every_other(
    servers: Servers, upstreams: Mapping[str, Upstream], first: str
) -> None:
    run(servers, upstreams, [Case(first, second, fault) for second in NAMES for fault in FAULTS])
