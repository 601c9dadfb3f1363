"""Rows of the request log in the console's words: who was tried, what became of it, what it cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.models import ApiKey, Tenant
from console.formats import thousands
from gateway.models import Provider, RequestLog

_FATES: Mapping[str, str] = {
    "circuit_open": "left out: its circuit was open",
    "circuit_half_open": "left out: its circuit was half-open, with another probe under way",
    "client_gone": "the client hung up",
    "timeout": "no answer in time",
    "deadline": "the request's deadline came first",
    "connection": "the connection failed",
    "truncated": "the answer broke off",
    "bad_response": "not an answer of this API",
}
_KINDS: Mapping[str, str] = {
    "bad_request": "the request is at fault, so no other provider was asked",
    "auth": "our API key was refused",
    "rate_limit": "its rate limit is reached",
    "quota_exhausted": "its quota is used up",
    "server_error": "its own fault",
}
_ENDS: Mapping[str, str] = {
    "answered": "Answered.",
    "rejected": "The provider found fault with the request itself, which the client was told.",
    "exhausted": "No candidate was left to ask.",
    "deadline": "The deadline of the whole request was reached.",
    "budget": "Too many requests were being repeated already, so this one was not.",
    "client_gone": "The client hung up before there was an answer.",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate of a request's route: who it was, and what became of it."""

    provider: str  # the connection's name, its family where it is gone
    fate: str
    last: bool
    state: str = "failed"  # succeeded, failed or skipped
    told: str = ""
    ms: int | None = None
    probe: bool = False


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request as pages show it. `share` is its duration against the page's, its slowest few aside, in percent."""

    row: RequestLog
    attempts: tuple[Attempt, ...]
    took_ms: int | None
    tokens: str  # "1,204 / 318", empty for a request that has none
    cost: str
    key: str = ""
    share: int = 0

    @property
    def id(self) -> str:
        return str(self.row.id)

    @property
    def plain_route(self) -> str:
        """The one provider that was asked and answered; empty for any other way that a request can go."""
        only = self.attempts[0] if len(self.attempts) == 1 else None
        return only.provider if only and only.fate == "200" else ""


@dataclass(frozen=True, slots=True)
class Names:
    """What ids of a tenant's providers and keys are called. The log outlives both."""

    providers: Mapping[str, str]
    keys: Mapping[UUID, str]


def provider_names(tenant: Tenant) -> dict[str, str]:
    """Return the names of a tenant's providers by their ids as text, in the order of the names. One query."""
    providers = Provider.objects.for_tenant(tenant).order_by("name", "id").values_list("id", "name")
    return {str(id_): name for id_, name in providers}


def names_of(
    tenant: Tenant, rows: Iterable[RequestLog], *, keys: bool, providers: Mapping[str, str] | None = None
) -> Names:
    """Return the names that some rows need; the keys' only to whoever may see keys.

    Two queries at most; one with `providers`, whose names are known already.
    """
    used = {row.key_id for row in rows if row.key_id} if keys else set()
    found = ApiKey.objects.for_tenant(tenant).filter(id__in=used).values_list("id", "prefix") if used else ()
    return Names(provider_names(tenant) if providers is None else providers, dict(found))


def lines_of(rows: Sequence[RequestLog], names: Names) -> list[RequestLine]:
    """Return rows as lines."""
    durations = sorted(took_ms(row) or 0 for row in rows)
    longest = durations[int(0.9 * (len(durations) - 1))] if durations else 0
    return [_line(row, names, longest or 1) for row in rows]


def took_ms(row: RequestLog) -> int | None:
    return row.duration_ms if row.duration_ms is not None else row.latency_ms


def attempts_of(row: RequestLog, names: Names) -> tuple[Attempt, ...]:
    """Return who was tried, in order."""
    listed: list[dict[str, Any]] = row.attempts or []
    return tuple(_attempt(each, names, last=number == len(listed)) for number, each in enumerate(listed, start=1))


def cost_of(row: RequestLog) -> str:
    """Return the cost in words: a gap is shown as one, never as zero."""
    if row.cost_usd is not None:
        return f"${row.cost_usd:.6f}"
    return "no price" if row.unpriced else ""


def tokens_of(row: RequestLog) -> str:
    """Return the tokens in and out in words, with a sign where they are estimated."""
    if row.input_tokens is None:
        return ""
    return f"{'~' if row.usage_estimated else ''}{thousands(row.input_tokens)} / {thousands(row.output_tokens)}"


def ending_of(row: RequestLog) -> str:
    """Return in a sentence how the routing ended, empty for a request that was never routed."""
    return _ENDS.get((row.decision or {}).get("ended", "answered"), "") if row.decision else ""


def _line(row: RequestLog, names: Names, longest: int) -> RequestLine:
    took = took_ms(row)
    return RequestLine(
        row=row,
        attempts=attempts_of(row, names),
        took_ms=took,
        tokens=tokens_of(row),
        cost=cost_of(row),
        key=names.keys.get(row.key_id, "") if row.key_id else "",
        share=min(100, round(100 * (took or 0) / longest)),
    )


def _attempt(given: Mapping[str, Any], names: Names, *, last: bool) -> Attempt:
    fate = given["fate"]
    skipped = given.get("circuit") in ("open", "half_open")
    return Attempt(
        provider=names.providers.get(given.get("provider_id", ""), given["provider"]),
        fate=fate,
        last=last,
        state="succeeded" if fate == "200" else "skipped" if skipped else "failed",
        told=_told(fate, given.get("kind")),
        ms=None if skipped else given.get("ms"),
        probe=given.get("circuit") == "probe",
    )


def _told(fate: str, kind: str | None) -> str:
    if fate == "200":
        return "answered"
    if fate.isdigit():
        why = _KINDS.get(kind or "")
        return f"answered {fate}: {why}" if why else f"answered {fate}"
    return _FATES.get(fate, fate.replace("_", " "))
