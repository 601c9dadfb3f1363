"""The circuits of all providers, one state for all processes, seen from one of them.

Each process mirrors the circuits that are anything but plainly closed; Redis pushes every change to the mirrors, and
a resync every second makes a lost push a delay only. A request through a closed circuit therefore costs a dictionary
look-up. Redis is asked when a circuit is not closed, and told of failures, of probes, and of successes that end a row
of failures.

Without Redis each process goes on with the same machine (gateway/circuit.py) on its own mirror, and says so. Only the
resync looks whether Redis is back, so that no request waits for a server known to be away; then its state wins.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import UUID

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gateway import circuit as machine
from gateway.circuit import OPEN_SECONDS, Circuit, Result, Status, Transition
from gateway.circuit_mirror import CircuitMirror, Permit
from gateway.circuit_scripts import (
    ACTIVE,
    CHANNEL,
    FIELDS,
    RECENT,
    SCRIPT,
    Answer,
    answer_of,
    circuit_key,
    circuit_of,
    read_states,
    reset_circuit,
    script_arguments,
    script_keys,
    trip_circuit,
)
from nexus.clock import steady_time
from nexus.redis_clients import async_client, subscriber_client

__all__ = ["CircuitBoard", "Permit", "Refusal", "circuit_key", "read_states", "reset_circuit", "trip_circuit"]

logger = logging.getLogger(__name__)
RESYNC_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5.0  # of a silent subscription
_CALLS_AT_ONCE = 8  # a burst of failures queues here instead of opening a hundred connections
_AWAY = (RedisError, OSError)  # OSError includes the timeouts of asyncio
_CLOCKS_AGREE_MS = 1_000  # but for a process that is very late
_OVERLAP_MS = 2_000  # a change is never missed for the sake of a clock that was set back a little
_CANARY = "nexus:circuits:writable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The circuit lets no request through now."""

    status: Status
    retry_after_seconds: float


class CircuitBoard:
    """All circuits, for the event loop of one process. `clock` gives Unix seconds."""

    def __init__(
        self,
        redis_url: str,
        *,
        open_seconds: float = OPEN_SECONDS,
        on_transition: Callable[[UUID, Transition], None] | None = None,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._url = redis_url
        self._open_ms = round(open_seconds * 1000)
        self._on_transition = on_transition
        self._clock = clock
        self._compared_at_ms = 0  # by the server's clock, when the mirror was last compared with it
        self._ahead_ms = 0  # of this clock: the server's clock, to which the states refer
        self._mirror = CircuitMirror()
        self._problem: str | None = None
        self._loops: set[asyncio.Task[Any]] = set()
        self._calls: set[asyncio.Task[Any]] = set()
        self._asking: dict[UUID, asyncio.Task[Permit | Refusal]] = {}
        self._turns = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._client = async_client(redis_url)
        self._script = self._client.register_script(SCRIPT)
        self.closed_permit = self._mirror.closed_permit  # no I/O; bound here, since every request calls it

    async def start(self) -> None:
        await self._resync()
        for work in (self._keep_in_step, self._listen):
            self._spawn(_supervise(work), self._loops)

    async def stop(self) -> None:
        for task in self._loops:
            task.cancel()
        # The reports under way are let through: a probe's slot would otherwise stay taken until its lease ends.
        await asyncio.gather(*self._loops, *self._calls, return_exceptions=True)
        await self._client.aclose()

    @property
    def backend(self) -> str:
        """`redis`, or `local` while this process is on its own."""
        return "redis" if self._problem is None else "local"

    @property
    def detail(self) -> str:
        return "shared by all processes" if self._problem is None else f"this process alone: {self._problem}"

    def not_closed(self) -> dict[UUID, Status]:
        """Return the circuits that are open or half-open, as far as this process knows. No I/O."""
        states = self._mirror.states(self._mirror.unsettled())
        return {id_: circuit.status for id_, circuit in states.items() if circuit.status is not Status.CLOSED}

    async def acquire(self, provider_id: UUID, *, lease_seconds: float) -> Permit | Refusal:
        """Ask for leave to send. A probe's slot is freed after `lease_seconds`, should this process die with it.

        One question per circuit is under way at a time: who comes meanwhile waits for its answer, which mostly is
        theirs too. A caller that is cancelled gives the slot back that it may just have got.
        """
        lease_ms = round(lease_seconds * 1000)
        while (decided := self._decided(provider_id, lease_ms)) is None:
            under_way = self._asking.get(provider_id)
            if under_way is not None:
                await asyncio.wait([under_way])
                continue
            asking = self._spawn(self._ask_leave(provider_id, lease_ms), self._calls)
            self._asking[provider_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(provider_id))
            try:
                return await asyncio.shield(asking)
            except asyncio.CancelledError:
                asking.add_done_callback(partial(self._give_back, provider_id))
                raise
        return decided

    def needs_report(self, provider_id: UUID, permit: Permit, result: Result) -> bool:
        """Whether a result changes anything: most successes and all neutral results of ordinary requests do not."""
        if permit.token or result is Result.FAILURE:
            return True
        return result is Result.SUCCESS and self._mirror.get(provider_id).consecutive_failures > 0

    async def report(self, provider_id: UUID, permit: Permit, result: Result, reason: str = "") -> None:
        """Tell how a request ended. What has been called is told, even if the caller is cancelled meanwhile."""
        if self.needs_report(provider_id, permit, result):
            await asyncio.shield(self._spawn(self._tell_result(provider_id, permit, result, reason), self._calls))

    def report_soon(self, provider_id: UUID, permit: Permit, result: Result, reason: str = "") -> None:
        """Report without waiting, for a caller that is being cancelled."""
        if self.needs_report(provider_id, permit, result):
            self._spawn(self._tell_result(provider_id, permit, result, reason), self._calls)

    async def reset(self, provider_id: UUID, reason: str) -> None:
        """Close a circuit in a new generation: its provider is another one now."""
        answer = await self._ask(provider_id, "reset", reason)
        if answer is None:
            circuit, change = machine.reset(self._mirror.get(provider_id), now_ms=self._now_ms(), reason=reason)
            self._decide_alone(provider_id, circuit, change)

    async def states(self, provider_ids: Iterable[UUID]) -> dict[UUID, Circuit]:
        """Return the shared states, or while Redis is away those of this process."""
        ids = list(provider_ids)
        if self._problem is None:
            try:
                found = await self._read(ids)
            except _AWAY as error:
                self._lost(error)
            else:
                return {id_: circuit or Circuit() for id_, circuit in found.items()}
        return self._mirror.states(ids)

    def _decided(self, provider_id: UUID, lease_ms: int) -> Permit | Refusal | None:
        """Return what the mirror can answer; None where the shared state must be asked."""
        known = self._mirror.get(provider_id)
        if known.status is Status.CLOSED:
            return self.closed_permit(provider_id)
        now_ms = self._now_ms()
        if known.status is Status.OPEN:
            left_ms, longest_ms = known.opened_at_ms + self._open_ms - now_ms, self._open_ms
        else:
            left_ms, longest_ms = known.probe_expires_at_ms - now_ms if known.probe_token else 0, lease_ms
        if left_ms > longest_ms + _CLOCKS_AGREE_MS:
            return None  # the server's clock was set back: it is asked, and begins to count anew
        left_ms = min(left_ms, longest_ms)
        return Refusal(known.status, left_ms / 1000) if left_ms > 0 else None

    async def _ask_leave(self, provider_id: UUID, lease_ms: int) -> Permit | Refusal:
        token = secrets.token_hex(8)
        answer = await self._ask(provider_id, "acquire", token, lease_ms, self._open_ms)
        if answer is not None:
            admission = answer.admission
        else:
            circuit, admission, change = machine.acquire(
                self._mirror.get(provider_id),
                token=token,
                lease_ms=lease_ms,
                now_ms=self._now_ms(),
                open_ms=self._open_ms,
            )
            self._decide_alone(provider_id, circuit, change)
        if not admission.admitted:
            return Refusal(admission.status, admission.wait_ms / 1000)
        return Permit(admission.generation, token if admission.is_probe else "")

    def _give_back(self, provider_id: UUID, asked: asyncio.Task[Permit | Refusal]) -> None:
        if asked.cancelled() or asked.exception() is not None:
            return
        answer = asked.result()
        if isinstance(answer, Permit) and answer.is_probe:
            self.report_soon(provider_id, answer, Result.NEUTRAL, "the client left before its probe was sent")

    async def _tell_result(self, provider_id: UUID, permit: Permit, result: Result, reason: str) -> None:
        answer = await self._ask(provider_id, "report", result.value, permit.generation, permit.token, reason)
        if answer is not None:
            return
        circuit, change = machine.report(
            self._mirror.get(provider_id),
            result=result,
            generation=permit.generation,
            token=permit.token,
            now_ms=self._now_ms(),
            reason=reason,
        )
        self._decide_alone(provider_id, circuit, change)

    async def _ask(self, provider_id: UUID, verb: str, *arguments: object) -> Answer | None:
        """Run the script and take over its answer; None while Redis is away."""
        async with self._turns:
            if self._problem is not None:
                return None
            asked_at = self._mirror.now
            try:
                raw = await self._script(
                    keys=script_keys(provider_id), args=script_arguments(verb, provider_id, *arguments)
                )
            except _AWAY as error:
                self._lost(error)
                return None
        answer = answer_of(cast("list[Any]", raw))
        self._mirror.take_answer(provider_id, answer.circuit, asked_at=asked_at)
        self._tell(provider_id, answer.transition)
        return answer

    def _decide_alone(self, provider_id: UUID, circuit: Circuit, change: Transition | None) -> None:
        if circuit != self._mirror.get(provider_id):
            self._mirror.put(provider_id, circuit)
        self._tell(provider_id, change)

    def _tell(self, provider_id: UUID, change: Transition | None) -> None:
        if change is not None and self._on_transition is not None:
            self._on_transition(provider_id, change)

    async def _resync(self) -> None:
        """Read every circuit that is not plainly closed, here or there, and find out whether Redis answers."""
        returning = self._problem is not None
        asked_at = self._mirror.now
        try:
            if returning:
                # A full server and a mere replica answer reads, but no circuit can change there.
                await self._client.set(_CANARY, "1", ex=60)
            changed = await self._changed_ids(everything=returning)
            here = self._mirror.known() if returning else self._mirror.unsettled()
            found = await self._read(changed | here)
        except _AWAY as error:
            self._lost(error)
            return
        if returning:
            self._mirror.replace(found)
            self._problem = None
            logger.info("Redis answers again: circuits are shared.")
            return
        for id_, circuit in found.items():
            self._mirror.take_answer(id_, circuit, asked_at=asked_at)

    async def _changed_ids(self, *, everything: bool) -> set[UUID]:
        """Return the circuits that are not plainly closed, and those that became so since the last time."""
        since = "-inf" if everything else self._compared_at_ms - _OVERLAP_MS
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.smembers(ACTIVE)
        pipeline.zrangebyscore(RECENT, since, "+inf")
        (seconds, microseconds), active, recent = await pipeline.execute()
        self._compared_at_ms = seconds * 1000 + microseconds // 1000
        self._ahead_ms = self._compared_at_ms - round(self._clock() * 1000)
        return {UUID(member.decode()) for member in (*active, *recent)}

    async def _read(self, ids: Iterable[UUID]) -> dict[UUID, Circuit | None]:
        """Return the states that Redis has; None for what it does not know. One round trip."""
        wanted = list(ids)
        if not wanted:
            return {}
        pipeline = self._client.pipeline(transaction=False)
        for id_ in wanted:
            pipeline.hmget(circuit_key(id_), FIELDS)
        rows = await pipeline.execute()
        return {id_: circuit_of(row) if row[0] else None for id_, row in zip(wanted, rows, strict=True)}

    async def _keep_in_step(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            await self._resync()

    async def _listen(self) -> None:
        while True:
            try:
                async with subscriber_client(self._url) as client, client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    await self._follow(subscription)
            except _AWAY:
                await asyncio.sleep(RESYNC_SECONDS)  # the resync keeps the mirror true meanwhile

    async def _follow(self, subscription: PubSub) -> None:
        while True:
            # The time limit lets the client's health check in: a peer that is gone is noticed by writing to it.
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_HEARTBEAT_SECONDS)
            if message is None:
                continue
            try:
                id_, *values = json.loads(message["data"])
                provider_id, circuit = UUID(id_), circuit_of(values)
            except (ValueError, TypeError, AttributeError):
                logger.warning("A message is not a circuit's state: it is left out.", extra={"channel": CHANNEL})
                continue
            self._mirror.take_push(provider_id, circuit)

    def _lost(self, error: Exception) -> None:
        if self._problem is None:
            logger.warning(
                "Redis does not answer: circuits are this process's own now.", extra={"error": type(error).__name__}
            )
        self._problem = f"Redis does not answer ({type(error).__name__})"

    def _now_ms(self) -> int:
        """Return the server's time, as last compared; so this machine's clock may be wrong, and need only run."""
        return round(self._clock() * 1000) + self._ahead_ms

    def _spawn[T](self, work: Coroutine[Any, Any, T], among: set[asyncio.Task[Any]]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task


async def _supervise(work: Callable[[], Awaitable[None]]) -> None:
    """Run a loop for good. One that fails on what nobody foresaw is begun again: without it the mirror goes stale."""
    while True:
        try:
            await work()
        except Exception:  # logged with its traceback, then begun again
            logger.exception("Keeping the circuits in step failed; it begins again.")
            await asyncio.sleep(RESYNC_SECONDS)
