"""Try candidates until one answers: circuit, call, failover, the commit at the first content.

A stream is committed when its first content has arrived. Until then any failure leads to the next candidate and the
client has seen nothing; from then on it hears this provider or an error, never a second provider's text after a
first's.
"""

import asyncio
import time
from dataclasses import dataclass, field
from random import Random

import msgspec

from gateway.answer_stream import AnswerStream
from gateway.circuit import Result
from gateway.circuit_store import CircuitBoard, Permit, Refusal
from gateway.failures import ModelNotFound, UpstreamRejected, for_client, without_secrets
from gateway.origin import encode_head
from gateway.outcome import CLIENT_GONE, Attempt, Outcome
from gateway.providers.base import Completion, Failure, FailureKind
from gateway.routing import in_order
from gateway.schema import ModelRequest
from gateway.snapshot import Caller, Route
from gateway.transport import Response, Transport
from gateway.transport_errors import BadResponse, ConnectTimedOut, ReadTimedOut, TransportError
from nexus.errors import NexusError

REPEATS = 2  # times the last candidate is asked again when no other is left
LONGEST_PAUSE_SECONDS = 5.0  # a retry-after beyond this is not waited for
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
_JSON = (b"content-type", b"application/json")
_SSE = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(slots=True)
class Reply:
    """The answer for the client: whole, or a stream to be read to its end or closed."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    stream: AnswerStream | None = None
    outcome: Outcome | None = None

    def abandon(self) -> None:
        """The door is done: whatever has not been sent by now will not be. Harmless after a whole answer."""
        if self.stream is not None:
            self.stream.close()
        elif self.outcome is not None:
            self.outcome.close(CLIENT_GONE, error_class="client_gone", retryable=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that hold for every tenant of this installation."""

    idle_seconds: float
    stream_total_seconds: float


@dataclass(slots=True)
class Relay:
    """What one process needs to call providers."""

    transport: Transport
    circuits: CircuitBoard
    limits: Limits
    random: Random = field(default_factory=Random)

    async def answer(self, caller: Caller, request: ModelRequest, outcome: Outcome) -> Reply:
        """Return the first candidate's answer that is one. Raises NexusError when there is none."""
        routes = caller.tenant.routes.get(request.model)
        if not routes:
            raise ModelNotFound(
                f"No enabled provider of your tenant serves the model `{request.model}`. "
                "GET /v1/models lists those that are served.",
                param="model",
            )
        return await _Journey(self, caller, request, outcome).run(
            in_order(routes, weighted=caller.tenant.weighted, random=self.random)
        )


class _Journey:
    """One request on its way through the candidates."""

    __slots__ = ("calls_left", "circuits", "deadline", "loop", "outcome", "relay", "reopens_in", "request")

    def __init__(self, relay: Relay, caller: Caller, request: ModelRequest, outcome: Outcome) -> None:
        self.relay = relay
        self.circuits = relay.circuits
        self.request = request
        self.outcome = outcome
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + caller.tenant.deadline_seconds
        self.calls_left = caller.tenant.max_attempts
        self.reopens_in: float | None = None

    async def run(self, candidates: list[Route]) -> Reply:
        last: tuple[Route, Failure] | None = None
        for route in candidates:
            if self.calls_left <= 0 or self.loop.time() >= self.deadline:
                break
            result = await self._try(route)
            if isinstance(result, Reply):
                return result
            if result is not None:
                last = (route, result)
        if last is not None:
            again = await self._again(*last)
            if again is not None:
                return again
        raise for_client(self.outcome.attempts, reopens_in=self.reopens_in)

    async def _again(self, route: Route, failure: Failure) -> Reply | None:
        """No other candidate is left: ask the last one again, after a pause that honours its retry-after."""
        for repeat in range(REPEATS):
            pause = failure.retry_after_seconds
            if pause is None:
                pause = self.relay.random.uniform(0, min(1.0, 0.1 * 2**repeat))  # full jitter
            out_of_time = pause > LONGEST_PAUSE_SECONDS or self.loop.time() + pause >= self.deadline
            if out_of_time or not failure.may_repeat or self.calls_left <= 0:
                return None
            await asyncio.sleep(pause)
            result = await self._try(route)
            if result is None or isinstance(result, Reply):
                return result
            failure = result
        return None

    async def _try(self, route: Route) -> Reply | Failure | None:
        """Return the answer, the failure, or None where the circuit let no request through."""
        circuits, provider_id = self.circuits, route.provider_id
        permit: Permit | Refusal | None = circuits.closed_permit(provider_id)
        if permit is None:
            permit = await circuits.acquire(provider_id, lease_seconds=route.timeout_seconds + 10)
        if isinstance(permit, Refusal):
            self._skip(route, permit)
            return None
        self.calls_left -= 1
        result = await self._call(route, permit)
        if isinstance(result, Reply):
            return result
        self._note(route, result.fate, result)
        blame = Result.FAILURE if result.counts_for_breaker else Result.NEUTRAL
        if circuits.needs_report(provider_id, permit, blame):
            await circuits.report(provider_id, permit, blame, result.fate)
        if result.kind is FailureKind.REQUEST:
            raise UpstreamRejected(result, without_secrets(result.message, route))
        return result

    async def _call(self, route: Route, permit: Permit) -> Reply | Failure:
        outcome = self.outcome
        outcome.route, outcome.latency_ms, outcome.attempt_started = route, None, time.perf_counter()
        outcome.announce()
        upstream = route.adapter.build_request(self.request, route.target)
        head = encode_head(b"POST", upstream.path.encode(), route.origin, upstream.headers, len(upstream.body))
        first_by = min(self.loop.time() + route.timeout_seconds, self.deadline)
        response: Response | None = None
        sent = time.perf_counter()
        try:
            response = await self.relay.transport.send(route.origin, head, upstream.body, first_byte_by=first_by)
            outcome.latency_ms = round((time.perf_counter() - sent) * 1000)
            result = await self._receive(route, permit, response, first_by)
        except TransportError as error:
            result = self._failure_of(error, first_by)
        except BaseException:
            # The client left, or the process is stopping: the upstream call ends with us and decides nothing.
            outcome.upstream_seconds += time.perf_counter() - sent
            self._note(route, "client_gone", None)
            if response is not None:
                response.close()
            if permit.is_probe:
                self.circuits.report_soon(route.provider_id, permit, Result.NEUTRAL, "client gone")
            raise
        if response is not None and not (isinstance(result, Reply) and result.stream):
            response.close()
        return result

    async def _receive(self, route: Route, permit: Permit, response: Response, first_by: float) -> Reply | Failure:
        if response.status != 200:
            body = await response.read(limit=MAX_ERROR_BYTES, by=first_by)
            self.outcome.upstream_seconds += time.perf_counter() - self.outcome.attempt_started
            return route.adapter.parse_error(response.status, response.headers, body)
        if self.request.stream:
            return await self._commit(route, permit, response, first_by)
        body = await self._body(response, first_by)
        self.outcome.upstream_seconds += time.perf_counter() - self.outcome.attempt_started
        answer = route.adapter.parse_response(self.request, body)
        if isinstance(answer, Failure):
            return answer
        return await self._whole(route, permit, answer)

    async def _body(self, response: Response, first_by: float) -> bytes:
        """Return the whole body: its first bytes by the provider's time, the rest by the time a stream may be idle."""
        body = await response.chunk(by=first_by)
        if response.ended and len(body) <= MAX_ANSWER_BYTES:
            return body
        idle_by = self.loop.time() + self.relay.limits.idle_seconds
        return body + await response.read(limit=MAX_ANSWER_BYTES, by=min(idle_by, self.deadline))

    async def _whole(self, route: Route, permit: Permit, answer: Completion) -> Reply:
        outcome = self.outcome
        outcome.first_content_ms = outcome.elapsed_ms()
        outcome.settle(answer.usage)
        self._note(route, "200", None)
        if self.circuits.needs_report(route.provider_id, permit, Result.SUCCESS):
            await self.circuits.report(route.provider_id, permit, Result.SUCCESS, "200")
        headers = [_JSON, *outcome.headers(), (b"content-length", b"%d" % len(answer.body))]
        if outcome.cost is not None:
            headers.append((b"x-nexus-cost-usd", format(outcome.cost, "f").encode()))
        return Reply(200, headers, answer.body, outcome=outcome)

    async def _commit(self, route: Route, permit: Permit, response: Response, first_by: float) -> Reply | Failure:
        """Read until the first content; until then nothing has reached the client."""
        decoder = route.adapter.stream_decoder(self.request)
        block = b""
        while not decoder.committed:
            data = await response.chunk(by=first_by)
            block = decoder.feed(data) if data else b""
            if not data or (decoder.failure is not None and not decoder.committed):
                self.outcome.upstream_seconds += time.perf_counter() - self.outcome.attempt_started
                return decoder.failure or decoder.end() or Failure(FailureKind.TRUNCATED, "The stream was empty.")
        outcome = self.outcome
        outcome.upstream_seconds += time.perf_counter() - outcome.attempt_started
        outcome.first_content_ms = outcome.elapsed_ms()
        self._note(route, "200", None)
        if permit.is_probe:
            # A probe is judged at its first content, so that its slot is not held for the length of an answer.
            await self.circuits.report(route.provider_id, permit, Result.SUCCESS, "first content")
        stream = AnswerStream(
            self.circuits,
            route,
            permit,
            response=response,
            decoder=decoder,
            outcome=outcome,
            first_block=block,
            idle_seconds=self.relay.limits.idle_seconds,
            ends_by=self.loop.time() + self.relay.limits.stream_total_seconds,
        )
        return Reply(200, [*_SSE, *outcome.headers()], stream=stream, outcome=outcome)

    def _failure_of(self, error: TransportError, first_by: float) -> Failure:
        self.outcome.upstream_seconds += time.perf_counter() - self.outcome.attempt_started
        if isinstance(error, ReadTimedOut | ConnectTimedOut):
            ours = isinstance(error, ReadTimedOut) and first_by >= self.deadline
            kind = FailureKind.DEADLINE if ours else FailureKind.TIMEOUT
            return Failure(kind, "The provider did not answer in time.", word="timeout")
        kind = FailureKind.PROTOCOL if isinstance(error, BadResponse) else FailureKind.CONNECTION
        return Failure(kind, str(error), word=error.error_class)

    def _skip(self, route: Route, refusal: Refusal) -> None:
        if refusal.retry_after_seconds is not None:
            wait = refusal.retry_after_seconds
            self.reopens_in = wait if self.reopens_in is None else min(self.reopens_in, wait)
        self.outcome.attempts.append(Attempt(route.family, route.provider_id, "circuit_open", 0, skipped=True))

    def _note(self, route: Route, fate: str, failure: Failure | None) -> None:
        milliseconds = round((time.perf_counter() - self.outcome.attempt_started) * 1000)
        self.outcome.attempts.append(Attempt(route.family, route.provider_id, fate, milliseconds, failure))


def error_reply(error: NexusError, outcome: Outcome) -> Reply:
    """Return the answer that tells an error in OpenAI's shape, and close the record."""
    body = msgspec.json.encode(error.body(str(outcome.id)))
    headers = [_JSON, *outcome.headers(), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    return Reply(error.status, headers, body, outcome=outcome)
