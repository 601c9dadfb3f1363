"""All that the hot path must know, frozen, in memory: keys, tenants, routes, prices. The data plane's only database
read.

`Snapshot` is immutable: a request that began with one ends with it. `SnapshotKeeper` replaces it when the configuration
revision rises: it polls the revision twice a second, and a push through Redis only makes the next poll come at once. A
dead Redis therefore makes a change slower by half a second, never wrong. Without PostgreSQL it starts with the last
snapshot that is on this machine's disk (gateway/snapshot_file.py), and goes on by itself when the database is back.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from asgiref.sync import sync_to_async
from redis.exceptions import RedisError

from accounts.revisions import CHANNEL
from billing.pricing import Price
from gateway.providers.base import Adapter, Target
from gateway.records import Decision, Plan, RouteFacts
from gateway.transport import Origin
from nexus.redis_clients import subscriber_client

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.5
FIRST_LOOK_SECONDS = 1.0  # that a start waits for the database before it turns to the disk


@dataclass(frozen=True, slots=True)
class Route:
    """One provider connection as it serves one public model name."""

    provider_id: UUID
    id_text: str  # the same id, as records hold it
    name: str
    adapter: Adapter
    origin: Origin
    target: Target
    weight: int
    timeout_seconds: int  # until the first content
    price: Price | None
    family: str
    facts: RouteFacts  # what each record of this route repeats, encoded
    head: bytes  # the headers that every answer of this route has, one a line
    head_at_once: bytes  # the same, where it answered as the first candidate at its first attempt


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """The candidates of one public model name, highest weight first."""

    candidates: tuple[Route, ...]
    plan: Plan
    decision: Decision  # the record of a request that takes the first one without any draw, encoded


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """A tenant's settings and routes."""

    id: UUID
    slug: str
    weighted: bool
    max_attempts: int
    deadline_seconds: int
    routes: Mapping[str, ModelRoutes]  # by public model name


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How much a key may use; None: as much as it likes."""

    monthly_requests: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: an API key, its tenant, and what it may do at this moment."""

    key_id: str
    tenant_id: str
    tenant: TenantConfig
    scopes: frozenset[str]
    expires_at: float | None  # Unix seconds
    limits: KeyLimits | None = None  # None: it has no limits at all


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The configuration at one revision. Callers are found by the SHA-256 (32 bytes) of the whole key."""

    revision: int = -1
    tenants: Mapping[UUID, TenantConfig] = field(default_factory=dict)
    callers: Mapping[bytes, Caller] = field(default_factory=dict)

    def caller(self, digest: bytes) -> Caller | None:
        """Return the caller of a live key; None for one that is unknown, revoked or expired."""
        caller = self.callers.get(digest)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= time.time()):
            return None
        return caller

    def tenant_of(self, provider_id: UUID) -> UUID | None:
        """Return the tenant whose provider this is, None when no enabled route leads to it any more."""
        for tenant in self.tenants.values():
            for routes in tenant.routes.values():
                if any(route.provider_id == provider_id for route in routes.candidates):
                    return tenant.id
        return None

    def updated(self, changed: "Snapshot", tenant_ids: Iterable[UUID]) -> "Snapshot":
        """Return the snapshot in which the given tenants are as in `changed`, and gone where that has none."""
        gone = frozenset(tenant_ids)
        tenants = {id_: tenant for id_, tenant in self.tenants.items() if id_ not in gone}
        callers = {digest: caller for digest, caller in self.callers.items() if caller.tenant.id not in gone}
        return Snapshot(changed.revision, {**tenants, **changed.tenants}, {**callers, **changed.callers})


class SnapshotKeeper:
    """Holds the current snapshot and keeps it fresh for as long as it runs.

    `load` brings a snapshot up to the database's revision; `stored` gives the one on the disk and how many seconds ago
    it was known to be true, or raises. Both block and are called in a thread.
    """

    def __init__(
        self,
        load: Callable[[Snapshot], Snapshot],
        *,
        stored: Callable[[], tuple[Snapshot, float]],
        connection: Mapping[str, Any],
        redis_url: str,
    ) -> None:
        self.current = Snapshot()
        self.problem: str | None = "not loaded yet"
        self._confirmed_at: float | None = None
        self.source: str | None = None  # where the snapshot is from, if not from the database
        self._load = load
        self._stored = stored
        self._connection_parameters = dict(connection)
        self._redis_url = redis_url
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def age_seconds(self) -> float | None:
        """How long ago the snapshot was last known to be the current configuration; None: never."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    async def start(self) -> None:
        """Load the first snapshot, from the disk if the database does not answer, or go on without one and say so."""
        try:
            await asyncio.wait_for(self._look(), FIRST_LOOK_SECONDS)
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._failed("PostgreSQL does not answer", error)
        else:
            await self.refresh()
        if self.current.revision < 0:
            await self._take_stored()
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refresh(self) -> None:
        """Bring the snapshot up to the database's revision."""
        # What comes from the disk is replaced as a whole: nobody knows what became of the database since.
        known = self.current if self.source is None else Snapshot()
        try:
            loaded = await sync_to_async(self._load, thread_sensitive=False)(known)
        except Exception as error:  # noqa: BLE001  (whatever the database does, the last good snapshot goes on serving)
            self._failed("the configuration could not be loaded", error)
            return
        if self.problem is not None or loaded.revision != self.current.revision:
            logger.info("A configuration is in force.", extra={"revision": loaded.revision})
        self.current, self.problem, self.source, self._confirmed_at = loaded, None, None, time.monotonic()

    async def _take_stored(self) -> None:
        try:
            self.current, age_seconds = await sync_to_async(self._stored, thread_sensitive=False)()
        except Exception as error:  # noqa: BLE001  (whatever is wrong with the file, the database is waited for)
            logger.error("The configuration on the disk is not used.", extra={"reason": str(error)})
            return
        moment = f"{datetime.now(UTC) - timedelta(seconds=age_seconds):%Y-%m-%d %H:%M:%S} UTC"
        self.source = f"from the disk, known to be true until {moment}"
        self._confirmed_at = time.monotonic() - age_seconds
        logger.warning("A configuration is in force.", extra={"revision": self.current.revision, "source": self.source})

    async def _look(self) -> None:
        """Find out whether the database answers."""
        async with await psycopg.AsyncConnection.connect(
            **self._connection_parameters, autocommit=True, connect_timeout=2
        ) as connection:
            await connection.execute("SELECT 1")

    async def _poll(self) -> None:
        connection: psycopg.AsyncConnection[Any] | None = None
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            self._wake.clear()
            try:
                if connection is None:
                    connection = await psycopg.AsyncConnection.connect(
                        **self._connection_parameters, autocommit=True, connect_timeout=2
                    )
                cursor = await asyncio.wait_for(connection.execute("SELECT revision FROM accounts_configrevision"), 2)
                row = await cursor.fetchone()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._failed("PostgreSQL does not answer", error)
                if connection is not None:
                    await connection.close()
                    connection = None
                continue
            if row is None or row[0] != self.current.revision or self.problem is not None:
                await self.refresh()
            else:
                self._confirmed_at = time.monotonic()

    def _failed(self, what: str, error: Exception) -> None:
        """Note a failure, and log it where it is news."""
        problem = f"{what}: {type(error).__name__}"
        if problem != self.problem:
            logger.error("The last good configuration goes on serving.", extra={"problem": problem}, exc_info=error)
        self.problem = problem

    async def _listen(self) -> None:
        while True:
            try:
                client = subscriber_client(self._redis_url)
                async with client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    async for message in subscription.listen():
                        if message["type"] == "message":
                            self._wake.set()
            except (RedisError, OSError):
                # The poll finds every change without the push; a second later the push is tried again.
                await asyncio.sleep(1)
