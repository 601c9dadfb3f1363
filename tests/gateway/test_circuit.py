"""The circuit breaker's machine, alone and step by step beside the script that all processes share."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.circuit import (
    FAILURE_THRESHOLD,
    OPEN_SECONDS,
    Circuit,
    Result,
    Status,
    Transition,
    acquire,
    report,
    reset,
    trip,
)
from gateway.circuit_scripts import (
    ACTIVE,
    RECENT,
    SCRIPT,
    Answer,
    answer_of,
    circuit_key,
    read_states,
    script_arguments,
    script_keys,
)
from tests.gateway.boards import own_server

OPEN_MS = OPEN_SECONDS * 1000
DAY_MS = 24 * 60 * 60 * 1000


def fail(circuit: Circuit, times: int, *, now: int = 0) -> Circuit:
    for _ in range(times):
        circuit, _ = report(
            circuit, result=Result.FAILURE, generation=circuit.generation, token="", now_ms=now, reason="500"
        )
    return circuit


def opened(now: int = 0) -> Circuit:
    return fail(Circuit(), FAILURE_THRESHOLD, now=now)


def probing(now: int = OPEN_MS) -> Circuit:
    circuit, admission, _ = acquire(opened(), token="p", lease_ms=1000, now_ms=now)
    assert admission.is_probe
    return circuit


def test_five_consecutive_failures_open_it() -> None:
    assert fail(Circuit(), 4).status is Status.CLOSED
    circuit, transition = report(
        fail(Circuit(), 4), result=Result.FAILURE, generation=0, token="", now_ms=7, reason="timeout"
    )
    assert circuit.status is Status.OPEN
    assert transition == Transition(
        Status.CLOSED, Status.OPEN, "5 consecutive failures, the last: timeout", at_ms=7, generation=7
    )


def test_a_success_resets_and_a_neutral_result_does_not() -> None:
    four = fail(Circuit(), 4)
    reset, _ = report(four, result=Result.SUCCESS, generation=0, token="", now_ms=0)
    assert reset.consecutive_failures == 0
    neutral, _ = report(four, result=Result.NEUTRAL, generation=0, token="", now_ms=0)
    assert neutral == four
    assert fail(neutral, 1).status is Status.OPEN


def test_an_open_circuit_waits_thirty_seconds() -> None:
    _, early, _ = acquire(opened(), token="a", lease_ms=1000, now_ms=OPEN_MS - 1)
    assert (early.admitted, early.wait_ms) == (False, 1)
    circuit, due, transition = acquire(opened(), token="a", lease_ms=1000, now_ms=OPEN_MS)
    assert due.is_probe
    assert circuit.status is Status.HALF_OPEN
    assert transition is not None
    assert (transition.from_status, transition.to_status) == (Status.OPEN, Status.HALF_OPEN)


def test_one_probe_at_a_time_until_its_lease_ends() -> None:
    _, second, _ = acquire(probing(), token="b", lease_ms=1000, now_ms=OPEN_MS + 999)
    assert not second.admitted
    _, after, _ = acquire(probing(), token="b", lease_ms=1000, now_ms=OPEN_MS + 1000)
    assert after.is_probe


def test_two_consecutive_probe_successes_close_it() -> None:
    once, transition = report(probing(), result=Result.SUCCESS, generation=OPEN_MS, token="p", now_ms=OPEN_MS)
    assert transition is None
    again, admission, _ = acquire(once, token="q", lease_ms=1000, now_ms=OPEN_MS)
    assert admission.is_probe
    closed, transition = report(again, result=Result.SUCCESS, generation=OPEN_MS, token="q", now_ms=OPEN_MS)
    assert closed.status is Status.CLOSED
    assert closed.consecutive_failures == 0
    assert transition is not None


def test_a_failed_probe_opens_it_for_another_thirty_seconds() -> None:
    circuit, transition = report(
        probing(), result=Result.FAILURE, generation=OPEN_MS, token="p", now_ms=OPEN_MS + 5, reason="503"
    )
    assert (circuit.status, circuit.opened_at_ms) == (Status.OPEN, OPEN_MS + 5)
    assert transition is not None
    assert transition.reason == "the probe failed: 503"


def test_a_neutral_probe_frees_the_slot_and_decides_nothing() -> None:
    freed, transition = report(probing(), result=Result.NEUTRAL, generation=OPEN_MS, token="p", now_ms=OPEN_MS)
    assert transition is None
    assert freed.status is Status.HALF_OPEN
    _, next_one, _ = acquire(freed, token="q", lease_ms=1000, now_ms=OPEN_MS)
    assert next_one.is_probe


@pytest.mark.parametrize("result", list(Result))
@pytest.mark.parametrize("circuit", [opened(), probing()])
def test_what_was_admitted_before_the_opening_decides_nothing(circuit: Circuit, result: Result) -> None:
    assert report(circuit, result=result, generation=0, token="", now_ms=OPEN_MS) == (circuit, None)
    assert report(circuit, result=result, generation=0, token="p", now_ms=OPEN_MS) == (circuit, None)


def test_only_the_holder_of_the_slot_reports_for_the_probe() -> None:
    circuit = probing()
    for token in ("", "other"):
        assert report(circuit, result=Result.FAILURE, generation=OPEN_MS, token=token, now_ms=OPEN_MS) == (
            circuit,
            None,
        )


def test_a_streamed_probe_that_breaks_after_its_first_content_opens_it_again() -> None:
    once, _ = report(probing(), result=Result.SUCCESS, generation=OPEN_MS, token="p", now_ms=OPEN_MS)
    again, transition = report(
        once, result=Result.FAILURE, generation=OPEN_MS, token="p", now_ms=OPEN_MS + 9, reason="truncated"
    )
    assert (again.status, again.opened_at_ms) == (Status.OPEN, OPEN_MS + 9)
    assert transition is not None
    assert transition.reason == "the probe's stream broke: truncated"
    for result in (Result.SUCCESS, Result.NEUTRAL):
        assert report(once, result=result, generation=OPEN_MS, token="p", now_ms=OPEN_MS) == (once, None)


def test_a_neutral_probe_between_two_successes_does_not_break_their_row() -> None:
    circuit, _ = report(probing(), result=Result.SUCCESS, generation=OPEN_MS, token="p", now_ms=OPEN_MS)
    for token, result in (("q", Result.NEUTRAL), ("r", Result.SUCCESS)):
        circuit, _, _ = acquire(circuit, token=token, lease_ms=1000, now_ms=OPEN_MS)
        circuit, _ = report(circuit, result=result, generation=OPEN_MS, token=token, now_ms=OPEN_MS)
    assert circuit.status is Status.CLOSED


def test_results_of_one_closed_generation_all_count_in_order_of_completion() -> None:
    admitted = [acquire(Circuit(), token="", lease_ms=0, now_ms=n)[1] for n in range(FAILURE_THRESHOLD)]
    circuit = Circuit()
    for n, admission in enumerate(admitted):
        circuit, _ = report(circuit, result=Result.FAILURE, generation=admission.generation, token="", now_ms=100 + n)
    assert circuit.status is Status.OPEN


def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_once_more() -> None:
    hour = 3_600_000
    opened = Circuit(status=Status.OPEN, generation=hour, opened_at_ms=hour)
    still, admission, _ = acquire(opened, token="a", lease_ms=5_000, now_ms=1_000, open_ms=30_000)
    assert (admission.admitted, admission.wait_ms) == (False, 30_000)
    half, admission, change = acquire(still, token="a", lease_ms=5_000, now_ms=31_000, open_ms=30_000)
    assert admission.is_probe
    assert change is not None
    assert change.generation > hour
    held, admission, _ = acquire(half, token="b", lease_ms=5_000, now_ms=1_000, open_ms=30_000)
    assert (admission.admitted, admission.wait_ms) == (False, 5_000)
    _, admission, _ = acquire(held, token="b", lease_ms=5_000, now_ms=6_000, open_ms=30_000)
    assert admission.is_probe


def test_a_trip_opens_it_for_its_whole_time_and_probes_decide_afterwards() -> None:
    circuit, transition = trip(Circuit(), now_ms=5, reason="by hand")
    assert transition == Transition(Status.CLOSED, Status.OPEN, "by hand", 5, circuit.generation)
    assert not acquire(circuit, token="a", lease_ms=1, now_ms=6)[1].admitted
    again, nothing = trip(circuit, now_ms=20_000, reason="longer")
    assert nothing is None
    assert again.half_open_at_ms(30_000) == 50_000
    assert acquire(again, token="a", lease_ms=1, now_ms=50_000)[1].is_probe


def test_a_reset_closes_it_and_what_was_under_way_decides_nothing() -> None:
    circuit, transition = reset(opened(now=5), now_ms=6, reason="another key")
    assert transition == Transition(Status.OPEN, Status.CLOSED, "another key", at_ms=6, generation=6)
    assert report(circuit, result=Result.FAILURE, generation=5, token="", now_ms=7) == (circuit, None)
    again, nothing = reset(circuit, now_ms=6, reason="another address")
    assert nothing is None
    assert again.generation == 7


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    with own_server() as services:
        client = redis.Redis.from_url(services.start().redis_url)
        yield client
        client.close()


class Shared:
    """The script on the real server, with the clock given."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.id = uuid4()

    def run(self, verb: str, *arguments: object, now: int | None = None) -> Answer:
        given = script_arguments(verb, self.id, *arguments, now_ms=now)
        raw: list[Any] = self.client.eval(SCRIPT, 3, *script_keys(self.id), *given)
        return answer_of(raw)

    @property
    def state(self) -> Circuit:
        return read_states(self.client, [self.id])[self.id]

    @property
    def is_known(self) -> bool:
        return bool(self.client.exists(circuit_key(self.id)))


class Twins:
    """The machine and the script, taking each step together."""

    def __init__(self, client: redis.Redis) -> None:
        self.shared = Shared(client)
        self.circuit = Circuit()
        self.now = 1_000_000
        self.generations = [0]

    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds

    def acquire(self, token: str, lease: int) -> None:
        self.circuit, admission, transition = acquire(
            self.circuit, token=token, lease_ms=lease, now_ms=self.now, open_ms=OPEN_MS
        )
        answer = self.shared.run("acquire", token, lease, OPEN_MS, now=self.now)
        assert (answer.admission, answer.transition) == (admission, transition)

    def report(self, result: Result, back: int, token: str) -> None:
        generation = self.generations[max(0, len(self.generations) - 1 - back)]
        before = self.circuit if self.shared.is_known else replace(self.circuit, generation=generation)
        after, transition = report(
            before, result=result, generation=generation, token=token, now_ms=self.now, reason="why"
        )
        answer = self.shared.run("report", result.value, generation, token, "why", now=self.now)
        assert answer.transition == transition
        if after != before:
            self.circuit = after

    def probe(self, result: Result) -> None:
        """Take the probe's slot if it is free, and report for it."""
        self.acquire("probe", 1000)
        self.compare()
        self.report(result, 0, "probe")

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.report(Result.FAILURE, 0, "")

    def trip(self) -> None:
        self.circuit, transition = trip(self.circuit, now_ms=self.now, reason="by hand")
        assert self.shared.run("trip", "by hand", now=self.now).transition == transition

    def reset(self) -> None:
        self.circuit, transition = reset(self.circuit, now_ms=self.now, reason="another key")
        assert self.shared.run("reset", "another key", now=self.now).transition == transition

    def compare(self) -> None:
        """Hold the states together; what is plainly closed is forgotten some day, all else is kept and listed."""
        assert asdict(self.shared.state) == asdict(self.circuit)
        if self.circuit.generation != self.generations[-1]:
            assert self.circuit.generation > self.generations[-1]
            self.generations.append(self.circuit.generation)
        plain = self.circuit.status is Status.CLOSED and self.circuit.consecutive_failures == 0
        assert bool(self.shared.client.sismember(ACTIVE, str(self.shared.id))) is not plain
        if self.shared.is_known:
            assert (self.shared.client.ttl(circuit_key(self.shared.id)) > 0) is plain
            assert (self.shared.client.zscore(RECENT, str(self.shared.id)) is not None) is plain


STEP = st.one_of(
    st.tuples(st.just("acquire"), st.sampled_from(["a", "b", "c"]), st.sampled_from([100, 1000])),
    st.tuples(
        st.just("report"),
        st.sampled_from(list(Result)),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.sampled_from(["", "a", "b", "probe"]),
    ),
    st.tuples(st.just("wait"), st.sampled_from([1, 100, 999, 1000, 5000, OPEN_MS, OPEN_MS])),
    st.tuples(st.just("fail"), st.integers(1, 6)),
    st.tuples(st.just("probe"), st.sampled_from([*Result, Result.SUCCESS, Result.SUCCESS])),
    st.tuples(st.just("reset")),
    st.tuples(st.just("trip")),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEP, min_size=10, max_size=60))
def test_the_script_and_the_machine_are_the_same(steps: list[tuple[Any, ...]], server: redis.Redis) -> None:
    twins = Twins(server)
    for name, *arguments in steps:
        getattr(twins, name)(*arguments)
        twins.compare()


def test_a_server_that_has_forgotten_takes_up_where_the_processes_are(server: redis.Redis) -> None:
    shared = Shared(server)
    for _ in range(FAILURE_THRESHOLD):
        shared.run("report", Result.FAILURE.value, 7, "", "500", now=10)
    assert shared.state.status is Status.OPEN
    assert shared.state.generation == 10


def test_a_generation_never_comes_again_after_the_server_has_forgotten(server: redis.Redis) -> None:
    shared = Shared(server)
    before = shared.run("reset", "another key", now=1000).circuit.generation
    server.delete(circuit_key(shared.id))
    for _ in range(FAILURE_THRESHOLD):
        shared.run("report", Result.FAILURE.value, 0, "", "500", now=2000)
    assert shared.state.generation > before


def test_the_list_of_those_that_closed_lately_goes_back_a_day(server: redis.Redis) -> None:
    first, second = Shared(server), Shared(server)
    first.run("reset", "another key", now=1000)
    second.run("reset", "another key", now=1000 + DAY_MS - 1)
    assert server.zscore(RECENT, str(first.id)) == 1000
    second.run("reset", "another key", now=1000 + DAY_MS)
    assert server.zscore(RECENT, str(first.id)) is None
    assert server.zscore(RECENT, str(second.id)) == 1000 + DAY_MS


def test_the_script_goes_by_the_servers_clock(server: redis.Redis) -> None:
    told = Shared(server).run("reset", "another key").circuit.last_at_ms / 1000
    seconds, _ = server.time()
    assert abs(told - seconds) < 2
