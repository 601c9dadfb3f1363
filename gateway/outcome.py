"""What became of one request, gathered while it runs and written down exactly once when it is over."""

import re
import time
from typing import Any

from billing.pricing import Usage, usd
from gateway.dialects.messages_error import messages_error
from gateway.limits import Hold, KeyShares
from gateway.meters import METERS
from gateway.providers.base import Failure
from gateway.records import Attempt, Decision, Finished, Started
from gateway.schema import Endpoint, ModelRequest
from gateway.snapshot import Caller, Route
from gateway.spool import Spool
from nexus.errors import NexusError
from nexus.ids import uuid7_text

_ANTHROPICS = (Endpoint.MESSAGES.value, Endpoint.COUNT_TOKENS.value)
CLIENT_GONE = 499  # nginx's status for a client that hung up before its answer was whole


_NAME = re.compile(r"[\w.-]{1,64}\Z", re.ASCII)


def _names(members: tuple[str, ...]) -> bytes:
    """Return the names of a request's members for a header: a client may have chosen any text as one."""
    return ", ".join(dict.fromkeys(name if _NAME.match(name) else "?" for name in members[:50])).encode()


class Outcome:
    """The record of one request in the making. Times are seconds of the monotonic clock."""

    __slots__ = (
        "announced", "attempt_started", "attempts", "caller", "closed", "content_bytes", "cost_nano_usd",
        "cost_usd", "decision", "dropped", "endpoint", "failures", "first_content_ms", "hold", "id", "latency_ms",
        "leased", "month", "overhead_ms", "request", "route", "shares", "spool", "started", "upstream_seconds", "usage",
    )  # fmt: skip

    def __init__(self, endpoint: str, spool: Spool, month: str = "") -> None:
        self.started = time.perf_counter()
        self.id = uuid7_text()
        self.endpoint = endpoint
        self.spool = spool
        self.month = month  # in which it counts as a use of its key
        self.caller: Caller | None = None
        self.shares: KeyShares | None = None  # of its key's limits, where it has any
        self.hold: Hold | None = None  # what it has taken of them
        self.leased = False  # a unit of a monthly quota is among it
        self.request: ModelRequest | None = None
        self.route: Route | None = None
        self.attempts: list[Attempt] = []
        self.failures: list[Failure | None] = []  # of the attempts, in step with them
        self.decision: Decision | None = None
        self.dropped: tuple[str, ...] = ()  # members of the request that the route's provider cannot honour
        self.attempt_started = 0.0
        self.upstream_seconds = 0.0  # spent waiting for providers
        self.latency_ms: int | None = None
        self.first_content_ms: int | None = None
        self.overhead_ms: float | None = None
        self.usage: Usage | None = None
        self.cost_usd: str | None = None
        self.cost_nano_usd = 0  # the same number, for those that add it up
        self.content_bytes = 0
        self.announced = False
        self.closed = False

    def announce(self) -> None:
        """Write down, before the first upstream byte, that money may be spent: a killed process leaves this much."""
        caller, request = self.caller, self.request
        if self.announced or caller is None or request is None:
            return
        self.announced = True
        self.spool.begin(
            Started(
                id=self.id,
                tenant=caller.tenant_id,
                key=caller.key_id,
                model=request.model,
                endpoint=self.endpoint,
                streamed=request.stream,
                input_estimate=request.input_tokens_estimate,
                month=self.month,
                leased=self.leased,
            )
        )

    def admitted(self, hold: Hold) -> None:
        """Take down what it has taken of its key's limits."""
        self.hold = hold
        if month := hold.quota_month:
            self.month, self.leased = month, True

    def note(self, route: Route, fate: str, failure: Failure | None, *, circuit: str = "closed") -> None:
        """Take down what became of a candidate."""
        skipped = circuit in ("open", "half_open")
        milliseconds = 0 if skipped else round((time.perf_counter() - self.attempt_started) * 1000)
        kind = failure.kind.value if failure is not None else None
        self.attempts.append(Attempt(route.family, route.id_text, fate, milliseconds, circuit, kind))
        self.failures.append(failure)

    def told(self, error: NexusError) -> dict[str, Any]:
        """Return an error as the endpoint's API tells it."""
        body = error.body(self.id)
        return messages_error(body, error.status) if self.endpoint in _ANTHROPICS else body

    def elapsed_ms(self) -> int:
        return round((time.perf_counter() - self.started) * 1000)

    def head(self) -> bytes:
        """Return the headers that tell how the request was routed, one a line. Called once, for the answer's head."""
        self.overhead_ms = (time.perf_counter() - self.started - self.upstream_seconds) * 1000
        overhead = max(0.0, self.overhead_ms)
        attempts, route = self.attempts, self.route
        told = b"" if self.shares is None else self.shares.head()
        if self.endpoint in _ANTHROPICS:
            told += b"request-id: %b\r\n" % self.id.encode()  # where its SDKs look for it
        if self.dropped:
            told += b"x-nexus-dropped-params: %b\r\n" % _names(self.dropped)
        if route is not None and len(attempts) == 1 and self.latency_ms is not None and attempts[0].fate == "200":
            return b"x-request-id: %b\r\nx-nexus-overhead-ms: %.3f\r\nx-nexus-latency-ms: %d\r\n%b%b" % (
                self.id.encode(), overhead, self.latency_ms, told, route.head_at_once,
            )  # fmt: skip
        lines = [b"x-request-id: %b\r\nx-nexus-overhead-ms: %.3f\r\n%b" % (self.id.encode(), overhead, told)]
        if attempts:
            fates = ";".join([f"{attempt.provider}={attempt.fate}" for attempt in attempts])
            lines.append(b"x-nexus-attempt: %d\r\nx-nexus-route: %b\r\n" % (len(attempts), fates.encode()))
        if route is not None:
            lines.append(route.head)
        if self.latency_ms is not None:
            lines.append(b"x-nexus-latency-ms: %d\r\n" % self.latency_ms)
        return b"".join(lines)

    def settle(self, usage: Usage | None) -> None:
        """Take the usage that the provider told, and price it; without a price the cost stays unknown."""
        self.usage = usage
        if usage is not None and self.route is not None and self.route.price is not None:
            self.cost_nano_usd = self.route.price.nano_usd(usage)
            self.cost_usd = usd(self.cost_nano_usd)

    def close(
        self,
        status: int,
        *,
        error: NexusError | None = None,
        error_class: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        """Write the record, once; later calls change nothing."""
        if self.closed:
            return
        self.closed = True
        if self.caller is not None:  # else there is nobody to whom the request belongs: an unknown key
            if self.usage is None and self.announced and (self.content_bytes or status in (200, CLIENT_GONE)):
                self.settle(self._estimated_usage())
            self.spool.end(self._finished(status, error, error_class, retryable))
        if self.hold is not None:
            tokens = self.usage.input_tokens + self.usage.output_tokens if self.usage else 0
            self.hold.close(counted=self.announced, tokens=tokens)
        METERS.count(self, status, error.code if error else error_class)
        if error is not None and self.caller is not None and (limit := error.details.get("limit")):
            METERS.count_refusal(self.caller.tenant.slug, limit)

    def replayed(self) -> None:
        """An earlier request's answer is given again: leave no record of its own, and use nothing up."""
        if self.closed:
            return
        self.closed = True
        METERS.count_replay(self.endpoint)
        if self.hold is not None:
            self.hold.close(counted=False, tokens=0)

    def _estimated_usage(self) -> Usage:
        """Estimate what a provider billed that told no usage: four bytes a token, over what was sent and seen."""
        sent = self.request.input_tokens_estimate if self.request else 0
        return Usage(input_tokens=sent, output_tokens=-(-self.content_bytes // 4), estimated=True)

    def _finished(
        self, status: int, error: NexusError | None, error_class: str | None, retryable: bool | None
    ) -> Finished:
        caller, route, request, usage, cost = self.caller, self.route, self.request, self.usage, self.cost_usd
        assert caller is not None
        return Finished(
            id=self.id,
            tenant=caller.tenant_id,
            key_id=caller.key_id,
            endpoint=self.endpoint,
            streamed=request.stream if request else False,
            route=route.facts if route else None,
            model=request.model if request else None,
            status=status,
            error_class=error_class or (error.code.lower() if error else None),
            error_code=error.code if error else None,
            retryable=retryable,
            attempts=self.attempts,
            decision=self.decision,
            latency_ms=self.latency_ms,
            ttft_ms=self.first_content_ms,
            duration_ms=self.elapsed_ms(),
            overhead_ms=self.overhead_ms,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            usage_estimated=usage.estimated if usage else False,
            cost_usd=cost,
            unpriced=usage is not None and cost is None,
            month=self.month if self.announced else "",
            leased=self.announced and self.leased,
        )
