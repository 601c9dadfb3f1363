"""What is counted of a request when it is over, and that strangers' words make no endless number of series."""

import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from billing.pricing import Price, Usage
from gateway.meters import MOST_SERIES, OTHER, Meters, Numbers
from gateway.origin import Origin
from gateway.outcome import Outcome
from gateway.providers.base import Target
from gateway.providers.registry import FAMILIES
from gateway.records import Attempt, Decision, Plan, RouteFacts
from gateway.schema import Endpoint, ModelRequest
from gateway.snapshot import Caller, ModelRoutes, Route, TenantConfig
from gateway.spool import Spool

PRICE = Price(Decimal(1), Decimal(2), Decimal(1), Decimal(1), "test")
CHAT = "chat/completions"


def make_route(name: str = "Primary", model: str = "gpt-4o", family: str = "openai") -> Route:
    origin = Origin("http", "upstream.example", 80)
    id_ = uuid4()
    return Route(
        provider_id=id_,
        id_text=str(id_),
        name=name,
        adapter=FAMILIES[family],
        origin=origin,
        target=Target("/v1", "", model, {}),
        weight=1,
        timeout_seconds=60,
        price=PRICE,
        family=family,
        facts=RouteFacts(family, str(id_), model),
        head=b"",
        head_at_once=b"",
    )


def make_outcome(*routes: Route, model: str = "gpt-4o", endpoint: str = CHAT) -> Outcome:
    """Return the outcome of a request of acme's for a model with these candidates."""
    plan = Plan(weighted=False, max_attempts=4, candidates=[])
    tenant = TenantConfig(uuid4(), "acme", False, 4, 120, {model: ModelRoutes(routes, plan, Decision(plan))})
    outcome = Outcome(endpoint, Spool(Path("/nonexistent")))
    outcome.caller = Caller("key", "tenant", tenant, frozenset(), None)
    outcome.request = ModelRequest(Endpoint.CHAT, model, stream=False, include_usage=False, body=b"{}", payload={})
    return outcome


def answered(route: Route, *earlier: tuple[Route, str], model: str = "gpt-4o") -> Outcome:
    """Return the outcome of a request that a route answered after the earlier ones had their fates."""
    outcome = make_outcome(*(each for each, _ in earlier), route, model=model)
    fates = [*earlier, (route, "200")]
    outcome.attempts = [Attempt(each.family, each.id_text, fate, 12) for each, fate in fates]
    outcome.route = route
    outcome.first_content_ms, outcome.overhead_ms = 300, 0.7
    outcome.settle(Usage(input_tokens=10, output_tokens=5, cached_tokens=2, reasoning_tokens=1))
    return outcome


def test_an_answer_is_counted_with_its_tokens_cost_times_and_attempt() -> None:
    meters, route = Meters(), make_route()
    for _ in range(2):
        outcome = answered(route)
        outcome.started = time.perf_counter() - 0.3
        meters.count(outcome, 200, None)
    numbers = meters.numbers
    ((key, traffic),) = numbers.traffic.items()
    assert key == ("", CHAT, "openai", "Primary", "gpt-4o", "2xx")
    assert (traffic.requests, traffic.input_tokens, traffic.output_tokens) == (2, 20, 10)
    assert (traffic.cached_tokens, traffic.reasoning_tokens, traffic.unpriced) == (4, 2, 0)
    assert traffic.cost_nano_usd == 40_000
    assert {key: tally.count for key, tally in numbers.attempts.items()} == {("", "openai", "Primary", "200"): 2}
    assert numbers.errors == {}
    assert numbers.durations[CHAT, "openai"].counts == [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert numbers.first_contents[CHAT, "openai"].counts[3] == 2
    assert numbers.overheads[CHAT].counts[3] == 2
    assert numbers.overheads[CHAT].total == pytest.approx(0.0014)


def test_each_candidate_is_counted_by_its_fate() -> None:
    meters, first, second = Meters(), make_route("First"), make_route("Second", family="openai_compatible")
    meters.count(answered(second, (first, "503")), 200, None)
    meters.count(answered(second, (first, "circuit_open")), 200, None)
    meters.count(answered(second), 200, None)
    assert {key[1:]: tally.count for key, tally in meters.numbers.attempts.items()} == {
        ("openai_compatible", "Second", "200"): 3,
        ("openai", "First", "503"): 1,
        ("openai", "First", "circuit_open"): 1,
    }


def test_a_refusal_is_counted_by_its_code_without_the_words_of_the_client() -> None:
    meters = Meters()
    outcome = make_outcome(model="whatever a client makes up")
    meters.count(outcome, 404, "MODEL_NOT_FOUND")
    stranger = Outcome(CHAT, Spool(Path("/nonexistent")))
    meters.count(stranger, 401, "INVALID_API_KEY")
    assert {key: each.requests for key, each in meters.numbers.traffic.items()} == {("", CHAT, "", "", "", "4xx"): 2}
    assert {key: tally.count for key, tally in meters.numbers.errors.items()} == {
        (CHAT, "MODEL_NOT_FOUND"): 1,
        (CHAT, "INVALID_API_KEY"): 1,
    }


def test_a_client_that_left_is_told_apart_from_other_4xx() -> None:
    meters = Meters()
    meters.count(answered(make_route()), 499, "client_gone")
    assert [key[-1] for key in meters.numbers.traffic] == ["499"]


def test_a_model_without_price_is_counted_as_such() -> None:
    meters = Meters()
    meters.count(answered(replace(make_route(), price=None)), 200, None)
    (traffic,) = meters.numbers.traffic.values()
    assert (traffic.unpriced, traffic.cost_nano_usd) == (1, 0)


def test_the_probes_are_not_counted() -> None:
    meters = Meters()
    meters.count(make_outcome(endpoint=""), 401, "INVALID_API_KEY")
    assert meters.numbers == Numbers()


def test_tenants_are_told_apart_on_demand() -> None:
    meters, route = Meters(), make_route()
    meters.by_tenant = True
    meters.count(answered(route), 200, None)
    assert [key[0] for key in meters.numbers.traffic] == ["acme"]
    assert [key[0] for key in meters.numbers.attempts] == ["acme"]


def test_the_series_are_bounded_whatever_tenants_name_their_models() -> None:
    meters = Meters()
    for number in range(MOST_SERIES + 50):
        model = f"model-{number}"
        meters.count(answered(make_route(f"Provider {number}", model), model=model), 200, None)
    assert len(meters.numbers.traffic) == MOST_SERIES + 1
    assert meters.numbers.traffic["", CHAT, "openai", OTHER, OTHER, "2xx"].requests == 50
    assert len(meters.numbers.attempts) == MOST_SERIES + 1
    assert meters.numbers.attempts["", "openai", OTHER, "200"].count == 50


def test_a_route_that_took_the_place_of_another_is_counted_as_itself() -> None:
    meters = Meters()
    for number in range(200):  # routes of the past are freed; their places in memory are used again
        meters.count(answered(make_route(f"Provider {number}")), 200, None)
    assert sorted(each.requests for each in meters.numbers.traffic.values()) == [1] * 200


def test_the_sum_of_two_processes_is_exact() -> None:
    first, second, route, other = Meters(), Meters(), make_route(), make_route("Other")
    first.count(answered(route), 200, None)
    second.count(answered(route), 200, None)
    second.count(answered(other, (route, "503")), 502, "STREAM_INTERRUPTED")
    second.count_circuit_change("open")
    both = Meters()
    for outcome, status, code in (
        (answered(route), 200, None),
        (answered(route), 200, None),
        (answered(other, (route, "503")), 502, "STREAM_INTERRUPTED"),
    ):
        both.count(outcome, status, code)
    both.count_circuit_change("open")
    total = Numbers()
    total.add(first.numbers)
    total.add(second.numbers)
    assert total.traffic == both.numbers.traffic
    assert total.attempts == both.numbers.attempts
    assert total.errors == both.numbers.errors
    assert total.circuit_changes == both.numbers.circuit_changes
    assert total.overheads == both.numbers.overheads
    assert first.numbers.traffic["", CHAT, "openai", "Primary", "gpt-4o", "2xx"].requests == 1  # untouched
