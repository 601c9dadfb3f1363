"""The circuit breaker's machine, alone and step by step beside the script that all processes share."""

import os
from collections.abc import Iterator
from dataclasses import asdict
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
)
from gateway.circuit_store import _SCRIPT, ACTIVE, circuit_key, read_states

OPEN_MS = OPEN_SECONDS * 1000


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
        Status.CLOSED, Status.OPEN, "5 consecutive failures, the last: timeout", at_ms=7, generation=1
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
    once, transition = report(probing(), result=Result.SUCCESS, generation=2, token="p", now_ms=OPEN_MS)
    assert transition is None
    again, admission, _ = acquire(once, token="q", lease_ms=1000, now_ms=OPEN_MS)
    assert admission.is_probe
    closed, transition = report(again, result=Result.SUCCESS, generation=2, token="q", now_ms=OPEN_MS)
    assert closed.status is Status.CLOSED
    assert closed.consecutive_failures == 0
    assert transition is not None


def test_a_failed_probe_opens_it_for_another_thirty_seconds() -> None:
    circuit, transition = report(
        probing(), result=Result.FAILURE, generation=2, token="p", now_ms=OPEN_MS + 5, reason="503"
    )
    assert (circuit.status, circuit.opened_at_ms) == (Status.OPEN, OPEN_MS + 5)
    assert transition is not None
    assert transition.reason == "the probe failed: 503"


def test_a_neutral_probe_frees_the_slot_and_decides_nothing() -> None:
    freed, transition = report(probing(), result=Result.NEUTRAL, generation=2, token="p", now_ms=OPEN_MS)
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
        assert report(circuit, result=Result.FAILURE, generation=2, token=token, now_ms=OPEN_MS) == (circuit, None)


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    yield client
    client.close()


class Shared:
    """The script on the real server, with the clock given, as the machine's twin."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.id = uuid4()

    def run(self, verb: str, now: int, *arguments: object) -> list[Any]:
        keys = (circuit_key(self.id), ACTIVE)
        answer: list[Any] = self.client.eval(_SCRIPT, 2, *keys, verb, str(self.id), str(now), *map(str, arguments))
        return answer

    @property
    def state(self) -> Circuit:
        return read_states(self.client, [self.id])[self.id]


STEP = st.one_of(
    st.tuples(st.just("acquire"), st.sampled_from(["a", "b", "c"]), st.sampled_from([100, 1000])),
    st.tuples(
        st.just("report"), st.sampled_from(list(Result)), st.integers(-2, 0), st.sampled_from(["", "a", "b", "c"])
    ),
    st.tuples(st.just("wait"), st.sampled_from([1, 100, 999, 1000, 5000, OPEN_MS])),
    st.tuples(st.just("burst"), st.integers(1, 6)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=60))
def test_the_script_and_the_machine_are_the_same(steps: list[tuple[Any, ...]], server: redis.Redis) -> None:
    shared, circuit, now = Shared(server), Circuit(), 1_000_000
    for step in steps:
        match step:
            case ("wait", milliseconds):
                now += milliseconds
            case ("acquire", token, lease):
                circuit, admission, transition = acquire(circuit, token=token, lease_ms=lease, now_ms=now)
                answer = shared.run("acquire", now, token, lease, OPEN_MS)
                assert [bool(answer[0]), bool(answer[1]), answer[2]] == [
                    admission.admitted,
                    admission.is_probe,
                    admission.wait_ms,
                ]
                assert bool(answer[3]) == (transition is not None)
            case ("report", result, age, token):
                circuit = both_report(shared, circuit, result, circuit.generation + age, token, now)
            case ("burst", times):
                for _ in range(times):
                    circuit = both_report(shared, circuit, Result.FAILURE, circuit.generation, "", now)
        if shared.client.exists(circuit_key(shared.id)):
            assert asdict(shared.state) == asdict(circuit)
        else:
            assert circuit == Circuit()


def both_report(shared: Shared, circuit: Circuit, result: Result, generation: int, token: str, now: int) -> Circuit:
    if generation != circuit.generation and not shared.client.exists(circuit_key(shared.id)):
        return circuit  # a server that has forgotten a circuit takes up the reporter's generation: its own test below
    after, transition = report(circuit, result=result, generation=generation, token=token, now_ms=now, reason="why")
    answer = shared.run("report", now, result.value, generation, token, "why")
    assert bool(answer[3]) == (transition is not None)
    if transition is not None:
        assert answer[4].decode() == transition.reason
    return after


def test_a_server_that_has_forgotten_takes_up_where_the_processes_are(server: redis.Redis) -> None:
    shared = Shared(server)
    for _ in range(FAILURE_THRESHOLD):
        shared.run("report", 1, Result.FAILURE.value, 7, "", "500")
    assert shared.state.status is Status.OPEN
    assert shared.state.generation == 8
