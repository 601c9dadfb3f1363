"""The circuit board of several processes' worth of event loops, on a server of its own that may be stopped."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gateway.circuit import Result, Status, Transition
from gateway.circuit_store import CircuitBoard, Permit, Refusal, reset_circuit
from nexus.embedded import Endpoints, Services
from nexus.redis_clients import sync_client

OPEN_SECONDS = 0.3


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    folder = Path(f"/tmp/nexus-test-{os.getpid()}-{time.time_ns()}")
    services = Services(folder, durable=False, postgres=False)
    endpoints = services.start()
    yield endpoints
    services.stop()
    shutil.rmtree(folder)


class Board(CircuitBoard):
    """A board that notes its transitions."""

    def __init__(self, url: str, open_seconds: float) -> None:
        self.seen: list[tuple[UUID, Transition]] = []
        super().__init__(url, open_seconds=open_seconds, on_transition=self._note)

    def _note(self, provider_id: UUID, change: Transition) -> None:
        self.seen.append((provider_id, change))

    def is_closed(self, provider_id: UUID) -> bool:
        return self.closed_permit(provider_id) is not None


def run(
    url: str, count: int, play: Callable[[list[Board]], Awaitable[None]], *, open_seconds: float = OPEN_SECONDS
) -> None:
    async def main() -> None:
        boards = [Board(url, open_seconds) for _ in range(count)]
        for board in boards:
            await board.start()
        try:
            await play(boards)
        finally:
            for board in boards:
                await board.stop()

    asyncio.run(main())


async def until(look: Callable[[], bool], *, seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


def is_not(look: Callable[[UUID], bool], id_: UUID) -> bool:
    return not look(id_)


async def permit(board: Board, id_: UUID) -> Permit:
    found = board.closed_permit(id_) or await board.acquire(id_, lease_seconds=1)
    assert isinstance(found, Permit)
    return found


async def fail(board: Board, id_: UUID, times: int = 1) -> None:
    for _ in range(times):
        await board.report(id_, await permit(board, id_), Result.FAILURE, "500")


def test_failures_in_several_processes_open_it_for_all(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        for board in (*boards, boards[0]):
            await fail(board, id_)
        for board in boards:
            await until(partial(is_not, board.is_closed, id_))
            refusal = await board.acquire(id_, lease_seconds=1)
            assert isinstance(refusal, Refusal)
            assert 0 < refusal.retry_after_seconds <= 30
        assert [change.to_status for board in boards for _, change in board.seen] == [Status.OPEN]

    run(valkey.redis_url, 4, play, open_seconds=30)


def test_one_probe_for_all_and_two_successes_close_it(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 5)
        await asyncio.sleep(OPEN_SECONDS + 0.05)
        for _ in range(2):
            answers = await asyncio.gather(*(board.acquire(id_, lease_seconds=1) for board in boards for _ in range(5)))
            probes = [answer for answer in answers if isinstance(answer, Permit)]
            assert len(probes) == 1
            await boards[1].report(id_, probes[0], Result.SUCCESS, "200")
        for board in boards:
            await until(partial(board.is_closed, id_))
        changes = sorted((c.generation, c.to_status) for board in boards for _, c in board.seen)
        assert [status for _, status in changes] == [Status.OPEN, Status.HALF_OPEN, Status.CLOSED]

    run(valkey.redis_url, 4, play)


def test_a_probe_whose_holder_died_is_given_to_the_next(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 5)
        await asyncio.sleep(OPEN_SECONDS + 0.05)
        lost = await boards[0].acquire(id_, lease_seconds=0.3)
        assert isinstance(lost, Permit)
        assert isinstance(await boards[1].acquire(id_, lease_seconds=1), Refusal)
        await asyncio.sleep(0.35)
        taken = await boards[1].acquire(id_, lease_seconds=1)
        assert isinstance(taken, Permit)
        await boards[0].report(id_, lost, Result.FAILURE, "late")
        assert (await boards[1].acquire(id_, lease_seconds=1)) != taken
        await boards[1].report(id_, taken, Result.SUCCESS)

    run(valkey.redis_url, 2, play)


def test_a_closed_circuit_costs_no_round_trip(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        board = boards[0]
        before = sync_client(valkey.redis_url).info("commandstats")
        for _ in range(1000):
            granted = board.closed_permit(id_)
            assert granted is not None
            assert not board.needs_report(id_, granted, Result.SUCCESS)
            assert not board.needs_report(id_, granted, Result.NEUTRAL)
        after = sync_client(valkey.redis_url).info("commandstats")
        assert after.get("cmdstat_evalsha", {}) == before.get("cmdstat_evalsha", {})

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_a_success_is_told_only_when_it_ends_a_row_of_failures(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 4)
        granted = await permit(boards[1], id_)
        await until(lambda: boards[1].needs_report(id_, granted, Result.SUCCESS))
        await boards[1].report(id_, granted, Result.SUCCESS)
        await until(lambda: not boards[0].needs_report(id_, granted, Result.SUCCESS))
        await fail(boards[0], id_, 4)
        assert boards[0].closed_permit(id_) is not None

    run(valkey.redis_url, 2, play)


def test_a_changed_provider_starts_afresh(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 5)
        reset_circuit(sync_client(valkey.redis_url), id_, "the key was changed")
        await until(lambda: boards[0].closed_permit(id_) is not None)

    run(valkey.redis_url, 1, play, open_seconds=30)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_without_redis_each_process_goes_on_alone_and_quickly(valkey: Endpoints, how: signal.Signals) -> None:
    async def play(boards: list[Board]) -> None:
        shared, alone = uuid4(), uuid4()
        await fail(boards[0], shared, 5)
        os.kill(valkey.pids["valkey"], how)
        try:
            slowest = 0.0
            for _ in range(5):
                began = time.monotonic()
                await fail(boards[0], alone)
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 0.3
            assert boards[0].backend == "local"
            assert "alone" in boards[0].detail
            assert boards[0].closed_permit(alone) is None
            assert boards[0].closed_permit(shared) is None
        finally:
            if how is signal.SIGSTOP:
                os.kill(valkey.pids["valkey"], signal.SIGCONT)
        if how is signal.SIGSTOP:
            await until(lambda: boards[0].backend == "redis", seconds=5)
            await until(lambda: boards[0].closed_permit(alone) is not None, seconds=5)  # the shared state wins

    run(valkey.redis_url, 1, play, open_seconds=30)
