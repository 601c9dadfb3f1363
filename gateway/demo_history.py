"""A day of made-up requests for the demo tenant, so that its pages are not empty at the first look.

Every record is marked as simulated. Five hours ago the first provider failed for a while: its circuit opened, requests
fell over to the second provider, and two probes closed the circuit again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from billing.pricing import Usage, find_price, usd
from gateway.records import Attempt, CircuitChanged, Finished, RouteFacts
from nexus.ids import uuid7_at

REQUESTS = 200
_INCIDENT_BEGAN = timedelta(hours=5)  # before now
# Seconds since then, and what became of the first provider: five failures open the circuit, two probes close it.
_INCIDENT = (
    (0, "503"), (21, "503"), (38, "503"), (55, "503"), (74, "503"),
    (80, "circuit_open"), (87, "circuit_open"), (95, "circuit_open"), (101, "circuit_open"),
    (106, "200"), (113, "200"),
)  # fmt: skip
_TRANSITIONS = (
    (74, "closed", "open", "5 consecutive failures, the last: 503"),
    (106, "open", "half_open", "the open time is over"),
    (113, "half_open", "closed", "2 probes succeeded"),
)
_INCIDENT_SECONDS = 120
_KINDS = {"429": "rate_limit", "timeout": "timeout", "500": "server_error", "503": "server_error", "400": "bad_request"}
_MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
_MODEL_SHARES = (60, 28, 12)


@dataclass(frozen=True, slots=True)
class Connection:
    """A demo provider: its row, family and names of the models."""

    id: UUID
    family: str
    models: dict[str, str]


@dataclass(frozen=True, slots=True)
class Day:
    """Whose day it is, and when it ends."""

    tenant: UUID
    key: UUID
    primary: Connection
    backup: Connection
    now: datetime

    @property
    def incident(self) -> datetime:
        return self.now - _INCIDENT_BEGAN


def history(day: Day, random: Random) -> Iterator[Finished]:
    """Yield the day's requests."""
    for seconds, fate in _INCIDENT:
        moment = day.incident + timedelta(seconds=seconds)
        if fate == "200":
            yield _answered(day, moment, random, day.primary, [])
        else:
            yield _failed_over(day, moment, random, first_fate=fate)
    for moment in _moments(day, random, REQUESTS - len(_INCIDENT)):
        yield _ordinary(day, moment, random)


def circuit_events(day: Day) -> Iterator[CircuitChanged]:
    """Yield the transitions of the first provider's circuit."""
    for seconds, before, after, reason in _TRANSITIONS:
        at_ms = _milliseconds(day.incident + timedelta(seconds=seconds))
        yield CircuitChanged(
            id=str(uuid7_at(at_ms)),
            tenant=str(day.tenant),
            provider_id=str(day.primary.id),
            at_ms=at_ms,
            from_state=before,
            to_state=after,
            reason=reason,
        )


def _moments(day: Day, random: Random, count: int) -> Iterator[datetime]:
    """Yield times within the last day and outside the incident, the later the likelier."""
    while count:
        moment = day.now - timedelta(hours=24 * random.random() ** 1.25, seconds=1)
        if not 0 <= (moment - day.incident).total_seconds() <= _INCIDENT_SECONDS:
            yield moment
            count -= 1


def _ordinary(day: Day, moment: datetime, random: Random) -> Finished:
    luck = random.random()
    if luck < 0.02:
        return _refused(day, moment, random)
    if luck < 0.03:
        return _all_failed(day, moment, random)
    if luck < 0.06:
        return _failed_over(day, moment, random, first_fate=random.choice(("429", "timeout", "500")))
    return _answered(day, moment, random, day.primary, [])


def _failed_over(day: Day, moment: datetime, random: Random, *, first_fate: str) -> Finished:
    spent = {"circuit_open": 0, "timeout": 60_000}.get(first_fate, random.randint(40, 240))
    return _answered(day, moment, random, day.backup, [_attempt(day.primary, first_fate, spent)])


def _answered(day: Day, moment: datetime, random: Random, connection: Connection, before: list[Attempt]) -> Finished:
    model = random.choices(_MODELS, _MODEL_SHARES)[0]
    upstream = connection.models[model]
    embeds = model.startswith("text-embedding")
    latency = round(random.lognormvariate(4.4 if embeds else 5.9, 0.35))
    spent = sum(attempt.ms for attempt in before)
    sent = random.randint(20, 2400)
    generated = 0 if embeds else random.randint(20, 700)
    usage = Usage(input_tokens=sent, output_tokens=generated, cached_tokens=sent // 2 if sent > 1800 else 0)
    price = find_price(connection.family, upstream)
    streamed = not embeds and random.random() < 0.6
    return Finished(
        **_base(day, moment, model, connection, upstream),
        endpoint="embeddings" if embeds else "chat/completions",
        streamed=streamed,
        status=200,
        attempts=[*before, _attempt(connection, "200", latency)],
        latency_ms=latency,
        ttft_ms=spent + latency + random.randint(20, 120) if streamed else None,
        duration_ms=spent + latency + generated * 9,
        overhead_ms=round(random.uniform(0.6, 2.4), 3),
        input_tokens=sent,
        output_tokens=generated,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=0,
        cost_usd=usd(price.nano_usd(usage)) if price else None,
        unpriced=price is None,
    )


def _refused(day: Day, moment: datetime, random: Random) -> Finished:
    latency = random.randint(60, 300)
    model = _MODELS[0]
    return Finished(
        **_base(day, moment, model, day.primary, day.primary.models[model]),
        endpoint="chat/completions",
        status=400,
        error_class="bad_request",
        error_code="INVALID_REQUEST",
        retryable=False,
        attempts=[_attempt(day.primary, "400", latency)],
        latency_ms=latency,
        duration_ms=latency,
        overhead_ms=1.1,
    )


def _all_failed(day: Day, moment: datetime, random: Random) -> Finished:
    spent = [random.randint(60, 200) for _ in range(2)]
    model = _MODELS[1]
    return Finished(
        **_base(day, moment, model, day.backup, day.backup.models[model]),
        endpoint="chat/completions",
        status=502,
        error_class="server_error",
        error_code="ALL_PROVIDERS_FAILED",
        retryable=True,
        attempts=[_attempt(day.primary, "503", spent[0]), _attempt(day.backup, "500", spent[1])],
        duration_ms=sum(spent),
        overhead_ms=1.4,
    )


def _base(day: Day, moment: datetime, model: str, connection: Connection, upstream: str) -> dict[str, Any]:
    price = find_price(connection.family, upstream)
    return {
        "id": str(uuid7_at(_milliseconds(moment))),
        "tenant": str(day.tenant),
        "key_id": str(day.key),
        "model": model,
        "month": f"{moment:%Y-%m}",
        "route": RouteFacts(
            connection.family, str(connection.id), upstream, price.as_json() if price else None, simulated=True
        ),
    }


def _attempt(connection: Connection, fate: str, milliseconds: int) -> Attempt:
    circuit = "open" if fate == "circuit_open" else "closed"
    return Attempt(connection.family, str(connection.id), fate, milliseconds, circuit, _KINDS.get(fate))


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
