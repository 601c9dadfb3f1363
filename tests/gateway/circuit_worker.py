"""A process with a circuit board of its own, led by lines of JSON: one command in, one answer out.

Run as `python -m tests.gateway.circuit_worker <redis url> <open seconds>`.
"""

import asyncio
import json
import random
import sys
import time
from typing import Any
from uuid import UUID

from gateway.circuit import Result, Transition
from gateway.circuit_store import CircuitBoard, Permit
from nexus import redis_clients

_PATIENCE_SECONDS = 5.0  # what is shown here is a server that is there: a process starved for 100 ms shall not doubt it


class Worker:
    """Carries out commands on one circuit."""

    def __init__(self, url: str, open_seconds: float) -> None:
        self.board = CircuitBoard(url, open_seconds=open_seconds, on_transition=self._note)
        self.transitions: list[tuple[str, str, int]] = []
        self.held: Permit | None = None

    def _note(self, provider_id: UUID, change: Transition) -> None:
        self.transitions.append((change.from_status, change.to_status, change.generation))

    async def acquire(self, id_: UUID, lease: float) -> str:
        """Take a permit and keep it for `report`."""
        answer = self.board.closed_permit(id_) or await self.board.acquire(id_, lease_seconds=lease)
        if not isinstance(answer, Permit):
            return "refused"
        self.held = answer
        return "probe" if answer.is_probe else "closed"

    async def report(self, id_: UUID, result: str) -> None:
        assert self.held is not None
        await self.board.report(id_, self.held, Result(result), "told so")

    async def times(self, id_: UUID, result: str, count: int) -> list[str]:
        """Call the provider `count` times, each with the same end."""
        leaves = []
        for _ in range(count):
            leaves.append(await self.acquire(id_, 1))
            await self.report(id_, result)
        return leaves

    async def is_closed(self, id_: UUID) -> bool:
        return self.board.closed_permit(id_) is not None

    async def is_open(self, id_: UUID) -> bool:
        return not await self.is_closed(id_)

    async def seen(self, id_: UUID) -> list[tuple[str, str, int]]:
        return self.transitions

    async def hammer(self, id_: UUID, seconds: float, clients: int, seed: int) -> list[tuple[float, float, str, int]]:
        """Let many clients call a provider that mostly fails. Return what was sent: from, to, result, generation."""
        chance, until = random.Random(seed), time.monotonic() + seconds
        sent: list[tuple[float, float, str, int]] = []

        async def client() -> None:
            while time.monotonic() < until:
                answer = self.board.closed_permit(id_) or await self.board.acquire(id_, lease_seconds=2)
                if not isinstance(answer, Permit):
                    await asyncio.sleep(0.005)
                    continue
                began = time.monotonic()
                await asyncio.sleep(chance.uniform(0.001, 0.004))
                if answer.is_probe:
                    result = chance.choice([Result.SUCCESS, Result.SUCCESS, Result.FAILURE, Result.NEUTRAL])
                    sent.append((began, time.monotonic(), result.value, answer.generation))
                else:
                    result = Result.FAILURE
                await self.board.report(id_, answer, result, "told so")

        await asyncio.gather(*(client() for _ in range(clients)))
        return sent


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main(url: str, open_seconds: float) -> None:
    redis_clients.TIMEOUT_SECONDS = _PATIENCE_SECONDS
    worker = Worker(url, open_seconds)
    await worker.board.start()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    _say("ready")
    while line := await lines.readline():
        name, id_, *arguments = json.loads(line)
        answer: Any = await getattr(worker, name)(UUID(id_), *arguments)
        _say(answer)
    await worker.board.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
