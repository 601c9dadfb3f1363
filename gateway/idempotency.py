"""`Idempotency-Key`: the same request twice is one upstream call, one record, and the same answer.

A request claims its key in PostgreSQL before it goes upstream, renews the lease on it while it runs, and leaves its
answer there before the client can hold all of it. What ended without an answer worth keeping frees the key.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from hashlib import sha256
from typing import Any

from gateway.answer_stream import AnswerStream
from gateway.claim_store import ClaimStore, Found, Place, StoreAway
from gateway.kept_answer import Kept, decode, encode, given_again, is_final, lasting
from gateway.outcome import Outcome
from gateway.recorded_stream import RecordedStream
from gateway.relay import Reply
from gateway.schema import ModelRequest
from gateway.snapshot import Caller
from nexus.encryption import Cipher, SecretUnreadable
from nexus.errors import NexusError

logger = logging.getLogger(__name__)
AT_ONCE_BYTES = 64 * 1024  # what is sealed and opened without a thread
RETRY_SECONDS = 1.0  # while PostgreSQL is away
STOP_SECONDS = 5.0  # for a process that stops while PostgreSQL is away
MOST_WAITING = 256  # answers and releases that wait for PostgreSQL to come back; beyond them leases end by themselves


class IdempotencyInProgress(NexusError):
    code = "IDEMPOTENCY_IN_PROGRESS"
    status = 409


class IdempotencyAnswerGone(NexusError):
    code = "IDEMPOTENCY_ANSWER_GONE"
    status = 409


class IdempotencyKeyReused(NexusError):
    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422


class IdempotencyUnavailable(NexusError):
    code = "IDEMPOTENCY_UNAVAILABLE"
    status = 503


class Idempotency:
    """The keys of one process's requests. A request without one never comes here."""

    def __init__(self, store: ClaimStore, cipher: Cipher, *, max_bytes: int) -> None:
        self.store = store
        self.cipher = cipher
        self.max_bytes = max_bytes
        self.waiting = 0  # for PostgreSQL to come back
        self._tasks: set[asyncio.Task[Any]] = set()

    async def claim(self, key: bytes, caller: Caller, request: ModelRequest, outcome: Outcome) -> "Claim | Reply":
        """Take the key for this request, or return the answer that its twin got.

        Raises IdempotencyInProgress, IdempotencyKeyReused, IdempotencyAnswerGone; IdempotencyUnavailable when
        PostgreSQL is away, since a request that asks for this promise must not run without it.
        """
        place = self._place_of(key, caller, request, outcome)
        claim = Claim(self, place)
        taking = self.soon(self.store.claim(place))
        try:
            found = await asyncio.shield(taking)
        except StoreAway as error:
            claim.give_up()  # a statement that nobody waited for may still be carried out
            raise _unavailable() from error
        except asyncio.CancelledError:
            taking.add_done_callback(lambda _: claim.release_soon())  # the client left; nobody may hold the key
            raise
        if found is None:
            claim.start()
            return claim
        return await self._answer_of(found, place, outcome)

    async def find(self, key: bytes, caller: Caller, request: ModelRequest, outcome: Outcome) -> Reply | None:
        """Return the answer that a key's request got, and take nothing; None where there is none. Raises as `claim`."""
        place = self._place_of(key, caller, request, outcome)
        try:
            found = await self.store.look(place)
        except StoreAway as error:
            raise _unavailable() from error
        if found is None:
            return None
        return await self._answer_of(found, place, outcome)

    def _place_of(self, key: bytes, caller: Caller, request: ModelRequest, outcome: Outcome) -> Place:
        if not self.cipher.usable:
            raise IdempotencyUnavailable(
                "Idempotency keys need NEXUS_ENCRYPTION_KEYS, which this installation lacks.",
                headers={"x-should-retry": "false"},
            )
        return Place(
            id=outcome.id,
            tenant=caller.tenant_id,
            key_id=caller.key_id,
            key_hash=sha256(key).hexdigest(),
            fingerprint=sha256(b"POST /v1/%b\n%b" % (request.endpoint.encode(), request.body)).hexdigest(),
        )

    async def _answer_of(self, found: Found, place: Place, outcome: Outcome) -> Reply:
        if found.fingerprint != place.fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another request. Take a new key for every new request.",
                param="Idempotency-Key",
                headers={"x-should-retry": "false"},
            )
        if found.status is None:
            raise IdempotencyInProgress(
                "The first request with this Idempotency-Key is still running. Ask again for its answer.",
                param="Idempotency-Key",
                headers={"retry-after": "1"},
                first_request_id=str(found.id),
            )
        if found.sealed is None:
            raise _gone(found, f"its answer, with status {found.status}, was too large to be kept")
        context = context_of(place, str(found.id))
        try:
            plain = await self.off_loop(self.cipher.open_bytes, found.sealed, context=context)
        except SecretUnreadable as error:
            logger.warning("An answer kept for an idempotency key cannot be read.", extra={"request_id": str(found.id)})
            raise _gone(found, "its answer cannot be read with today's encryption keys") from error
        outcome.replayed()
        return given_again(decode(plain), outcome.shares.head() if outcome.shares is not None else b"")

    async def off_loop(self, work: Any, content: bytes, *, context: str) -> bytes:
        """Seal or open, in a thread where it takes long."""
        if len(content) <= AT_ONCE_BYTES:
            result: bytes = work(content, context=context)
            return result
        return await asyncio.to_thread(work, content, context=context)

    def soon[Value](self, work: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
        """Do something that goes on when its request is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def stop(self) -> None:
        """Finish what is under way, then let go of the database."""
        await asyncio.sleep(0)  # releases that were asked for a moment ago
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
        await self.store.close()


class Claim:
    """The key of one running request. It ends with `settle` or `release_soon`."""

    def __init__(self, idempotency: Idempotency, place: Place) -> None:
        self._all = idempotency
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._renewal: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Hold the lease from now on."""
        self._renewal = self._loop.create_task(self._renew())

    async def settle(self, reply: Reply) -> Reply:
        """Return the answer for the client. It is kept, or its key freed, before the client holds all of it."""
        stream, outcome = reply.stream, reply.outcome
        if isinstance(stream, AnswerStream):
            head, status = lasting(reply.head), reply.status

            async def ended(body: bytes | None) -> None:
                await asyncio.shield(
                    self._all.soon(self._end(Kept(status, head, body, True) if body is not None else None))
                )

            reply.stream = RecordedStream(stream, max_bytes=self._all.max_bytes, ended=ended, left=self.release_soon)
            return reply
        final = outcome is not None and outcome.announced and is_final(reply.status)
        kept = Kept(reply.status, lasting(reply.head), reply.body, False) if final else None
        try:
            await asyncio.shield(self._all.soon(self._end(kept)))
        except asyncio.CancelledError:
            reply.abandon()
            raise
        return reply

    def release_soon(self) -> None:
        """The request came to nothing: let the next one with its key run. May be called from another thread."""
        self._loop.call_soon_threadsafe(self._release)

    def give_up(self) -> None:
        """It is not known whether the key was taken: free it when PostgreSQL is back."""
        self._later(None, None)

    def _release(self) -> None:
        self._all.soon(self._end(None))

    async def _end(self, kept: Kept | None) -> None:
        """Keep the answer, or free the key. While PostgreSQL is away, go on trying for as long as the lease holds."""
        if self._renewal is not None:
            self._renewal.cancel()
        sealed = await self._sealed(kept) if kept is not None else None
        try:
            await self._write(kept, sealed)
        except StoreAway:
            self._later(kept, sealed)

    async def _sealed(self, kept: Kept) -> bytes | None:
        if not kept.body or len(kept.body) > self._all.max_bytes:
            return None
        context = context_of(self._place, self._place.id)
        return await self._all.off_loop(self._all.cipher.seal_bytes, encode(kept), context=context)

    async def _write(self, kept: Kept | None, sealed: bytes | None) -> None:
        if kept is None:
            await self._all.store.release(self._place)
        elif not await self._all.store.keep(self._place, kept.status, sealed):
            logger.error("An idempotency key was lost while it was held.", extra={"request_id": self._place.id})

    def _later(self, kept: Kept | None, sealed: bytes | None) -> None:
        if self._all.waiting >= MOST_WAITING:
            logger.error("Too many answers wait to be kept.", extra={"request_id": self._place.id})
            return
        if kept is not None:
            logger.warning("An answer waits to be kept.", extra={"request_id": self._place.id})
        self._all.waiting += 1
        self._all.soon(self._write_later(kept, sealed))

    async def _write_later(self, kept: Kept | None, sealed: bytes | None) -> None:
        try:
            for _ in range(self._all.store.lease_seconds):
                await asyncio.sleep(RETRY_SECONDS)
                with suppress(StoreAway):
                    await self._write(kept, sealed)
                    return
        finally:
            self._all.waiting -= 1
        if kept is not None:
            logger.error("An answer could not be kept for its idempotency key.", extra={"request_id": self._place.id})

    async def _renew(self) -> None:
        pause = self._all.store.lease_seconds / 3
        while True:
            await asyncio.sleep(pause)
            try:
                held = await self._all.store.renew(self._place)
            except StoreAway:
                pause = RETRY_SECONDS  # so that it is renewed before somebody takes it for a dead process's
                continue
            if not held:
                logger.error("An idempotency key was lost while it was held.", extra={"request_id": self._place.id})
                return
            pause = self._all.store.lease_seconds / 3


def context_of(place: Place, request_id: str) -> str:
    """Return what an answer is bound to: tenant, API key, idempotency key, request body, and the request's id."""
    return f"idempotency:{place.tenant}:{place.key_id}:{place.key_hash}:{place.fingerprint}:{request_id}"


def _unavailable() -> IdempotencyUnavailable:
    return IdempotencyUnavailable(
        "The store of idempotency keys does not answer. Nothing was sent to a provider. Try again.",
        headers={"retry-after": "1"},
    )


def _gone(found: Found, why: str) -> IdempotencyAnswerGone:
    return IdempotencyAnswerGone(
        f"The first request with this Idempotency-Key was done, but {why}. It is not done again.",
        param="Idempotency-Key",
        headers={"x-should-retry": "false"},
        first_request_id=str(found.id),
    )
