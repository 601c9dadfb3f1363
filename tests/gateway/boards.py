"""Circuit boards for tests: several processes' worth of them on one event loop, on a server that may be stopped."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from gateway.circuit import Result, Transition
from gateway.circuit_store import CircuitBoard, Permit
from nexus.embedded import Services

OPEN_SECONDS = 0.3


@contextmanager
def own_server() -> Iterator[Services]:
    """Give a server of the test's own, not started yet, which it may stop and kill."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    folder.chmod(0o755)  # run by root, the server is an ordinary user's and must get in
    services = Services(folder, durable=False, postgres=False)
    try:
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder)


class Board(CircuitBoard):
    """A board that notes its transitions."""

    def __init__(self, url: str, open_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self.seen: list[tuple[UUID, Transition]] = []
        super().__init__(url, open_seconds=open_seconds, on_transition=self._note, clock=clock)

    def _note(self, provider_id: UUID, change: Transition) -> None:
        self.seen.append((provider_id, change))

    def is_closed(self, provider_id: UUID) -> bool:
        return self.closed_permit(provider_id) is not None


def run(
    url: str,
    count: int,
    play: Callable[[list[Board]], Awaitable[None]],
    *,
    open_seconds: float = OPEN_SECONDS,
    clock: Callable[[], float] = time.time,
) -> None:
    async def main() -> None:
        boards = [Board(url, open_seconds, clock) for _ in range(count)]
        for board in boards:
            await board.start()
        try:
            await play(boards)
        finally:
            for board in boards:
                await board.stop()

    asyncio.run(main())


async def until(look: Callable[[], bool], *, seconds: float = 15.0) -> None:
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


async def open_circuit(board: Board) -> UUID:
    id_ = uuid4()
    await fail(board, id_, 5)
    return id_


async def probe_of(board: Board, id_: UUID, *, seconds: float = 15.0) -> Permit:
    """Ask until the open time is over."""
    deadline = time.monotonic() + seconds
    while not isinstance(answer := await board.acquire(id_, lease_seconds=5), Permit):
        assert time.monotonic() < deadline, "no probe was let through"
        await asyncio.sleep(0.01)
    assert answer.is_probe
    return answer


async def fail_until_open(board: Board, id_: UUID) -> None:
    calls = 0
    while board.closed_permit(id_) is not None:
        await fail(board, id_)
        calls += 1
        assert calls < 10, "it does not open"
