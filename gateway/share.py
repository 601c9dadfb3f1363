"""What one process holds of a count that all share, and how much it asks for: no I/O, no clock.

The hot path takes units from the present `Block` and that is all. A share asks for twice as much whenever its last
block lasted less than it should, so that a busy key costs a question a second and a quiet one next to none.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.counter import Answer, Question

NEVER = float("-inf")
MOST_REQUESTS = 1 << 16  # for which one block is asked for
PREFETCH_FROM = 8  # units of a block from which on the next one is asked for ahead


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of count. Times are seconds."""

    name: str
    window_of: Callable[[float], tuple[str, float]]  # the window that a moment lies in, and when it ends (Unix time)
    lease_seconds: float = 0.0  # without a word from its process a claim ends after that; 0: with its window
    busy_seconds: float = 1.0  # a block that lasts less is too small; one that lasts four times as long, too big
    least: int = 1  # requests, for which one block is asked for
    durable: bool = False  # counted in PostgreSQL, not in Redis
    believed_seconds: float = 0.25  # how long a refusal is believed, unless a push says otherwise


class Block:
    """The units of one window. What was taken in a window is given back to that window's block, or to nobody."""

    __slots__ = ("ends", "low", "room", "spare", "spare_seen", "taken", "tight", "window", "window_ends")

    def __init__(self, window: str = "", window_ends: float = NEVER) -> None:
        self.window = window
        self.window_ends = window_ends
        self.ends = NEVER  # Unix seconds; unusable from then on
        self.spare = 0
        self.taken = 0  # of the shared count, used or not
        self.room = 0  # what nobody had claimed when it was last asked
        self.low = 0  # below this the next block is asked for ahead
        self.tight = False  # others may be in need of what is unused here
        self.spare_seen = -1  # at the last sweep


class Waiter:
    """A request that waits for units."""

    __slots__ = ("block", "units")

    def __init__(self, units: int, block: "asyncio.Future[Block]") -> None:
        self.units = units
        self.block = block  # the one that the units are taken of


class Share:
    """One process's share of one count."""

    __slots__ = (
        "asking", "block", "granted_at", "key_id", "kind", "limit", "must_tell", "news", "patient_until",
        "refused_need", "refused_until", "requests", "seq", "unit", "unknown_until", "waiters", "wants_more",
    )  # fmt: skip

    def __init__(self, key_id: str, kind: Kind, limit: int) -> None:
        self.key_id = key_id
        self.kind = kind
        self.limit = limit
        self.block = Block()
        self.seq = 0
        self.requests = kind.least  # for how many it asks
        self.unit = 1  # what the latest request needed
        self.granted_at = NEVER
        self.asking = False  # one question at a time, or the answers could not be told apart
        self.wants_more = False  # ahead of need
        self.must_tell = False  # what is held has changed by more than the next question's own business
        self.news = False  # others wait for what is given back
        self.waiters: deque[Waiter] = deque()
        self.patient_until = NEVER  # the first that waits hopes for units of others
        self.refused_until = NEVER  # it is known that there is nothing for a request of refused_need or more
        self.refused_need = 0
        self.unknown_until = NEVER  # it is known that nothing can be known

    def has(self, units: int, now: float) -> bool:
        return self.block.spare >= units and now < self.block.ends

    def serve(self, now: float) -> None:
        """Give those that wait their units, in order, for as long as there are any."""
        while self.waiters:
            waiter = self.waiters[0]
            if not waiter.block.done():
                if not self.has(waiter.units, now):
                    return
                self.block.spare -= waiter.units
                waiter.block.set_result(self.block)
            self.waiters.popleft()

    def refuse(self, error: Exception, now: float) -> None:
        """Refuse the first that waits and all that need as much, and know so for a while."""
        need = self.waiters[0].units
        self.refused_need = need
        self.refused_until = min(now + self.kind.believed_seconds, self.block.window_ends)
        self.fail(error, need)

    def fail(self, error: Exception, need: int = 0) -> None:
        """Let all that wait for so many units or more go without."""
        waiting, self.waiters = self.waiters, deque()
        for waiter in waiting:
            if waiter.units < need:
                self.waiters.append(waiter)
            elif not waiter.block.done():
                waiter.block.set_exception(error)

    def charge(self, units: int) -> bool:
        """Use units without having asked, since they are used already. Whether this exceeds what is held."""
        block = self.block
        missing = max(0, units - block.spare)
        block.taken += missing
        block.spare += missing - units
        return missing > 0

    def lay_down(self) -> None:
        """Let go of what is unused: the next question gives it to all."""
        block = self.block
        block.taken -= block.spare
        block.spare = 0

    def is_idle(self) -> bool:
        """Whether it holds something of which nothing was used since this was asked last."""
        block = self.block
        unused, block.spare_seen = block.spare == block.spare_seen, block.spare
        return unused and block.spare > 0

    def is_due(self, now: float) -> bool:
        """Whether its claim has to be renewed before it ends."""
        block = self.block
        return self.kind.lease_seconds > 0 and block.taken > 0 and block.ends - now < self.kind.lease_seconds / 2

    def first_need(self) -> int:
        """Return how many units the first that waits needs, beside those that lie here and are too few."""
        return max(0, self.waiters[0].units - self.block.spare) if self.waiters else 0

    def refresh(self, now: float) -> None:
        """Begin the present window; in the old one, let go of units whose claim has ended."""
        if now < self.block.ends:
            return
        window, ends = self.kind.window_of(now)
        if window != self.block.window or self.block.window_ends == NEVER:
            self.block = Block(window, ends)
            self.refused_until = NEVER
        else:
            self.lay_down()  # they may have been given to others
        if not self.kind.lease_seconds:
            self.block.ends = ends

    def begin_anew(self) -> None:
        """The clock was set back: what was to last until some moment would last too long."""
        self.block.ends = self.refused_until = self.unknown_until = self.granted_at = NEVER

    def question(self, now: float) -> Question:
        """Return the question for the present window, on behalf of all requests that wait."""
        self.refresh(now)
        self.seq += 1
        block, want = self.block, 0
        needs = [waiter.units for waiter in self.waiters]
        if needs or self.wants_more:
            self.unit = needs[0] if needs else self.unit
            self._pace(now)
            want = min(self.unit * self.requests, self.limit)
        self.wants_more = self.must_tell = self.news = False
        return Question(
            seq=self.seq,
            taken=block.taken,
            spare=block.spare,
            limit=self.limit,
            head=self.first_need(),
            queued=max(0, sum(needs) - block.spare),
            want=want,
        )

    def answered(self, block: Block, answer: Answer, *, asked: float, now: float) -> None:
        """Take in an answer to what was asked about a block at a moment."""
        self.unknown_until = NEVER
        block.taken += answer.granted
        block.spare += answer.granted
        block.room = answer.room
        block.tight = answer.room < self.unit * self.requests
        block.low = block.spare // 2 if block.spare >= PREFETCH_FROM and not block.tight else 0
        if self.kind.lease_seconds:
            block.ends = min(block.window_ends, asked + self.kind.lease_seconds)
        if answer.granted:
            self.granted_at = now

    def _pace(self, now: float) -> None:
        lasted, enough = now - self.granted_at, self.kind.busy_seconds
        if lasted < enough:
            self.requests = min(self.requests * 2, MOST_REQUESTS)
        elif lasted > 4 * enough:
            self.requests = max(self.kind.least, self.requests // 4)
