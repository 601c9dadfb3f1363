"""The circuits of all providers, one state for all processes, seen from one of them.

Each process mirrors the circuits that are anything but plainly closed; Redis pushes every change to the mirrors, and
a resync every second makes a lost push a delay only. A request through a closed circuit therefore costs a dictionary
look-up. Redis is asked when a circuit is not closed, and told of failures, of probes, and of successes that end a row
of failures.

Without Redis each process goes on with the same machine (gateway/circuit.py) on its own mirror, and says so; when
Redis is back, its state wins.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import redis
import redis.asyncio
from redis.exceptions import RedisError

from gateway import circuit as machine
from gateway.circuit import OPEN_SECONDS, Admission, Circuit, Result, Status, Transition
from nexus.redis_clients import async_client, subscriber_client

logger = logging.getLogger(__name__)
CHANNEL = "nexus:circuits"
ACTIVE = "nexus:circuits:active"
RESYNC_SECONDS = 1.0
REST_SECONDS = 1.0  # how long a failing Redis is left alone
_SCRIPT = (Path(__file__).parent / "circuit.lua").read_text()
_INTEGERS = (
    "consecutive_failures",
    "probe_successes",
    "generation",
    "opened_at_ms",
    "probe_expires_at_ms",
    "last_at_ms",
)
_FIELDS = (
    "status", "consecutive_failures", "probe_successes", "generation", "opened_at_ms", "probe_token",
    "probe_expires_at_ms", "last_from", "last_at_ms", "last_reason",
)  # fmt: skip
_CLOSED = Circuit()


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request. `token` is set for a probe."""

    generation: int
    token: str = ""

    @property
    def is_probe(self) -> bool:
        return bool(self.token)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The circuit lets no request through now."""

    status: Status
    retry_after_seconds: float


class CircuitBoard:
    """All circuits, for the event loop of one process."""

    def __init__(
        self,
        redis_url: str,
        *,
        open_seconds: float = OPEN_SECONDS,
        on_transition: Callable[[UUID, Transition], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = redis_url
        self._open_ms = round(open_seconds * 1000)
        self._on_transition = on_transition
        self._clock = clock
        self._mirror: dict[UUID, Circuit] = {}
        self._permits: dict[UUID, Permit] = {}  # of closed circuits, so that the hot path makes none
        self._rest_until = 0.0
        self._problem: str | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client = async_client(redis_url)
        self._script = self._client.register_script(_SCRIPT)

    async def start(self) -> None:
        await self._resync()
        for work in (self._keep_in_step, self._listen):
            self._spawn(work())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    @property
    def backend(self) -> str:
        """`redis`, or `local` while this process is on its own."""
        return "redis" if self._problem is None else "local"

    @property
    def detail(self) -> str:
        return "shared by all processes" if self._problem is None else f"this process alone: {self._problem}"

    def closed_permit(self, provider_id: UUID) -> Permit | None:
        """Return a permit at once if the circuit is closed, None if it must be asked for. No I/O."""
        permit = self._permits.get(provider_id)
        if permit is not None:
            return permit
        if provider_id in self._mirror:
            return None
        permit = self._permits[provider_id] = Permit(0)
        return permit

    async def acquire(self, provider_id: UUID, *, lease_seconds: float) -> Permit | Refusal:
        """Ask for leave to send. A probe's slot is freed after `lease_seconds`, should this process die with it."""
        known = self._mirror.get(provider_id, _CLOSED)
        if known.status is Status.OPEN:
            left = known.opened_at_ms + self._open_ms - self._now_ms()
            if left > 0:
                return Refusal(Status.OPEN, left / 1000)
        token = secrets.token_hex(8)
        lease_ms = round(lease_seconds * 1000)
        answer = await self._ask(provider_id, "acquire", token, lease_ms, self._open_ms)
        if answer is not None:
            admitted, is_probe, wait_ms = answer[0], answer[1], answer[2]
            circuit = self._take(provider_id, answer)
            admission = Admission(bool(admitted), circuit.status, circuit.generation, bool(is_probe), wait_ms)
        else:
            circuit, admission, transition = machine.acquire(
                known, token=token, lease_ms=lease_ms, now_ms=self._now_ms(), open_ms=self._open_ms
            )
            self._set(provider_id, circuit)
            self._tell(provider_id, transition)
        if not admission.admitted:
            return Refusal(admission.status, admission.wait_ms / 1000)
        return Permit(admission.generation, token if admission.is_probe else "")

    def needs_report(self, provider_id: UUID, permit: Permit, result: Result) -> bool:
        """Whether a result changes anything: most successes and all neutral results of ordinary requests do not."""
        if permit.token or result is Result.FAILURE:
            return True
        if result is Result.NEUTRAL:
            return False
        circuit = self._mirror.get(provider_id)
        return circuit is not None and circuit.consecutive_failures > 0

    async def report(self, provider_id: UUID, permit: Permit, result: Result, reason: str = "") -> None:
        """Tell how a request ended."""
        if not self.needs_report(provider_id, permit, result):
            return
        answer = await self._ask(provider_id, "report", result.value, permit.generation, permit.token, reason)
        if answer is not None:
            self._take(provider_id, answer)
            return
        circuit, transition = machine.report(
            self._mirror.get(provider_id, _CLOSED),
            result=result,
            generation=permit.generation,
            token=permit.token,
            now_ms=self._now_ms(),
            reason=reason,
        )
        self._set(provider_id, circuit)
        self._tell(provider_id, transition)

    def report_soon(self, provider_id: UUID, permit: Permit, result: Result, reason: str = "") -> None:
        """Report without waiting, for a caller that is being cancelled."""
        self._spawn(self.report(provider_id, permit, result, reason))

    async def _ask(self, provider_id: UUID, verb: str, *arguments: object) -> list[Any] | None:
        """Run the script; None while Redis is away. A failing Redis is asked once a second, not by every request."""
        if self._problem is not None and time.monotonic() < self._rest_until:
            return None
        try:
            answer = await self._script(
                keys=[circuit_key(provider_id), ACTIVE], args=[verb, str(provider_id), "", *map(str, arguments)]
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return None
        self._found()
        return cast("list[Any]", answer)

    def _take(self, provider_id: UUID, answer: list[Any]) -> Circuit:
        """Take over the state that the script answered, and tell of the transition it made."""
        circuit = _circuit_of(answer[5:])
        self._set(provider_id, circuit)
        if answer[3]:
            change = Transition(
                Status(answer[3].decode()), circuit.status, answer[4].decode(), circuit.last_at_ms, circuit.generation
            )
            self._tell(provider_id, change)
        return circuit

    def _set(self, provider_id: UUID, circuit: Circuit) -> None:
        known = self._mirror.get(provider_id)
        if known is not None and known.generation > circuit.generation and self._problem is None:
            return  # an older push has overtaken a newer answer
        self._mirror[provider_id] = circuit
        if circuit.status is Status.CLOSED:
            self._permits[provider_id] = Permit(circuit.generation)
        else:
            self._permits.pop(provider_id, None)

    def _tell(self, provider_id: UUID, transition: Transition | None) -> None:
        if transition is not None and self._on_transition is not None:
            self._on_transition(provider_id, transition)

    async def _resync(self) -> None:
        """Read every circuit that is active or mirrored; what Redis does not know is plainly closed."""
        if self._problem is not None and time.monotonic() < self._rest_until:
            return
        try:
            members = await cast("Awaitable[set[bytes]]", self._client.smembers(ACTIVE))
            ids = {UUID(member.decode()) for member in members} | set(self._mirror)
            pipeline = self._client.pipeline(transaction=False)
            for id_ in ids:
                pipeline.hmget(circuit_key(id_), _FIELDS)
            found = dict(zip(ids, await pipeline.execute() if ids else [], strict=True))
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return
        returning = self._problem is not None
        self._found()
        for id_, values in found.items():
            if values[0] is None:
                self._mirror.pop(id_, None)
                self._permits.pop(id_, None)
                continue
            if returning:
                self._mirror.pop(id_, None)  # what this process made of it alone gives way to the shared state
            self._set(id_, _circuit_of(values))

    async def _keep_in_step(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            await self._resync()

    async def _listen(self) -> None:
        while True:
            try:
                client = subscriber_client(self._url)
                async with client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    async for message in subscription.listen():
                        if message["type"] == "message":
                            id_, *values = json.loads(message["data"])
                            self._set(UUID(id_), _circuit_of(values))
            except (RedisError, OSError):
                await asyncio.sleep(RESYNC_SECONDS)  # the resync keeps the mirror true meanwhile

    def _lost(self, error: BaseException) -> None:
        self._rest_until = time.monotonic() + REST_SECONDS
        if self._problem is None:
            logger.warning("Redis does not answer (%s): circuits are this process's own now.", type(error).__name__)
        self._problem = f"Redis does not answer ({type(error).__name__})"

    def _found(self) -> None:
        if self._problem is not None:
            logger.info("Redis answers again: circuits are shared.")
        self._problem = None

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def circuit_key(provider_id: UUID) -> str:
    return f"nexus:circuit:{provider_id}"


def read_states(client: redis.Redis, provider_ids: Iterable[UUID]) -> dict[UUID, Circuit]:
    """Return the shared state of circuits, for the management API. One round trip. Raises RedisError."""
    ids = list(provider_ids)
    pipeline = client.pipeline(transaction=False)
    for id_ in ids:
        pipeline.hmget(circuit_key(id_), _FIELDS)
    found = pipeline.execute() if ids else []
    return {id_: _circuit_of(values) if values[0] else _CLOSED for id_, values in zip(ids, found, strict=True)}


def reset_circuit(client: redis.Redis, provider_id: UUID, reason: str) -> None:
    """Close a circuit in a new generation: its provider is another one now. Raises RedisError."""
    client.eval(_SCRIPT, 2, circuit_key(provider_id), ACTIVE, "reset", str(provider_id), "", reason)


def _circuit_of(values: Iterable[Any]) -> Circuit:
    fields: dict[str, Any] = {
        name: value.decode() if isinstance(value, bytes) else value for name, value in zip(_FIELDS, values, strict=True)
    }
    for name in _INTEGERS:
        fields[name] = int(fields[name] or 0)
    return replace(_CLOSED, **{**fields, "status": Status(fields["status"] or "closed")})
