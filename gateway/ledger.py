"""The shared counts, seen from one process: shares of them in hand, more on demand.

A request that finds its units in a share costs no I/O. Where a share is used up, all requests that wait for it ask one
question together. Where others hold unused units these are called back, and the request waits a moment for them.

While Redis is away each process counts minutes and requests at once by itself, and /readyz says so. Monthly quotas do
not depend on Redis; while PostgreSQL is away what is in hand of them is used up, and then nothing is let through.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from gateway.counter import Answer, answer
from gateway.counter_stores import AWAY, Asked, QuotaCounts, RedisCounts, count_name
from gateway.share import NEVER, Block, Kind, Share, Waiter

logger = logging.getLogger(__name__)
RECALL_SECONDS = 0.25  # the longest that a request waits for units that others hold unused
UNKNOWN_SECONDS = 0.5  # how long it is believed that a count cannot be known
BEAT_SECONDS = 1.0  # between two looks at the server and at what lies unused
QUESTIONS_AT_ONCE = 128


class Short(Exception):
    """There is nothing left of a count."""


class CountersUnknown(Exception):
    """What is left of a count cannot be known now."""


class Ledger:
    """All counts, for the event loop of one process. `clock` gives Unix seconds."""

    def __init__(self, counts: RedisCounts, quotas: QuotaCounts, *, clock: Callable[[], float] = time.time) -> None:
        self.problem: str | None = None  # why Redis cannot be asked
        self.quota_problem: str | None = None  # why PostgreSQL cannot be asked
        self._counts = counts
        self._quotas = quotas
        self._clock = clock
        self._swept_at = NEVER
        self._shares: dict[str, Share] = {}
        self._live: set[Share] = set()  # those that may hold something
        self._due: list[Share] = []
        self._paused: dict[Share, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        await self._beat()
        for work in (self._keep, self._listen):
            self._loops.append(asyncio.create_task(_supervise(work)))

    async def stop(self) -> None:
        """Give everything back that is unused, and go."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        for share in self._shares.values():
            if share.block.spare > 0:
                self.give_back(share)
        while self._tasks or self._due:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)
        await self._counts.close()
        await self._quotas.close()

    def health(self) -> dict[str, Any]:
        """Return whether limits are counted over all processes, for /readyz."""
        problems = [problem for problem in (self.problem, self.quota_problem) if problem is not None]
        return {"ok": not problems, "detail": "; ".join(problems) or "counted over all processes"}

    def share(self, key_id: str, kind: Kind, limit: int) -> Share:
        """Return this process's share of a key's count, with the limit that holds from now on."""
        name = count_name(key_id, kind)
        share = self._shares.get(name)
        if share is None:
            share = self._shares[name] = Share(key_id, kind, limit)
        elif share.limit != limit:
            share.limit, share.refused_until = limit, NEVER
            self.give_back(share)  # what was taken under the old limit may be too much under the new one
        return share

    async def take(self, share: Share, units: int) -> Block:
        """Take units out of a share and return the block they are of. Raises Short, CountersUnknown."""
        now = self._clock()
        if share.has(units, now) and not share.waiters:
            share.block.spare -= units
            return share.block
        if now < share.refused_until and units >= share.refused_need:
            raise Short
        if now < share.unknown_until:
            raise CountersUnknown
        waiter = Waiter(units, asyncio.get_running_loop().create_future())
        share.waiters.append(waiter)
        if share not in self._paused:
            self.ask(share)
        try:
            return await waiter.block
        except asyncio.CancelledError:
            if waiter.block.done() and not waiter.block.cancelled() and waiter.block.exception() is None:
                self.put_back(share, waiter.block.result(), units)
            raise

    def put_back(self, share: Share, block: Block, units: int) -> None:
        """Return units that were not used, to the block they are of; where others may need them, to all."""
        block.spare += units
        if block is share.block and (share.waiters or block.tight):
            share.serve(self._clock())
            if block.tight and block.spare > 0:
                self.give_back(share, news=True)

    def charge(self, share: Share, units: int) -> None:
        """Note units that are used already, in the present window, whether there was room or not."""
        share.refresh(self._clock())
        if share.charge(units):
            self.tell(share)

    def give_back(self, share: Share, *, news: bool = False) -> None:
        """Give to all what is unused here. `news`: somebody waits for it."""
        share.lay_down()
        share.wants_more = False
        share.news = share.news or news
        self.tell(share)

    def tell(self, share: Share) -> None:
        """Declare what is held, even if nothing is needed."""
        share.must_tell = True
        self.ask(share)

    def ask_ahead(self, share: Share) -> None:
        """See to it that the next block is here before this one is used up."""
        if not share.asking and self._clock() >= share.unknown_until:
            share.wants_more = True
            self.ask(share)

    def ask(self, share: Share) -> None:
        """See to it that a question is asked soon; what several want at once becomes one."""
        if share.asking:
            return  # what there is to ask and to tell is looked at again when the answer is here
        share.asking = True
        self._live.add(share)
        paused = self._paused.pop(share, None)
        if paused is not None:
            paused.cancel()
        self._due.append(share)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        due, self._due = self._due, []
        for share in due:
            if share.kind.durable:
                self._spawn(self._ask_quota(share))
        others = [share for share in due if not share.kind.durable]
        for start in range(0, len(others), QUESTIONS_AT_ONCE):
            self._spawn(self._ask_redis(others[start : start + QUESTIONS_AT_ONCE]))

    def _question(self, share: Share, now: float) -> tuple[Asked, Block]:
        news, question = share.news, share.question(now)
        return Asked(share.key_id, share.kind, share.block.window, question, tell=news), share.block

    async def _ask_redis(self, shares: list[Share]) -> None:
        sent = self._clock()
        asked = [self._question(share, sent) for share in shares]
        answers: list[Answer] | None = None
        if self.problem is None:
            try:
                answers = await self._counts.ask([each for each, _ in asked])
            except AWAY as error:
                self._lost(error)
            except BaseException:
                _drop(shares)
                raise
        if answers is None:
            answers = [answer(each.question, ()) for each, _ in asked]  # as if there were no other process
        for share, (each, block), found in zip(shares, asked, answers, strict=True):
            self._answered(share, each, block, found, sent)

    async def _ask_quota(self, share: Share) -> None:
        sent = self._clock()
        asked, block = self._question(share, sent)
        try:
            found = await self._quotas.ask(asked)
        except AWAY as error:
            share.unknown_until = self._clock() + UNKNOWN_SECONDS  # the next ones do not wait for it again
            _drop([share])
            if self.quota_problem is None:
                logger.warning(
                    "PostgreSQL does not answer: quotas are what is in hand.", extra={"why": type(error).__name__}
                )
            self.quota_problem = f"PostgreSQL does not answer ({type(error).__name__})"
            return
        except BaseException:
            _drop([share])
            raise
        self.quota_problem = None
        self._answered(share, asked, block, found, sent)
        if found.granted < asked.question.head:
            self._publish("recall", asked.name)
        elif asked.tell:
            self._publish("changed", asked.name)

    def _answered(self, share: Share, asked: Asked, block: Block, found: Answer, sent: float) -> None:
        now = self._clock()
        share.asking = False
        share.answered(block, found, asked=sent, now=now)
        share.serve(now)
        question = asked.question
        if found.granted >= question.head:
            share.patient_until = NEVER
            self._go_on(share)
            return
        others_have = found.elsewhere > 0 and found.room + found.elsewhere >= question.head and self.problem is None
        if share.patient_until == NEVER and others_have:
            share.patient_until = now + RECALL_SECONDS
        if others_have and now < share.patient_until and share.waiters:
            self._pause(share, share.patient_until - now)
            return
        share.patient_until = NEVER
        if share.first_need() >= question.head:  # else the one that was asked for has gone meanwhile
            share.refuse(Short(), now)
        self._go_on(share)

    def _go_on(self, share: Share) -> None:
        """Ask again where there is need to."""
        while share.waiters and share.waiters[0].block.done():
            share.waiters.popleft()
        if share.waiters or share.must_tell:
            self.ask(share)

    def _pause(self, share: Share, seconds: float) -> None:
        """Ask again after a while, or when a push says that it is worth it."""
        if not share.asking and share not in self._paused:
            self._paused[share] = asyncio.get_running_loop().call_later(seconds, self._resume, share)

    def _resume(self, share: Share) -> None:
        paused = self._paused.pop(share, None)
        if paused is not None:
            paused.cancel()
            self._go_on(share)

    def _hear(self, what: str, name: str) -> None:
        share = self._shares.get(name)
        if share is None:
            return
        if what == "changed":
            share.refused_until = NEVER
            self._resume(share)
        elif what == "recall" and not share.waiters and share.block.taken:
            share.block.tight, share.block.low = True, 0
            if share.block.spare > 0:
                self.give_back(share, news=True)

    def _publish(self, what: str, name: str) -> None:
        async def publish() -> None:
            try:
                await self._counts.tell(what, name)
            except AWAY as error:
                self._lost(error)

        if self.problem is None:
            self._spawn(publish())

    # --- once a second

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._beat()

    async def _listen(self) -> None:
        await self._counts.listen(self._hear)

    async def _beat(self) -> None:
        """Look whether Redis is there and remembers; renew what ends soon, and give back what lies unused."""
        forgotten = False
        try:
            forgotten = await self._counts.has_forgotten() or self.problem is not None
            if self.problem is not None:
                logger.info("Redis answers again: limits are counted over all processes.")
            self.problem = None
        except AWAY as error:
            self._lost(error)
        self._sweep(forgotten=forgotten)

    def _sweep(self, *, forgotten: bool) -> None:
        """Renew what ends soon, give back what lies unused, and declare all again where the server has forgotten."""
        now = self._clock()
        if now < self._swept_at:
            for share in self._shares.values():
                share.begin_anew()
        self._swept_at = now
        for share in list(self._live):
            block, durable = share.block, share.kind.durable
            if not (block.taken and now < block.window_ends) and not share.must_tell and not share.asking:
                self._live.discard(share)
            # What lies unused of a month is called back when it is needed, which takes Redis.
            elif now < block.ends and (not durable or self.problem is not None) and share.is_idle():
                self.give_back(share)
            elif now >= share.unknown_until and (share.must_tell or share.is_due(now) or (forgotten and not durable)):
                self.tell(share)

    def _lost(self, error: Exception) -> None:
        if self.problem is None:
            logger.warning(
                "Redis does not answer: each process counts minutes and requests at once by itself.",
                extra={"why": type(error).__name__},
            )
        self.problem = f"Redis does not answer ({type(error).__name__}): each process counts by itself"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Asking for the counts of limits failed.", exc_info=error)


def _drop(shares: list[Share]) -> None:
    """Take a question that was not answered for never asked."""
    for share in shares:
        share.asking, share.must_tell = False, True
        share.fail(CountersUnknown())


async def _supervise(work: Callable[[], Awaitable[None]]) -> None:
    """Run a loop for good. One that fails on what nobody foresaw is begun again: without it limits go out of step."""
    while True:
        try:
            await work()
        except Exception:  # logged with its traceback, then begun again
            logger.exception("Keeping the counts of limits in step failed; it begins again.")
            await asyncio.sleep(BEAT_SECONDS)
