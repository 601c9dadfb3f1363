"""A world for shares: processes, and servers that may lose answers and memory, in time that costs none."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.counter import Answer, Claim, answer
from gateway.counter_stores import Asked
from gateway.ledger import CountersUnknown, Ledger, Short
from gateway.share import Kind

HOUR = 3600
QUOTA = Kind(
    "quota", lambda now: (str(int(now // HOUR)), (now // HOUR + 1) * HOUR), lease_seconds=30, busy_seconds=5, least=4,
    durable=True, believed_seconds=0.5,
)  # fmt: skip
RATE = Kind("rate", lambda now: (str(int(now // 5)), (now // 5 + 1) * 5))
SLOTS = Kind("slots", lambda _: ("now", float("inf")), lease_seconds=3, believed_seconds=0.05)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: where it would sleep, its time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def leap(timeout: float | None = None) -> Any:
            self._skipped += timeout or 0.0
            return select(0)

        self._selector.select = leap  # type: ignore[attr-defined]

    def time(self) -> float:
        return 10.0 * HOUR + self._skipped


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Faults:
    """How often, of a thousand: calls that the server never sees, whose answer is lost, that it sees late; pushes."""

    unseen: int = 0
    unanswered: int = 0
    late: int = 0
    pushes: int = 0


@dataclass
class Held:
    """A process's claim as a server knows it."""

    seq: int
    taken: int
    spare: int
    until: float


@dataclass
class World:
    """Both servers. A count is known by its name and window."""

    chance: random.Random
    faults: Faults = field(default_factory=Faults)
    counts: dict[tuple[str, str], dict[str, Held]] = field(default_factory=dict)
    base: dict[tuple[str, str], int] = field(default_factory=dict)  # used by processes that have ended
    ended: set[str] = field(default_factory=set)  # processes whose use is in the base
    memory: int = 0
    redis_is_down: bool = False
    database_is_down: bool = False
    listeners: dict[str, Callable[[str, str], None]] = field(default_factory=dict)
    questions: int = 0

    async def call[Value](self, apply: Callable[[], Value], *, durable: bool = False) -> Value:
        """Let a server do something, as far as the network lets it."""
        fate, loop = self.chance.randrange(1000), asyncio.get_running_loop()
        await asyncio.sleep(self.chance.uniform(0, 0.003))
        if self.database_is_down if durable else self.redis_is_down:
            raise ConnectionRefusedError
        if (fate := fate - self.faults.unseen) < 0:
            await asyncio.sleep(0.1)
            raise TimeoutError
        if (fate := fate - self.faults.unanswered) < 0:
            apply()
            await asyncio.sleep(0.1)
            raise TimeoutError
        if fate < self.faults.late:
            loop.call_later(self.chance.uniform(0.05, 0.4), apply)
            await asyncio.sleep(0.1)
            raise TimeoutError
        value = apply()
        await asyncio.sleep(self.chance.uniform(0, 0.003))
        return value

    def ask(self, process: str, asked: Asked) -> Answer:
        self.questions += 1
        question, lease, place = asked.question, asked.kind.lease_seconds, (asked.name, asked.window)
        count = self.counts.setdefault(place, {})
        mine = count.get(process)
        if mine is not None and mine.seq >= question.seq:
            return Answer(0, 0, 0)
        others = [
            Claim(held.taken, held.spare) for name, held in count.items() if name != process and held.until > now()
        ]
        # Of a claim that ran out only what was used counts, which the log knows: here, all but the spare of last time.
        ended = sum(
            held.taken - held.spare
            for name, held in count.items()
            if name != process and held.until <= now() and name not in self.ended
        )
        used = self.base.get(place, 0) + (ended if asked.kind.durable else 0)
        found = answer(question, others, used)
        until = now() + lease if lease else float("inf")
        count[process] = Held(question.seq, question.taken + found.granted, question.spare + found.granted, until)
        if not asked.kind.durable:
            if found.granted < question.head:
                self.push("recall", asked.name)
            elif asked.tell:
                self.push("changed", asked.name)
        return found

    def push(self, what: str, name: str) -> None:
        for listener in list(self.listeners.values()):
            if self.chance.randrange(1000) >= self.faults.pushes:
                asyncio.get_running_loop().call_later(self.chance.uniform(0, 0.005), listener, what, name)

    def forget(self) -> None:
        """Redis loses its memory; PostgreSQL does not."""
        self.memory += 1
        self.counts = {place: count for place, count in self.counts.items() if ":quota" in place[0]}


class Redis:
    """What a ledger asks of Redis: gateway/counter_stores.py without a network."""

    def __init__(self, world: World, process: str) -> None:
        self._world = world
        self._process = process
        self._memory = -1

    async def ask(self, questions: Sequence[Asked]) -> list[Answer]:
        return await self._world.call(lambda: [self._world.ask(self._process, asked) for asked in questions])

    async def has_forgotten(self) -> bool:
        found = await self._world.call(lambda: self._world.memory)
        known, self._memory = self._memory, found
        return known != found

    async def tell(self, what: str, name: str) -> None:
        await self._world.call(lambda: self._world.push(what, name))

    async def listen(self, on_push: Callable[[str, str], None]) -> None:
        self._world.listeners[self._process] = on_push
        try:
            await asyncio.Event().wait()
        finally:
            del self._world.listeners[self._process]

    async def close(self) -> None:
        pass


class Database(Redis):
    """What a ledger asks of PostgreSQL."""

    async def ask(self, asked: Asked) -> Answer:  # type: ignore[override]
        return await self._world.call(lambda: self._world.ask(self._process, asked), durable=True)


class Process:
    """A process with a ledger and requests. `used` is what it let through, by window."""

    def __init__(self, world: World, name: str, kind: Kind, limit: int) -> None:
        self.world, self.name, self.kind = world, name, kind
        redis: Any = Redis(world, name)
        database: Any = Database(world, name)
        self.clock_is_ahead = 0.0  # seconds
        self.ledger = Ledger(redis, database, clock=lambda: now() + self.clock_is_ahead)
        self.share = self.ledger.share("k", kind, limit)
        self.used: dict[str, int] = {}
        self.running = self.refused = self.unknown = 0
        self.slowest = 0.0
        self.is_dead = False
        self.requests: set[asyncio.Task[bool]] = set()

    async def request(self, *, spoiled: bool = False, seconds: float = 0.0) -> bool:
        """Let one request come; return whether it was let through. A spoiled one gives its unit back."""
        began = now()
        try:
            block = await self.ledger.take(self.share, 1)
        except Short:
            self.refused += 1
            return False
        except CountersUnknown:
            self.unknown += 1
            return False
        finally:
            self.slowest = max(self.slowest, now() - began)
        self.running += 1
        if not spoiled:
            self.used[block.window] = self.used.get(block.window, 0) + 1
        if seconds:
            await asyncio.sleep(seconds)
        self.running -= 1
        if spoiled or self.kind.name == "slots":
            self.ledger.put_back(self.share, block, 1)
        return True

    def start_request(self, **fields: Any) -> None:
        task = asyncio.get_running_loop().create_task(self.request(**fields))
        self.requests.add(task)
        task.add_done_callback(self.requests.discard)

    async def kill(self) -> None:
        """End without a word. Its records are in the log, and the shipper has ended its leases."""
        doomed = [*self.ledger._loops, *self.ledger._tasks, *self.requests]
        for task in doomed:
            task.cancel()
        for timer in self.ledger._paused.values():
            timer.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        self.running, self.is_dead = 0, True
        if self.kind.durable:
            self.world.ended.add(self.name)
            for window, used in self.used.items():
                place = ("k:quota", window)
                self.world.counts.get(place, {}).pop(self.name, None)
                self.world.base[place] = self.world.base.get(place, 0) + used


def play(seed: int, story: Callable[[World], Awaitable[None]], **faults: int) -> None:
    """Tell a story in a world of its own."""

    async def main() -> None:
        await asyncio.wait_for(story(World(random.Random(seed), Faults(**faults))), HOUR)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
