"""Idempotency claims in PostgreSQL: who runs a request, and what was answered. One statement each, no transaction.

The data plane's own few connections, opened with the first request that carries an idempotency key. All times are the
database's, the one clock that every process shares.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

ANSWER_SECONDS = 2.0  # for a statement, the wait for a connection included
CONNECTIONS = 4
_TURNS = 3  # a claim that was freed between two looks is tried for again

_CLAIM = """
INSERT INTO gateway_idempotencyclaim AS held
    (id, tenant_id, key_id, key_hash, fingerprint, claimed_at, leased_until, expires_at)
VALUES (%(id)s, %(tenant)s, %(key_id)s, %(key_hash)s, %(fingerprint)s,
        now(), now() + %(lease)s * interval '1 second', now() + interval '24 hours')
ON CONFLICT (tenant_id, key_id, key_hash) DO UPDATE SET
    id = EXCLUDED.id, fingerprint = EXCLUDED.fingerprint, claimed_at = EXCLUDED.claimed_at,
    leased_until = EXCLUDED.leased_until, expires_at = EXCLUDED.expires_at, status = NULL, answer_sealed = NULL
WHERE held.id = EXCLUDED.id OR held.expires_at <= now()
   OR (held.status IS NULL AND held.leased_until <= now() AND held.fingerprint = EXCLUDED.fingerprint)
RETURNING id
"""
_LOOK = """
SELECT id, fingerprint, status, answer_sealed FROM gateway_idempotencyclaim
WHERE tenant_id = %(tenant)s AND key_id = %(key_id)s AND key_hash = %(key_hash)s AND expires_at > now()
"""
_MINE = "WHERE id = %(id)s AND tenant_id = %(tenant)s"
_UNANSWERED = f"{_MINE} AND status IS NULL RETURNING id"
_RENEW = f"UPDATE gateway_idempotencyclaim SET leased_until = now() + %(lease)s * interval '1 second' {_UNANSWERED}"  # noqa: S608
_KEEP = f"""
UPDATE gateway_idempotencyclaim
SET status = %(status)s, answer_sealed = %(sealed)s, expires_at = now() + interval '24 hours' {_MINE} RETURNING id
"""  # noqa: S608
_RELEASE = f"DELETE FROM gateway_idempotencyclaim {_UNANSWERED}"  # noqa: S608


class StoreAway(Exception):
    """PostgreSQL does not answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a claim lies: the idempotency key of an API key, and the request that runs under it."""

    id: str  # the request's
    tenant: str
    key_id: str
    key_hash: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Found:
    """A claim that another request holds or held."""

    id: UUID
    fingerprint: str
    status: int | None
    sealed: bytes | None


class ClaimStore:
    """Every method raises StoreAway when PostgreSQL does not answer in time."""

    def __init__(self, parameters: Mapping[str, Any], *, lease_seconds: int) -> None:
        self.lease_seconds = lease_seconds
        self._parameters = dict(parameters)
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()

    async def claim(self, place: Place) -> Found | None:
        """Take a key; return None when it is taken, and else who has it."""
        values = self._values(place)
        for _ in range(_TURNS):
            if await self._one(_CLAIM, values) is not None:
                return None
            found = await self.look(place)
            if found is not None:
                return found
        raise StoreAway("A claim came and went at every look.")

    async def look(self, place: Place) -> Found | None:
        """Return who has a key, or had it; None for one that is new."""
        row = await self._one(_LOOK, self._values(place))
        if row is None:
            return None
        return Found(row[0], row[1], row[2], bytes(row[3]) if row[3] is not None else None)

    async def renew(self, place: Place) -> bool:
        """Lengthen the lease; False when the claim is not this request's any more."""
        return await self._one(_RENEW, self._values(place)) is not None

    async def keep(self, place: Place, status: int, sealed: bytes | None) -> bool:
        """Keep the answer for a day; False when the claim is not this request's any more."""
        return await self._one(_KEEP, {**self._values(place), "status": status, "sealed": sealed}) is not None

    async def release(self, place: Place) -> None:
        """Forget the claim: the next request with the key runs."""
        await self._one(_RELEASE, self._values(place))

    async def close(self) -> None:
        for connection in self._idle:
            await connection.close()
        self._idle.clear()

    def _values(self, place: Place) -> dict[str, Any]:
        return {
            "id": place.id,
            "tenant": place.tenant,
            "key_id": place.key_id,
            "key_hash": place.key_hash,
            "fingerprint": place.fingerprint,
            "lease": self.lease_seconds,
        }

    async def _one(self, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return the first row. The statement is a task of its own: psycopg does not let go of a stalled server."""
        running = asyncio.get_running_loop().create_task(self._execute(statement, values))
        self._running.add(running)
        running.add_done_callback(self._over)
        await asyncio.wait((running,), timeout=ANSWER_SECONDS)
        if not running.done():
            running.cancel()
            raise StoreAway("PostgreSQL does not answer in time.")
        try:
            return running.result()
        except (psycopg.Error, OSError, asyncio.CancelledError) as error:
            raise StoreAway(f"PostgreSQL does not answer: {type(error).__name__}.") from error

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # it was told, or nobody waits for it any more

    async def _execute(self, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        async with self._slots:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return await self._on(connection, statement, values)
                except psycopg.OperationalError:
                    continue  # it broke while it was idle; every statement here may be made twice
            return await self._on(await self._connect(), statement, values)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        timeout = max(2, int(ANSWER_SECONDS))
        return await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True, connect_timeout=timeout)

    async def _on(
        self, connection: psycopg.AsyncConnection[Any], statement: str, values: Mapping[str, Any]
    ) -> tuple[Any, ...] | None:
        try:
            cursor = await connection.execute(statement, values, binary=True)
            row: tuple[Any, ...] | None = await cursor.fetchone()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return row
