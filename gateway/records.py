"""The records that the runtime writes and the shipper reads: one definition for both ends of the spool.

None of them can be part of a cycle, so the garbage collector is spared the sight of them (`gc=False`).
"""

from typing import Any

import msgspec


class Started(msgspec.Struct, tag="started", omit_defaults=True, gc=False):
    """A request is about to cost something. Alone, it tells of a request whose process died."""

    id: str
    tenant: str
    key: str
    model: str
    endpoint: str
    streamed: bool
    input_estimate: int
    month: str = ""  # YYYY-MM, in which it counts as a use of its key
    leased: bool = False  # it took a unit of the month's quota, which its process had leased


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One candidate considered: who, what became of it, and how long that took."""

    provider: str  # the family
    provider_id: str
    fate: str
    ms: int
    circuit: str = "closed"  # as it was met: closed, probe, or the state that let nothing through
    kind: str | None = None  # the class of its failure; None for an answer, and for one that was skipped

    @property
    def skipped(self) -> bool:
        return self.circuit in ("open", "half_open")


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A provider connection that serves the model asked for."""

    provider: str
    provider_id: str
    weight: int


class Plan(msgspec.Struct, frozen=True, gc=False):
    """What the router had to choose from, and by which rules."""

    weighted: bool
    max_attempts: int
    candidates: list[Candidate]


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a request was routed: all that the router knew. With the attempts it can be replayed (gateway/routing.py)."""

    plan: Plan
    draws: list[float] = []
    ended: str = "answered"  # or: rejected, exhausted, deadline, budget, client_gone, service_stopping


class RouteFacts(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is the same for all requests of a route."""

    provider: str
    provider_id: str
    upstream_model: str
    price: dict[str, str] | None = None
    simulated: bool = False


class Finished(msgspec.Struct, tag="finished", omit_defaults=True, gc=False):
    """A request is over: one row of the request log, whose columns the fields are named for."""

    id: str
    tenant: str
    endpoint: str
    status: int
    key_id: str | None = None
    streamed: bool = False
    route: RouteFacts | None = None
    model: str | None = None
    error_class: str | None = None
    error_code: str | None = None
    retryable: bool | None = None
    attempts: list[Attempt] = []
    decision: Decision | None = None
    latency_ms: int | None = None
    ttft_ms: int | None = None
    duration_ms: int | None = None
    overhead_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_estimated: bool = False
    cost_usd: str | None = None
    unpriced: bool = False
    prompt_version: str | None = None
    policy_events: list[dict[str, Any]] = []
    month: str = ""  # as above; empty for what never went to a provider
    leased: bool = False


class CircuitChanged(msgspec.Struct, tag="circuit", gc=False):
    """A provider's circuit has changed its state."""

    id: str
    tenant: str
    provider_id: str
    at_ms: int
    from_state: str
    to_state: str
    reason: str


Record = Started | Finished | CircuitChanged
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Record).decode


def encoded[Part: msgspec.Struct](part: Part) -> Part:
    """Return a part of a record encoded once and for all: what it says is copied into every record it stands in.

    The type stays the part's own for the type checker; at run time it is bytes that only the encoder can use.
    """
    raw: Any = msgspec.Raw(encode(part))
    return raw  # type: ignore[no-any-return]
