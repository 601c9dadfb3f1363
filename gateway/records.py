"""The records that the runtime writes and the shipper reads: one definition for both ends of the spool."""

from typing import Any

import msgspec


class Started(msgspec.Struct, tag="started"):
    """A request is about to cost something. Alone, it tells of a request whose process died."""

    id: str
    tenant: str
    key: str
    model: str
    endpoint: str
    streamed: bool
    input_estimate: int


class Finished(msgspec.Struct, tag="finished", omit_defaults=True):
    """A request is over: one row of the request log, whose columns the fields are named for."""

    id: str
    tenant: str
    endpoint: str
    status: int
    key_id: str | None = None
    streamed: bool = False
    provider: str | None = None
    provider_id: str | None = None
    model: str | None = None
    upstream_model: str | None = None
    error_class: str | None = None
    error_code: str | None = None
    retryable: bool | None = None
    attempts: list[dict[str, Any]] = []
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
    price: dict[str, str] | None = None
    prompt_version: str | None = None
    policy_events: list[dict[str, Any]] = []
    simulated: bool = False


class CircuitChanged(msgspec.Struct, tag="circuit"):
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
