"""What became of one request, gathered while it runs and written down exactly once when it is over."""

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.pricing import Usage
from gateway.providers.base import Failure
from gateway.records import Finished, Started
from gateway.schema import ModelRequest
from gateway.snapshot import Caller, Route
from gateway.spool import Spool
from nexus.errors import NexusError
from nexus.ids import uuid7

CLIENT_GONE = 499  # nginx's status for a client that hung up before its answer was whole


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate considered: who, what became of it, and how long that took."""

    family: str
    provider_id: UUID
    fate: str
    milliseconds: int
    failure: Failure | None = None
    skipped: bool = False  # its circuit was open: considered, not called

    def as_json(self) -> dict[str, Any]:
        return {
            "provider": self.family,
            "provider_id": str(self.provider_id),
            "fate": self.fate,
            "ms": self.milliseconds,
        }


@dataclass(slots=True)
class Outcome:
    """The record of one request in the making. Times are seconds of the monotonic clock."""

    endpoint: str
    spool: Spool
    started: float = field(default_factory=time.perf_counter)
    id: UUID = field(default_factory=uuid7)
    caller: Caller | None = None
    request: ModelRequest | None = None
    route: Route | None = None
    attempts: list[Attempt] = field(default_factory=list)
    attempt_started: float = 0.0
    upstream_seconds: float = 0.0  # spent waiting for providers
    latency_ms: int | None = None
    first_content_ms: int | None = None
    overhead_ms: float | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    content_bytes: int = 0
    announced: bool = False
    closed: bool = False

    def announce(self) -> None:
        """Write down, before the first upstream byte, that money may be spent: a killed process leaves this much."""
        if self.announced or self.caller is None or self.request is None:
            return
        self.announced = True
        self.spool.begin(
            Started(
                id=str(self.id),
                tenant=self.caller.tenant_id,
                key=self.caller.key_id,
                model=self.request.model,
                endpoint=self.endpoint,
                streamed=self.request.stream,
                input_estimate=self.request.input_tokens_estimate,
            )
        )

    def elapsed_ms(self) -> int:
        return round((time.perf_counter() - self.started) * 1000)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell how the request was routed. Called once, when the answer's head is made."""
        headers = [(b"x-request-id", str(self.id).encode())]
        if self.attempts:
            route = ";".join([f"{attempt.family}={attempt.fate}" for attempt in self.attempts])
            headers += (
                (b"x-nexus-attempt", b"%d" % len(self.attempts)),
                (b"x-nexus-route", route.encode()),
            )
        if self.route is not None:
            headers += (
                (b"x-nexus-provider", self.route.family.encode()),
                (b"x-nexus-model", self.route.target.upstream_model.encode("ascii", "replace")),
            )
            if self.route.simulated:
                headers.append((b"x-nexus-simulated", b"true"))
        if self.latency_ms is not None:
            headers.append((b"x-nexus-latency-ms", b"%d" % self.latency_ms))
        self.overhead_ms = (time.perf_counter() - self.started - self.upstream_seconds) * 1000
        headers.append((b"x-nexus-overhead-ms", b"%.3f" % max(0.0, self.overhead_ms)))
        return headers

    def settle(self, usage: Usage | None) -> None:
        """Take the usage that the provider told, and price it; without a price the cost stays unknown."""
        self.usage = usage
        if usage is not None and self.route is not None and self.route.price is not None:
            self.cost = self.route.price.cost(usage)

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
        if self.caller is None:
            return  # nobody to whom the request belongs: an unknown key
        if self.usage is None and self.announced and (self.content_bytes or status in (200, CLIENT_GONE)):
            self.settle(self._estimated_usage())
        self.spool.end(self._finished(status, error, error_class, retryable))

    def _estimated_usage(self) -> Usage:
        """Estimate what a provider billed that told no usage: four bytes a token, over what was sent and seen."""
        sent = self.request.input_tokens_estimate if self.request else 0
        return Usage(input_tokens=sent, output_tokens=-(-self.content_bytes // 4), estimated=True)

    def _finished(
        self, status: int, error: NexusError | None, error_class: str | None, retryable: bool | None
    ) -> Finished:
        assert self.caller is not None
        route, request, usage, cost = self.route, self.request, self.usage, self.cost
        price = route.price if route else None
        return Finished(
            id=str(self.id),
            tenant=self.caller.tenant_id,
            key_id=self.caller.key_id,
            endpoint=self.endpoint,
            streamed=request.stream if request else False,
            provider=route.family if route else None,
            provider_id=str(route.provider_id) if route else None,
            model=request.model if request else None,
            upstream_model=route.target.upstream_model if route else None,
            status=status,
            error_class=error_class or (error.code.lower() if error else None),
            error_code=error.code if error else None,
            retryable=retryable,
            attempts=[attempt.as_json() for attempt in self.attempts],
            latency_ms=self.latency_ms,
            ttft_ms=self.first_content_ms,
            duration_ms=self.elapsed_ms(),
            overhead_ms=self.overhead_ms,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            usage_estimated=usage.estimated if usage else False,
            cost_usd=format(cost, "f") if cost is not None else None,
            unpriced=usage is not None and cost is None,
            price=price.as_json() if price and cost is not None else None,
            simulated=route.simulated if route else False,
        )
