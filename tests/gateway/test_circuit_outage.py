"""The circuit board while its server is dead, stalled, full, or has lost its memory."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from gateway.circuit import Result, Status
from gateway.circuit_store import Permit, Refusal, reset_circuit
from nexus.embedded import Endpoints, Services
from nexus.redis_clients import TIMEOUT_SECONDS, sync_client
from tests.gateway.boards import (
    Board,
    fail,
    fail_until_open,
    open_circuit,
    own_server,
    probe_of,
    run,
    until,
)


@pytest.fixture
def services() -> Iterator[Services]:
    with own_server() as services:
        yield services


@pytest.fixture
def valkey(services: Services) -> Endpoints:
    return services.start()


@contextmanager
def stopped(valkey: Endpoints) -> Iterator[None]:
    """The nasty outage: the server takes connections and never answers."""
    os.kill(valkey.pids["valkey"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pids["valkey"], signal.SIGCONT)


def killed(services: Services) -> None:
    services.processes["valkey"].kill()
    services.processes["valkey"].wait()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_without_redis_each_process_goes_on_alone_and_quickly(
    services: Services, valkey: Endpoints, how: signal.Signals
) -> None:
    async def play(boards: list[Board]) -> None:
        board, alone = boards[0], uuid4()
        shared = await open_circuit(board)
        os.kill(valkey.pids["valkey"], how)
        try:
            slowest = 0.0
            for _ in range(5):
                began = time.monotonic()
                await fail(board, alone)
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 1.5 * TIMEOUT_SECONDS
            assert board.backend == "local"
            assert "alone" in board.detail
            for id_ in (alone, shared):
                assert isinstance(await board.acquire(id_, lease_seconds=1), Refusal)
        finally:
            if how is signal.SIGSTOP:
                os.kill(valkey.pids["valkey"], signal.SIGCONT)
        if how is signal.SIGKILL:
            services.processes["valkey"].wait()
            services.launch("valkey")  # emptied: it knows neither circuit
        await until(lambda: board.backend == "redis", seconds=20)
        assert board.closed_permit(alone) is not None  # the shared state wins
        assert (board.closed_permit(shared) is None) is (how is signal.SIGSTOP)
        await fail_until_open(board, alone)  # a stalled server may yet count what had been sent to it

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_in_an_outage_no_request_waits_for_redis_but_those_that_find_it_out(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board, waits = boards[0], []

        async def call(until_then: float) -> None:
            while time.monotonic() < until_then:
                began = time.monotonic()
                await board.report(uuid4(), Permit(0), Result.FAILURE, "500")
                waits.append(time.monotonic() - began)
                await asyncio.sleep(0.01)

        with stopped(valkey):
            await call(time.monotonic() + 0.01)
            assert 0.8 * TIMEOUT_SECONDS < waits[0] < 1.5 * TIMEOUT_SECONDS
            assert board.backend == "local"
            waits.clear()
            await asyncio.gather(*(call(time.monotonic() + 2.5) for _ in range(20)))
        assert len(waits) > 1000
        assert sum(wait > 0.8 * TIMEOUT_SECONDS for wait in waits) == 0

    run(valkey.redis_url, 1, play)


def test_a_circuit_goes_its_whole_way_without_redis(services: Services, valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board = boards[0]
        killed(services)
        id_ = await open_circuit(board)
        for result in (Result.SUCCESS, Result.FAILURE, Result.SUCCESS, Result.SUCCESS):
            probe = await probe_of(board, id_)
            assert isinstance(await board.acquire(id_, lease_seconds=1), Refusal)
            await board.report(id_, probe, result, "")
        assert board.closed_permit(id_) is not None
        told = [change.to_status for _, change in board.seen]
        assert told == ["open", "half_open", "open", "half_open", "closed"]

    run(valkey.redis_url, 1, play)


def test_what_a_process_made_of_it_alone_gives_way_to_the_shared_state(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board, closed_here = boards[0], uuid4()
        opened_here = uuid4()
        await fail(board, closed_here, 5)
        await fail(board, opened_here, 1)
        with stopped(valkey):
            await fail(board, opened_here, 4)
            await board.reset(closed_here, "while alone")
            assert board.closed_permit(closed_here) is not None
            assert board.closed_permit(opened_here) is None
            permit_of_its_own = board.closed_permit(closed_here)
            assert permit_of_its_own is not None
        while board.backend == "local":  # requests go on, and must not be the ones who find Redis again
            await board.report(uuid4(), Permit(0), Result.FAILURE, "500")
            await asyncio.sleep(0.001)
        assert board.closed_permit(closed_here) is None
        assert board.closed_permit(opened_here) is not None
        before = (await board.states([closed_here]))[closed_here]
        await board.report(closed_here, permit_of_its_own, Result.FAILURE, "late")
        assert (await board.states([closed_here]))[closed_here] == before

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_a_server_that_answers_but_cannot_write_counts_as_away(valkey: Endpoints) -> None:
    admin = sync_client(valkey.redis_url)

    async def play(boards: list[Board]) -> None:
        board, id_ = boards[0], uuid4()
        admin.config_set("maxmemory", 1)
        await fail(board, id_, 3)
        seen: set[str] = set()

        def notes_for(seconds: float) -> Callable[[], bool]:
            end = time.monotonic() + seconds

            def look() -> bool:
                seen.add(board.backend)
                return time.monotonic() > end

            return look

        await until(notes_for(2.2))
        assert seen == {"local"}
        await fail(board, id_, 2)
        assert board.closed_permit(id_) is None
        admin.config_set("maxmemory", 0)
        await until(lambda: board.backend == "redis")

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_a_server_that_was_emptied_is_believed(valkey: Endpoints) -> None:
    admin = sync_client(valkey.redis_url)

    async def play(boards: list[Board]) -> None:
        known, other, id_ = boards[0], boards[1], uuid4()
        reset_circuit(admin, id_, "another key")
        old = known.closed_permit(id_)
        await until(lambda: known.closed_permit(id_) not in (None, old))
        admin.flushall()
        await other.report(id_, Permit(0), Result.FAILURE, "500")  # of a process that never knew of the reset
        await fail_until_open(known, id_)
        assert (await known.states([id_]))[id_].consecutive_failures == 5

    run(valkey.redis_url, 2, play, open_seconds=30)


def test_each_change_of_the_backend_is_logged_once(valkey: Endpoints, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway.circuit_store")

    async def play(boards: list[Board]) -> None:
        with stopped(valkey):
            for _ in range(50):
                await fail(boards[0], uuid4())
        await until(lambda: boards[0].backend == "redis", seconds=20)

    run(valkey.redis_url, 1, play, open_seconds=30)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Redis does not answer: circuits are this process's own now."),
        ("INFO", "Redis answers again: circuits are shared."),
    ]


def test_a_board_begins_without_redis(services: Services, valkey: Endpoints) -> None:
    killed(services)

    async def play(boards: list[Board]) -> None:
        board = boards[0]
        assert board.backend == "local"
        id_ = await open_circuit(board)
        assert (await board.states([id_]))[id_].status is Status.OPEN
        services.launch("valkey")
        await until(lambda: board.backend == "redis", seconds=20)
        assert (await board.states([id_]))[id_].status is Status.CLOSED

    run(valkey.redis_url, 1, play, open_seconds=30)
