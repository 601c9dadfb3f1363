"""The request log's rows as PostgreSQL's COPY reads them in its text format: a line each, made of a spool record.

https://www.postgresql.org/docs/current/sql-copy.html: columns apart by tabs, NULL as `\\N`, and in a value a backslash
before itself, tab and line ends. Made by hand, since a general writer takes three times as long, for every request.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from gateway.records import Finished, RouteFacts, encode
from nexus.ids import time_of_text

COLUMNS = (
    "id", "created_at", "tenant_id", "key_id", "endpoint", "streamed", "provider", "provider_id", "model",
    "upstream_model", "status", "error_class", "error_code", "retryable", "attempts", "decision", "latency_ms",
    "ttft_ms", "duration_ms", "overhead_ms", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "usage_estimated", "cost_usd", "unpriced", "price", "prompt_version", "policy_events", "simulated",
)  # fmt: skip
# Beside the log's own columns: in which month a key's use counts, and which process had leased the unit.
STAGED = (*COLUMNS, "use_month", "use_process")
_NULL = r"\N"
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_NO_ROUTE = RouteFacts(None, None, None)  # type: ignore[arg-type]  # a request that went nowhere


@dataclass(frozen=True, slots=True)
class LogRow:
    """A record, the moment it is filed under, and its columns from the third on as COPY reads them."""

    record: Finished
    created_at: datetime
    rest: str

    def line(self) -> bytes:
        """Return the row's line, with its end."""
        return f"{self.record.id}\t{self.created_at}\t{self.rest}\n".encode()


def row_of(record: Finished, process: str) -> LogRow:
    """Return the row of a request that a process served. The id says when."""
    route = record.route or _NO_ROUTE
    priced = route.price is not None and record.cost_usd is not None
    values = (  # as STAGED
        record.tenant, record.key_id, _text(record.endpoint), record.streamed, _text(route.provider),
        route.provider_id, _text(record.model), _text(route.upstream_model), record.status, _text(record.error_class),
        _text(record.error_code), record.retryable, _json(record.attempts) if record.attempts else "[]",
        _json(record.decision) if record.decision is not None else None, record.latency_ms, record.ttft_ms,
        record.duration_ms, record.overhead_ms, record.input_tokens, record.output_tokens, record.cached_tokens,
        record.reasoning_tokens, record.usage_estimated, record.cost_usd, record.unpriced,
        _json(route.price) if priced else None, _text(record.prompt_version),
        _json(record.policy_events) if record.policy_events else "[]", route.simulated,
        f"{record.month}-01" if record.month else None, _text(process) if record.leased else "",
    )  # fmt: skip
    rest = "\t".join([_NULL if value is None else str(value) for value in values])
    return LogRow(record, time_of_text(record.id), rest)


@lru_cache(1024)  # providers and models come again and again
def _text(value: str | None) -> str | None:
    return value.translate(_ESCAPES) if value else value


def _json(part: Any) -> str:
    """Return the JSON of a part. JSON escapes line ends and tabs itself, by backslashes."""
    return encode(part).decode().replace("\\", "\\\\")
