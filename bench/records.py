"""Request records as a runtime process writes them, all of today."""

import time
from collections.abc import Iterator
from uuid import UUID

from billing.pricing import Usage, find_price, usd
from gateway.records import Attempt, Candidate, Decision, Finished, Plan, RouteFacts, Started
from nexus.ids import uuid7, uuid7_at

_MODEL = "gpt-4o-mini"


def made_up(tenant: UUID, count: int) -> Iterator[tuple[Started, Finished]]:
    """Yield what is written at the begin and at the end of so many answered requests."""
    key, provider = str(uuid7()), str(uuid7())
    price = find_price("openai", _MODEL)
    assert price is not None
    route = RouteFacts("openai", provider, _MODEL, price.as_json())
    plan = Plan(weighted=False, max_attempts=4, candidates=[Candidate("openai", provider, 100)])
    decision = Decision(plan, draws=[0.42])
    now_ms = time.time_ns() // 1_000_000
    for number in range(count):
        id_ = str(uuid7_at(now_ms))
        usage = Usage(input_tokens=200 + number % 800, output_tokens=50 + number % 400)
        started = Started(id_, str(tenant), key, _MODEL, "chat/completions", number % 2 == 0, usage.input_tokens)
        latency_ms = 300 + number % 700
        yield (
            started,
            Finished(
                id=id_,
                tenant=str(tenant),
                endpoint="chat/completions",
                status=200,
                key_id=key,
                streamed=started.streamed,
                route=route,
                model=_MODEL,
                attempts=[Attempt("openai", provider, "200", latency_ms)],
                decision=decision,
                latency_ms=latency_ms,
                duration_ms=latency_ms + 900,
                overhead_ms=0.21,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=0,
                reasoning_tokens=0,
                cost_usd=usd(price.nano_usd(usage)),
            ),
        )
