"""Try candidates until one answers: circuit, call, failover, the commit at the first content.

A stream is committed when its first content has arrived. Until then any failure leads to the next candidate and the
client has seen nothing; from then on it hears this provider or an error, never a second provider's text after a
first's.
"""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from gateway.answer_stream import AnswerStream, ByteStream
from gateway.circuit import Result
from gateway.circuit_store import CircuitBoard, Permit, Refusal
from gateway.failures import ModelNotFound, UpstreamRejected, for_client, without_secrets
from gateway.origin import encode_head
from gateway.outcome import CLIENT_GONE, Outcome
from gateway.providers.base import Completion, Failure, FailureKind, Unsupported
from gateway.records import Decision
from gateway.routing import Walk, draws_for, in_order
from gateway.schema import ModelRequest
from gateway.snapshot import Caller, ModelRoutes, Route
from gateway.transport import Response, Transport
from gateway.transport_errors import BadResponse, ConnectTimedOut, ReadTimedOut, TransportError
from nexus.errors import InvalidRequest, NexusError

LONGEST_PAUSE_SECONDS = 5.0  # a retry-after beyond this is not waited for
REPEAT_SHARE = 0.2  # for each request that asks a provider for the first time so many may ask again, or three in all:
REPEATS_AT_LEAST = 3  # a provider in trouble is not helped by everybody's second and third try
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
_SSE = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache, no-transform\r\n"
    b"x-accel-buffering: no\r\n"
)


@dataclass(slots=True)
class Reply:
    """The answer for the client: whole, or a stream to be read to its end or closed.

    `head` holds the headers as they go over the wire, each line with its line end, but for those that frame the body.
    """

    status: int
    head: bytes
    body: bytes = b""
    stream: ByteStream | None = None
    outcome: Outcome | None = None

    def abandon(self) -> None:
        """The door is done: whatever has not been sent by now will not be. Harmless after a whole answer."""
        if self.stream is not None:
            self.stream.close()
        elif self.outcome is not None and not self.outcome.closed:
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
    under_way: set[asyncio.Task[Any]] = field(default_factory=set)  # requests, until their answer begins
    streams: set[AnswerStream] = field(default_factory=set)
    stopping: bool = False  # the process must end now
    repeating: int = 0  # those of them that ask a provider again

    def answer(self, caller: Caller, request: ModelRequest, outcome: Outcome) -> Awaitable[Reply]:
        """Return the first candidate's answer that is one, to be awaited. Raises NexusError when there is none."""
        return _Journey(self, caller, request, outcome, routes_of(caller, request.model)).run()

    def may_repeat(self) -> bool:
        """Whether one more request may ask a provider again now."""
        first_tries = len(self.under_way) - self.repeating
        return self.repeating < max(REPEATS_AT_LEAST, int(REPEAT_SHARE * first_tries))

    def stop(self) -> None:
        """End what runs: requests are answered with an error, streams end with an error event."""
        self.stopping = True
        for stream in list(self.streams):
            stream.interrupt()
        for task in list(self.under_way):
            task.cancel()


def routes_of(caller: Caller, model: str) -> ModelRoutes:
    """Return who serves a model. Raises ModelNotFound."""
    routes = caller.tenant.routes.get(model)
    if routes is None:
        raise ModelNotFound(
            f"No enabled provider of your tenant serves the model `{model}`. "
            "GET /v1/models lists those that are served.",
            param="model",
        )
    return routes


class _Journey:
    """One request on its way through the candidates."""

    __slots__ = (
        "circuits", "deadline", "draws", "loop", "outcome", "over", "relay", "reopens_in", "request", "routes", "walk",
    )  # fmt: skip

    def __init__(
        self, relay: Relay, caller: Caller, request: ModelRequest, outcome: Outcome, routes: ModelRoutes
    ) -> None:
        tenant = caller.tenant
        self.relay = relay
        self.circuits = relay.circuits
        self.request = request
        self.outcome = outcome
        self.routes = routes
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + tenant.deadline_seconds
        self.reopens_in: float | None = None
        self.over = False
        order: Sequence[Route] = routes.candidates
        self.draws: list[float] = []
        if len(order) > 1:
            self.draws = draws_for(order, weighted=tenant.weighted, random=relay.random)
            order = in_order(order, weighted=tenant.weighted, draws=self.draws)
        self.walk = Walk(order, calls=tenant.max_attempts)
        # How it was routed, if it ends with an answer; any other end says so.
        outcome.decision = Decision(routes.plan, self.draws) if self.draws else routes.decision

    async def run(self) -> Reply:
        walk, under_way = self.walk, self.relay.under_way
        failure: Failure | None = None
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            while (route := walk.next()) is not None and self.loop.time() < self.deadline:
                if walk.repeating:
                    result = await self._again(route, failure)
                else:
                    result = await self._try(route)
                if isinstance(result, Reply):
                    return result
                if result is None:
                    continue
                failure = result
                if failure.kind is FailureKind.REQUEST:
                    self._ended("rejected")
                    told = without_secrets(failure, api_key=route.target.api_key, host=route.origin.host)
                    raise UpstreamRejected(told)
        finally:
            under_way.discard(task)
        self._ended("exhausted" if self.loop.time() < self.deadline else "deadline")
        raise for_client(self.outcome.attempts, self.outcome.failures, reopens_in=self.reopens_in)

    def _ended(self, how: str) -> None:
        """Record that no answer ended this way; the first word stands."""
        if not self.over:
            self.over = True
            self.outcome.decision = Decision(self.routes.plan, self.draws, how)

    async def _again(self, route: Route, failure: Failure | None) -> Reply | Failure | None:
        """Ask the last candidate again, after a pause that honours its retry-after; None if that is not to be."""
        assert failure is not None
        pause = failure.retry_after_seconds
        if pause is None:
            pause = self.relay.random.uniform(0, min(1.0, 0.1 * 2 ** (len(self.outcome.attempts) - 1)))  # full jitter
        if pause > LONGEST_PAUSE_SECONDS or self.loop.time() + pause >= self.deadline:
            self._ended("deadline")
            self.walk.give_up()
            return None
        if not self.relay.may_repeat():
            self._ended("budget")
            self.walk.give_up()
            return None
        self.relay.repeating += 1
        try:
            await asyncio.sleep(pause)
            return await self._try(route)
        finally:
            self.relay.repeating -= 1

    async def _try(self, route: Route) -> Reply | Failure | None:
        """Return the answer, the failure, or None where the circuit let no request through."""
        circuits, provider_id = self.circuits, route.provider_id
        permit: Permit | Refusal | None = circuits.closed_permit(provider_id)
        if permit is None:
            permit = await circuits.acquire(provider_id, lease_seconds=route.timeout_seconds + 10)
        if isinstance(permit, Refusal):
            self._skip(route, permit)
            return None
        result = await self._call(route, permit)
        if isinstance(result, Reply):
            return result
        self.walk.failed(route, may_repeat=result.may_repeat)
        self._note(route, permit, result.fate, result)
        blame = Result.FAILURE if result.counts_for_breaker else Result.NEUTRAL
        if circuits.needs_report(provider_id, permit, blame):
            await circuits.report(provider_id, permit, blame, result.fate)
        return result

    async def _call(self, route: Route, permit: Permit) -> Reply | Failure:
        outcome = self.outcome
        outcome.route, outcome.latency_ms, outcome.attempt_started = route, None, time.perf_counter()
        outcome.announce()
        try:
            upstream = route.adapter.build_request(self.request, route.target)
        except InvalidRequest as refusal:
            kind = FailureKind.UNSUPPORTED if isinstance(refusal, Unsupported) else FailureKind.REQUEST
            return Failure(kind, refusal.message, param=refusal.param)
        outcome.dropped = upstream.dropped
        if route.adapter.sign is not None:
            upstream = route.adapter.sign(upstream, route.target, host=route.origin.host_header, now=time.time())
        head = encode_head(b"POST", upstream.path, route.origin, upstream.headers, len(upstream.body))
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
            fate = "service_stopping" if self.relay.stopping else "client_gone"
            self._note(route, permit, fate, None)
            self._ended(fate)
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
        whole = response.whole()
        body = whole if whole is not None else await self._body(response, first_by)
        outcome = self.outcome
        outcome.upstream_seconds += time.perf_counter() - outcome.attempt_started
        answer = route.adapter.parse_response(self.request, body)
        if isinstance(answer, Failure):
            return answer
        outcome.first_content_ms = outcome.elapsed_ms()
        outcome.settle(answer.usage)
        self._note(route, permit, "200", None)
        if self.circuits.needs_report(route.provider_id, permit, Result.SUCCESS):
            await self.circuits.report(route.provider_id, permit, Result.SUCCESS, "200")
        return self._whole(answer)

    async def _body(self, response: Response, first_by: float) -> bytes:
        """Return the whole body: its first bytes by the provider's time, the rest by the time a stream may be idle."""
        body = await response.chunk(by=first_by)
        if response.ended and len(body) <= MAX_ANSWER_BYTES:
            return body
        idle_by = self.loop.time() + self.relay.limits.idle_seconds
        return body + await response.read(limit=MAX_ANSWER_BYTES, by=min(idle_by, self.deadline))

    def _whole(self, answer: Completion) -> Reply:
        outcome = self.outcome
        head = b"content-type: application/json\r\n" + outcome.head()
        if outcome.cost_usd is not None:
            head += b"x-nexus-cost-usd: %b\r\n" % outcome.cost_usd.encode()
        return Reply(200, head, answer.body, outcome=outcome)

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
        self._note(route, permit, "200", None)
        if permit.is_probe:
            # A probe is judged at its first content, so that its slot is not held for the length of an answer.
            await self.circuits.report(route.provider_id, permit, Result.SUCCESS, "first content")
        stream = AnswerStream(
            self.circuits,
            route,
            permit,
            among=self.relay.streams,
            response=response,
            decoder=decoder,
            outcome=outcome,
            first_block=block,
            idle_seconds=self.relay.limits.idle_seconds,
            ends_by=self.loop.time() + self.relay.limits.stream_total_seconds,
        )
        return Reply(200, _SSE + outcome.head(), stream=stream, outcome=outcome)

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
        self.walk.skipped()
        self.outcome.note(route, "circuit_open", None, circuit=refusal.status.value)

    def _note(self, route: Route, permit: Permit, fate: str, failure: Failure | None) -> None:
        self.outcome.note(route, fate, failure, circuit="probe" if permit.token else "closed")


def error_reply(error: NexusError, outcome: Outcome) -> Reply:
    """Return the answer that tells an error in the shape of the endpoint's API, and close the record."""
    return json_reply(error.status, outcome.told(error), outcome, error.headers)


def json_reply(status: int, body: Any, outcome: Outcome, headers: Mapping[str, str]) -> Reply:
    """Return a JSON answer of our own, with further headers, whose values hold no line breaks."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = b"content-type: application/json\r\n" + outcome.head() + "".join(lines).encode("latin-1", "replace")
    return Reply(status, head, msgspec.json.encode(body), outcome=outcome)
