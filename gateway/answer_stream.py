"""A committed stream on its way to the client: every event at once, and the truth about how it ended."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway import sse
from gateway.circuit import Result
from gateway.circuit_store import CircuitBoard, Permit
from gateway.dialects.registry import DIALECTS
from gateway.failures import StreamInterrupted
from gateway.outcome import CLIENT_GONE, Outcome
from gateway.providers.base import Failure, FailureKind, StreamDecoder
from gateway.snapshot import Route
from gateway.transport import Response
from gateway.transport_errors import ReadTimedOut, ServiceStops, TransportError

DRAIN_SECONDS = 1.0  # how long the rest of a finished body may take for its connection to be kept


class ByteStream(Protocol):
    """What a door reads: with `next()` until it returns b"", or with `pump()`; in either case it may `close()` it."""

    async def next(self) -> bytes: ...
    async def pump(self, write: Callable[[bytes], None]) -> bytes: ...
    def hold(self) -> None: ...
    def go_on(self) -> None: ...
    def close(self) -> None: ...


class AnswerStream:
    """Reads the upstream event by event. Read it with `next()` until it returns b"", or `close()` it."""

    __slots__ = (
        "_among", "_block", "_circuits", "_decoder", "_ends_by", "_idle", "_loop", "_outcome", "_over", "_permit",
        "_response", "_route", "_stopping", "whole",
    )  # fmt: skip

    def __init__(
        self,
        circuits: CircuitBoard,
        route: Route,
        permit: Permit,
        *,
        among: set["AnswerStream"],
        response: Response,
        decoder: StreamDecoder,
        outcome: Outcome,
        first_block: bytes,
        idle_seconds: float,
        ends_by: float,
    ) -> None:
        self._circuits = circuits
        self._route = route
        self._permit = permit
        self._response = response
        self._decoder = decoder
        self._outcome = outcome
        self._block = first_block
        self._idle = idle_seconds
        self._ends_by = ends_by
        self._over = False
        self._stopping = False
        self._among = among  # the streams that run
        among.add(self)
        self.whole = False  # it ended, and with its family's end marker
        self._loop = asyncio.get_running_loop()

    async def next(self) -> bytes:
        """Return the next bytes for the client; b"" after the last.

        The record is written before the last bytes are handed out: once a client holds a whole answer, it is logged.
        """
        if self._over:
            return b""
        block, self._block = self._block, b""
        while not block:
            try:
                data = await self._response.chunk(by=min(self._loop.time() + self._idle, self._ends_by))
            except TransportError as error:
                return await self._interrupted(_failure_of(error))
            block = self._decoder.feed(data) if data else b""
            if not data or self._decoder.failure is not None:
                return block + await self._interrupted(self._decoder.failure or self._decoder.end())
        if self._decoder.failure is not None:
            return block + await self._interrupted(self._decoder.failure)
        if self._decoder.finished:
            await self._finished()
        return block

    async def pump(self, write: Callable[[bytes], None]) -> bytes:
        """Hand every block to `write` the moment it comes; return the last bytes, which are for the caller to write.

        What `next()` gives piece by piece, for whoever can take it within a callback.
        """
        if self._over:
            return b""
        block, self._block = self._block, b""
        decoder = self._decoder
        if not decoder.finished and decoder.failure is None:
            write(block)
            block = b""

            def pass_on(data: bytes) -> bool:
                nonlocal block
                block = decoder.feed(data)
                if decoder.finished or decoder.failure is not None:
                    return True
                if block:
                    write(block)
                    block = b""
                return False

            try:
                await self._response.pipe(pass_on, idle_seconds=self._idle, by=self._ends_by)
            except TransportError as error:
                return await self._interrupted(_failure_of(error))
        if not decoder.finished:
            return block + await self._interrupted(decoder.failure or decoder.end())
        await self._finished()
        return block

    @property
    def over(self) -> bool:
        """Whether the bytes handed out last are the last."""
        return self._over

    def hold(self) -> None:
        """The client does not keep up: let the provider wait."""
        self._response.hold()

    def go_on(self) -> None:
        self._response.go_on()

    def interrupt(self) -> None:
        """The process must end: the stream is broken off as one whose provider fails, but for the blame."""
        self._stopping = True
        self._response.fail(ServiceStops("The gateway is stopping."))

    def close(self) -> None:
        """The client has gone: cancel the upstream call and record what was seen so far."""
        if self._over:
            return
        self._end()
        self._response.close()
        self._settle()
        self._outcome.close(CLIENT_GONE, error_class="client_gone", retryable=False)

    def _end(self) -> None:
        self._over = True
        self._among.discard(self)

    async def _finished(self) -> None:
        self._end()
        self.whole = True
        self._response.release_when_done(DRAIN_SECONDS)
        self._settle()
        self._outcome.close(200)
        await self._report(Result.SUCCESS, "200")

    async def _interrupted(self, failure: Failure | None) -> bytes:
        """End the stream with one error event: no finish reason, no end marker."""
        failure = failure or Failure(FailureKind.TRUNCATED, "The provider's stream ended without its end marker.")
        self._end()
        self._response.close()
        error = StreamInterrupted(
            f"{'The gateway is stopping' if self._stopping else 'The provider broke off'}; "
            "what came before is not whole. Send the request again.",
            provider=self._route.family,
            reason=failure.fate,
        )
        self._settle()
        self._outcome.close(error.status, error=error, error_class=failure.word or failure.kind.value, retryable=True)
        await self._report(Result.NEUTRAL if self._stopping else Result.FAILURE, f"stream {failure.fate}")
        body = error.body(self._outcome.id)
        request = self._outcome.request
        dialect = DIALECTS.get(request.endpoint) if request is not None else None
        return sse.encode(msgspec.json.encode(body)) if dialect is None else dialect.error_event(body)

    def _settle(self) -> None:
        self._outcome.content_bytes = self._decoder.content_bytes
        self._outcome.settle(self._decoder.usage)

    async def _report(self, result: Result, reason: str) -> None:
        if self._circuits.needs_report(self._route.provider_id, self._permit, result):
            await self._circuits.report(self._route.provider_id, self._permit, result, reason)


def _failure_of(error: TransportError) -> Failure:
    kind = FailureKind.TIMEOUT if isinstance(error, ReadTimedOut) else FailureKind.CONNECTION
    return Failure(kind, str(error), word=error.error_class)
