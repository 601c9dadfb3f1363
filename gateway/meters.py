"""What a process counts for /metrics: plain numbers in memory, a handful of additions when a request is over.

No I/O, no lock: all calls come from the event loop's thread. How the numbers leave the process is
gateway/meter_files.py, what they look like to Prometheus gateway/metrics_page.py.
"""

import time
from bisect import bisect_left
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # outcome.py calls this module when a request is over
    from gateway.outcome import Outcome
    from gateway.records import Attempt
    from gateway.snapshot import ModelRoutes, Route

DURATION_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
FIRST_CONTENT_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 60.0)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0)
# Names of providers and models are chosen by tenants: past this many combinations the rest is counted together.
MOST_SERIES = 2_000
OTHER = "(other)"
_MOST_LINES = 10_000
_ANSWERED = "200"  # the fate of an attempt that gave the answer

TrafficKey = tuple[str, str, str, str, str, str]  # tenant, endpoint, family, provider, model, status
AttemptKey = tuple[str, str, str, str]  # tenant, family, provider, fate


@dataclass(slots=True)
class Traffic:
    """What came of the requests of one kind."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano_usd: int = 0
    unpriced: int = 0

    def add(self, other: "Traffic") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class Spread:
    """A histogram: how many values lie up to each bound, the last count for those beyond, and their sum."""

    counts: list[int]
    total: float = 0.0

    def observe(self, value: float, bounds: tuple[float, ...]) -> None:
        self.counts[bisect_left(bounds, value)] += 1
        self.total += value

    def add(self, other: "Spread") -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(slots=True)
class Tally:
    count: int = 0

    def add(self, other: "Tally") -> None:
        self.count += other.count


@dataclass(slots=True)
class Numbers:
    """All that one process, or several together, have counted. Nothing in it ever decreases."""

    traffic: dict[TrafficKey, Traffic] = field(default_factory=dict)
    errors: dict[tuple[str, str], Tally] = field(default_factory=dict)  # endpoint, code
    attempts: dict[AttemptKey, Tally] = field(default_factory=dict)
    durations: dict[tuple[str, str], Spread] = field(default_factory=dict)  # endpoint, family
    first_contents: dict[tuple[str, str], Spread] = field(default_factory=dict)  # endpoint, family
    overheads: dict[str, Spread] = field(default_factory=dict)  # endpoint
    circuit_changes: dict[str, Tally] = field(default_factory=dict)  # state that it changed to
    refusals: dict[tuple[str, str], Tally] = field(default_factory=dict)  # tenant, limit
    replays: dict[str, Tally] = field(default_factory=dict)  # endpoint
    dropped_records: int = 0

    def add(self, other: "Numbers") -> None:
        """Take in what another process has counted."""
        for key, traffic in other.traffic.items():
            self.traffic.setdefault(key, Traffic()).add(traffic)
        _add_tallies(self.errors, other.errors)
        _add_tallies(self.attempts, other.attempts)
        _add_tallies(self.circuit_changes, other.circuit_changes)
        _add_tallies(self.refusals, other.refusals)
        _add_tallies(self.replays, other.replays)
        _add_spreads(self.durations, other.durations)
        _add_spreads(self.first_contents, other.first_contents)
        _add_spreads(self.overheads, other.overheads)
        self.dropped_records += other.dropped_records


@dataclass(frozen=True, slots=True)
class _Line:
    """Where requests of one route, endpoint and status are counted, looked up once and then kept at hand."""

    route: "Route | None"  # kept, so that no other object gets its id
    traffic: Traffic
    durations: Spread
    first_contents: Spread
    overheads: Spread
    answered: Tally | None  # attempts of this route that were answered


class Meters:
    """The numbers of this process. With `by_tenant` tenants are told apart, which multiplies the series."""

    def __init__(self) -> None:
        self.by_tenant = False
        self.numbers = Numbers()
        self._lines: dict[tuple[int, str, int], _Line] = {}

    def count(self, outcome: "Outcome", status: int, code: str | None) -> None:
        """Count a request that is over: `code` says what went wrong, None that nothing did."""
        if not outcome.endpoint:
            return  # the model list and the probes
        route, usage = outcome.route, outcome.usage
        key = (id(route), outcome.endpoint, status)
        line = self._lines.get(key) if route is not None else None
        if line is None:
            line = self._line(outcome, status, key)
        traffic = line.traffic
        traffic.requests += 1
        line.durations.observe(time.perf_counter() - outcome.started, DURATION_SECONDS)
        if usage is not None:
            traffic.input_tokens += usage.input_tokens
            traffic.output_tokens += usage.output_tokens
            if usage.cached_tokens or usage.reasoning_tokens:
                traffic.cached_tokens += usage.cached_tokens
                traffic.reasoning_tokens += usage.reasoning_tokens
            if outcome.cost_usd is None:
                traffic.unpriced += 1
            else:
                traffic.cost_nano_usd += outcome.cost_nano_usd
        if outcome.first_content_ms is not None:
            line.first_contents.observe(outcome.first_content_ms / 1000, FIRST_CONTENT_SECONDS)
        if route is not None and outcome.overhead_ms is not None:
            line.overheads.observe(max(0.0, outcome.overhead_ms) / 1000, OVERHEAD_SECONDS)
        if code is not None:
            _tally(self.numbers.errors, (outcome.endpoint, code)).count += 1
        attempts = outcome.attempts
        if line.answered is not None and len(attempts) == 1 and attempts[0].fate == _ANSWERED:
            line.answered.count += 1
        else:
            for attempt in attempts:
                self._attempts(outcome, attempt.provider, _name_of(attempt, outcome), attempt.fate).count += 1

    def forget(self) -> None:
        """Begin again at nothing: what has been counted so far is kept elsewhere from now on."""
        self.numbers = Numbers()
        self._lines.clear()

    def count_circuit_change(self, to_state: str) -> None:
        _tally(self.numbers.circuit_changes, to_state).count += 1

    def count_refusal(self, tenant: str, limit: str) -> None:
        """Count a request that was over a limit of its key."""
        _tally(self.numbers.refusals, (tenant if self.by_tenant else "", limit)).count += 1

    def count_replay(self, endpoint: str) -> None:
        """Count an answer that was given again for an idempotency key: it is no request of its own."""
        _tally(self.numbers.replays, endpoint).count += 1

    def _line(self, outcome: "Outcome", status: int, key: tuple[int, str, int]) -> _Line:
        numbers, route, endpoint = self.numbers, outcome.route, outcome.endpoint
        place = endpoint, route.family if route is not None else ""
        line = _Line(
            route=route,
            traffic=self._traffic(outcome, status),
            durations=_spread(numbers.durations, place, DURATION_SECONDS),
            first_contents=_spread(numbers.first_contents, place, FIRST_CONTENT_SECONDS),
            overheads=_spread(numbers.overheads, endpoint, OVERHEAD_SECONDS),
            answered=None if route is None else self._attempts(outcome, route.family, route.name, _ANSWERED),
        )
        if route is not None:
            if len(self._lines) >= _MOST_LINES:
                self._lines.clear()  # mostly routes of configurations past
            self._lines[key] = line
        return line

    def _traffic(self, outcome: "Outcome", status: int) -> Traffic:
        caller, route = outcome.caller, outcome.route
        family = route.family if route is not None else ""
        tenant = caller.tenant.slug if self.by_tenant and caller is not None else ""
        # A model that nobody serves is whatever the client wrote: it makes no series of its own.
        provider, model = ("", "") if route is None or outcome.request is None else (route.name, outcome.request.model)
        word = "499" if status == 499 else f"{status // 100}xx"
        key = (tenant, outcome.endpoint, family, provider, model, word)
        if key not in self.numbers.traffic and len(self.numbers.traffic) >= MOST_SERIES:
            key = ("", outcome.endpoint, family, OTHER, OTHER, word)
        return self.numbers.traffic.setdefault(key, Traffic())

    def _attempts(self, outcome: "Outcome", family: str, name: str, fate: str) -> Tally:
        tenant = outcome.caller.tenant.slug if self.by_tenant and outcome.caller is not None else ""
        key = (tenant, family, name, fate)
        if key not in self.numbers.attempts and len(self.numbers.attempts) >= MOST_SERIES:
            key = ("", family, OTHER, fate)
        return _tally(self.numbers.attempts, key)


def _name_of(attempt: "Attempt", outcome: "Outcome") -> str:
    """Return a candidate's name. It is counted by the name it has now, so that no count ever moves to another."""
    caller, request = outcome.caller, outcome.request
    routes: ModelRoutes | None = None
    if caller is not None and request is not None:
        routes = caller.tenant.routes.get(request.model)
    candidates = routes.candidates if routes is not None else ()
    return next((route.name for route in candidates if route.id_text == attempt.provider_id), OTHER)


def _tally[Key](tallies: dict[Key, Tally], key: Key) -> Tally:
    return tallies.get(key) or tallies.setdefault(key, Tally())


def _spread[Key](spreads: dict[Key, Spread], key: Key, bounds: tuple[float, ...]) -> Spread:
    return spreads.get(key) or spreads.setdefault(key, Spread([0] * (len(bounds) + 1)))


def _add_tallies[Key](mine: dict[Key, Tally], theirs: dict[Key, Tally]) -> None:
    for key, tally in theirs.items():
        _tally(mine, key).add(tally)


def _add_spreads[Key](mine: dict[Key, Spread], theirs: dict[Key, Spread]) -> None:
    for key, spread in theirs.items():
        mine.setdefault(key, Spread([0] * len(spread.counts))).add(spread)


METERS = Meters()  # one per process, by definition
