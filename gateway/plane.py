"""The data plane of one process: its parts, made from the settings, and their start and stop."""

import asyncio
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections, connection

from gateway.circuit import Transition
from gateway.circuit_store import CircuitBoard
from gateway.claim_store import ClaimStore
from gateway.completions import Pipeline, authenticate
from gateway.counter_stores import QuotaCounts, RedisCounts
from gateway.egress import Allowance
from gateway.idempotency import Idempotency
from gateway.ledger import Ledger
from gateway.limits import Admission
from gateway.meter_files import Condition, Publisher
from gateway.meters import METERS
from gateway.metrics_page import MetricsPage
from gateway.records import CircuitChanged
from gateway.relay import Limits, Relay
from gateway.shipper import Shipper
from gateway.snapshot import Snapshot, SnapshotKeeper
from gateway.snapshot_file import STALE_SECONDS, SnapshotFile, SnapshotRefused
from gateway.snapshot_loader import load
from gateway.spool import Spool
from gateway.transport import Transport
from nexus import partitions
from nexus.encryption import Cipher
from nexus.errors import NexusError
from nexus.ids import uuid7_at
from nexus.role_survey import survey

logger = logging.getLogger(__name__)


class DataPlane:
    """Starts with the process (ASGI lifespan), or with the first request where the server has no lifespan."""

    def __init__(self) -> None:
        self.snapshot_file = snapshot_file()
        self.snapshots = SnapshotKeeper(
            self._load, stored=self._stored_snapshot, connection=connection_parameters(), redis_url=settings.REDIS_URL
        )
        self.circuits = CircuitBoard(settings.REDIS_URL, on_transition=self._record_transition)
        self.transport = Transport(
            allowance=Allowance.parse(settings.NEXUS_ALLOW_PRIVATE_PROVIDERS),
            connect_timeout_seconds=settings.NEXUS_CONNECT_TIMEOUT_SECONDS,
        )
        self.spool = Spool(settings.NEXUS_DATA_DIR / "spool")
        limits = Limits(
            idle_seconds=settings.NEXUS_STREAM_IDLE_SECONDS, stream_total_seconds=settings.NEXUS_STREAM_TOTAL_SECONDS
        )
        self.ledger = Ledger(
            RedisCounts(settings.REDIS_URL, self.spool.owner), QuotaCounts(connection_parameters(), self.spool.owner)
        )
        self.idempotency = Idempotency(
            ClaimStore(connection_parameters(), lease_seconds=settings.NEXUS_IDEMPOTENCY_LEASE_SECONDS),
            Cipher(settings.NEXUS_ENCRYPTION_KEYS),
            max_bytes=settings.NEXUS_IDEMPOTENCY_MAX_BYTES,
        )
        relay = Relay(self.transport, self.circuits, limits)
        self.pipeline = Pipeline(self.snapshots, relay, self.spool, Admission(self.ledger), self.idempotency)
        METERS.by_tenant = settings.NEXUS_METRICS_BY_TENANT
        self.publisher = Publisher(settings.NEXUS_DATA_DIR / "meters", METERS, self._condition)
        self.metrics = MetricsPage(
            self.publisher,
            spool_folder=settings.NEXUS_DATA_DIR / "spool",
            snapshot=lambda: self.snapshots.current,
            token=settings.NEXUS_METRICS_TOKEN,
            by_tenant=settings.NEXUS_METRICS_BY_TENANT,
        )
        self._roles: tuple[str, ...] | None = None  # what the database's roles lack; None before the first load
        self._started_at = time.time()
        self._starting: asyncio.Task[None] | None = None
        self._started = False
        self.draining = False

    async def start(self) -> None:
        """Start once, however many ask; who asked may go away meanwhile. Raises OSError without a spool; ask again."""
        if self._started:
            return
        if self._starting is None or (self._starting.done() and self._starting.exception() is not None):
            self._starting = asyncio.create_task(self._start())
        # A client that hangs up cancels the view that waits here, and must not leave half a data plane behind.
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        self.spool.open()
        self.spool.start(asyncio.get_running_loop())
        await self.circuits.start()
        await self.ledger.start()
        await self.snapshots.start()
        self.publisher.start(asyncio.get_running_loop())
        self._started = True

    async def stop(self) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if not self._started:
            return
        self._started = False
        self.publisher.stop()
        await self.idempotency.stop()
        await self.snapshots.stop()
        await self.circuits.stop()
        await self.transport.close()
        # Before the spool is closed: from then on the shipper takes this process for ended.
        await self.ledger.stop()
        self.spool.close()

    @property
    def started(self) -> bool:
        return self._started

    def drain(self) -> None:
        """The process is about to stop: /readyz says so, and what runs goes on."""
        self.draining = True

    def interrupt(self) -> None:
        """The time of grace is over: end what runs, in words."""
        self.pipeline.relay.stop()

    def knows(self, authorization: bytes) -> bool:
        """Whether a request comes from a live key; for a first look, the pipeline decides."""
        try:
            authenticate(self.snapshots.current, authorization)
        except NexusError:
            return False
        return True

    def health(self) -> dict[str, dict[str, Any]]:
        """Return what this process depends on, each with `ok` and `detail`, for /readyz."""
        snapshot = self.snapshots
        ready = snapshot.current.revision >= 0
        return {
            "configuration": {
                "ok": ready,
                "detail": f"revision {snapshot.current.revision}, {snapshot.source or 'from the database'}"
                if ready
                else snapshot.problem,
                "revision": snapshot.current.revision,
            },
            "database": {"ok": snapshot.problem is None, "detail": snapshot.problem or "answers"},
            "snapshot_file": self._snapshot_file_health(),
            "circuits": {
                "ok": self.circuits.backend == "redis",
                "detail": self.circuits.detail,
            },
            "limits": self.ledger.health(),
            "spool": {
                "ok": not self.spool.losing,
                "detail": f"records are lost: {self.spool.losing}" if self.spool.losing else "writes",
                "dropped": self.spool.dropped,
            },
            "roles": {"ok": not self._roles, "detail": self._told_of_roles()},
        }

    def _load(self, current: Snapshot) -> Snapshot:
        """Load the configuration; with the first one, find out what the database's roles lack.

        In a thread, which must not keep its connection: after an outage it would be a dead one.
        """
        try:
            loaded = load(current)
            if self._roles is None:
                self._roles = survey()
                for sentence in self._roles:
                    logger.warning("A wall between tenants is missing.", extra={"what": sentence})
            return loaded
        finally:
            close_old_connections()

    def _told_of_roles(self) -> str:
        if self._roles is None:
            return "not known yet"
        if self._roles:  # to nobody in particular: which roles there are is for the log
            return "the database does not keep tenants apart by itself: see manage.py check --database default"
        return "the database keeps tenants apart"

    def _condition(self) -> Condition:
        METERS.numbers.dropped_records = self.spool.dropped
        return Condition(
            started_at=self._started_at,
            revision=self.snapshots.current.revision,
            revision_age_seconds=self.snapshots.age_seconds,
            breaker_backend=self.circuits.backend,
            limits_shared=self.ledger.health()["ok"],
            in_flight=self.spool.in_flight,
            circuits={str(id_): status.value for id_, status in self.circuits.not_closed().items()},
        )

    def _stored_snapshot(self) -> tuple[Snapshot, float]:
        snapshot, stored = self.snapshot_file.load()
        return snapshot, stored.age_seconds

    def _snapshot_file_health(self) -> dict[str, Any]:
        """Say whether a start without PostgreSQL would serve. Reads one line of the disk."""
        try:
            stored = self.snapshot_file.describe()
        except SnapshotRefused as refused:
            return {"ok": False, "detail": f"a start without PostgreSQL would not serve: {refused}"}
        detail = f"revision {stored.revision}, known to be true {stored.age_seconds:.0f} s ago"
        return {"ok": stored.age_seconds < STALE_SECONDS, "detail": detail, "age_seconds": round(stored.age_seconds, 1)}

    def _record_transition(self, provider_id: UUID, change: Transition) -> None:
        """Put a circuit's transition into the spool, so that it reaches the database as surely as a request does."""
        METERS.count_circuit_change(change.to_status)
        tenant_id = self.snapshots.current.tenant_of(provider_id)
        logger.warning(
            "A circuit changed.",
            extra={
                "provider_id": provider_id,
                "tenant_id": tenant_id,
                "from_state": change.from_status,
                "to_state": change.to_status,
                "reason": change.reason,
            },
        )
        if tenant_id is None:
            return  # the provider was deleted meanwhile: nobody's event
        self.spool.note(
            CircuitChanged(
                id=str(uuid7_at(change.at_ms)),
                tenant=str(tenant_id),
                provider_id=str(provider_id),
                at_ms=change.at_ms,
                from_state=change.from_status,
                to_state=change.to_status,
                reason=change.reason[:200],
            )
        )


def connection_parameters() -> dict[str, Any]:
    """Return psycopg's connection parameters for Django's default database, without Django's own options."""
    parameters = connection.get_connection_params()
    return {
        name: value
        for name, value in parameters.items()
        if name in ("dbname", "user", "password", "host", "port", "sslmode")
    }


def snapshot_file() -> SnapshotFile:
    """Return the file that holds this machine's copy of the configuration."""
    database = settings.DATABASES["default"]
    return SnapshotFile(
        settings.NEXUS_DATA_DIR / "snapshot.jsonl",
        secret=settings.SECRET_KEY,
        database=f"{database.get('HOST') or 'localhost'}:{database.get('PORT') or 5432}/{database['NAME']}",
        max_age_seconds=settings.NEXUS_SNAPSHOT_MAX_AGE_SECONDS,
    )


def shipper_of(folder: Path) -> Shipper:
    """Return the shipper of a spool folder, for the installation's database."""
    return Shipper(
        folder,
        connection_parameters(),
        make_partitions=partial(partitions.ensure_days, "request_log"),
        retention_days=settings.NEXUS_LOG_RETENTION_DAYS,
    )


_plane: DataPlane | None = None


def data_plane() -> DataPlane:
    """Return this process's data plane, made on first use. It belongs to the event loop that starts it."""
    global _plane  # noqa: PLW0603  (one per process, by definition)
    if _plane is None:
        _plane = DataPlane()
    return _plane
