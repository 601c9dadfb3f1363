"""One circuit, many processes: real ones, on a real server, some of them killed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from gateway.circuit_store import read_states
from nexus.redis_clients import sync_client
from tests.gateway.boards import OPEN_SECONDS, own_server

ROOT = Path(__file__).parents[2]


class Process:
    """A worker process, as the test leads it."""

    def __init__(self, url: str, open_seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.circuit_worker", url, str(open_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def wait_until_ready(self) -> None:
        assert self.answer() == "ready"

    def ask(self, name: str, id_: UUID, *arguments: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, str(id_), *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tell(self, name: str, id_: UUID, *arguments: object) -> Any:
        self.ask(name, id_, *arguments)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it by the end of its input; it must go by itself."""
        if self._process.poll() is None:
            self._process.communicate(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


Start = Callable[..., list[Process]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_server() as services:
        yield services.start().redis_url


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    started: list[Process] = []

    def begin(count: int, *, open_seconds: float = OPEN_SECONDS) -> list[Process]:
        new = [Process(url, open_seconds) for _ in range(count)]
        started.extend(new)
        for process in new:
            process.wait_until_ready()
        return new

    yield begin
    for process in started:
        process.close()


def until(look: Callable[[], bool], what: str, *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def take_probe(process: Process, id_: UUID, *, lease: float = 5) -> None:
    until(lambda: process.tell("acquire", id_, lease) == "probe", "the probe")


def transitions(processes: list[Process], id_: UUID) -> list[tuple[str, str, int]]:
    """Return what all processes told, in the order of generations."""
    told = [tuple(change) for process in processes for change in process.tell("seen", id_)]
    return sorted(told, key=lambda change: change[2])


def test_five_failures_spread_over_four_processes_open_it_for_all(start: Start) -> None:
    processes, id_ = start(4, open_seconds=30), uuid4()
    for n in range(5):
        assert processes[n % 4].tell("acquire", id_, 1) == "closed"
        processes[n % 4].tell("report", id_, "failure")
    for process in processes:
        until(partial(process.tell, "is_open", id_), "the open circuit")
        assert process.tell("acquire", id_, 1) == "refused"
    assert [(was, now) for was, now, _ in transitions(processes, id_)] == [("closed", "open")]


def test_failures_admitted_before_any_was_known_all_count(start: Start) -> None:
    processes, id_ = start(5, open_seconds=30), uuid4()
    for process in processes:
        assert process.tell("acquire", id_, 1) == "closed"
    for process in processes:
        process.ask("report", id_, "failure")
    for process in processes:
        process.answer()
    until(partial(processes[0].tell, "is_open", id_), "the open circuit")


def test_client_errors_never_open_it_and_do_not_reset(start: Start, url: str) -> None:
    processes, id_ = start(4, open_seconds=30), uuid4()
    for process in processes:
        process.ask("times", id_, "neutral", 500)
    assert {leave for process in processes for leave in process.answer()} == {"closed"}
    assert transitions(processes, id_) == []
    processes[0].tell("times", id_, "failure", 4)
    processes[1].tell("times", id_, "neutral", 100)
    assert read_states(sync_client(url), [id_])[id_].consecutive_failures == 4
    processes[2].tell("times", id_, "failure", 1)
    until(partial(processes[3].tell, "is_open", id_), "the open circuit")


def test_a_success_in_one_process_resets_the_failures_of_another(start: Start, url: str) -> None:
    (failing, healthy), id_ = start(2, open_seconds=30), uuid4()

    def count() -> int:
        return read_states(sync_client(url), [id_])[id_].consecutive_failures

    def succeeded() -> bool:
        healthy.tell("times", id_, "success", 1)
        return count() == 0

    failing.tell("times", id_, "failure", 4)
    assert count() == 4
    until(succeeded, "the reset")
    failing.tell("times", id_, "failure", 4)
    assert failing.tell("is_closed", id_)


def test_eight_processes_hammering_send_one_probe_at_a_time(start: Start) -> None:
    processes, id_ = start(8, open_seconds=0.05), uuid4()
    probes: list[Any] = []
    for again in range(8):  # a crowded machine needs more than one time
        for n, process in enumerate(processes):
            process.ask("hammer", id_, 2.5, 10, n + again)
        probes += [tuple(probe) for process in processes for probe in process.answer()]
        if len(probes) >= 15:
            break
    probes.sort()
    assert len(probes) >= 15
    for (_, ended, *_), (began, *_) in pairwise(probes):
        assert began > ended, "two probes at once"
    changes = transitions(processes, id_)
    assert changes[0][:2] == ("closed", "open")
    for (_, now, _), (was, _, _) in pairwise(changes):
        assert now == was, "a transition was told twice, or not at all"
    results = {generation: [r for _, _, r, of in probes if of == generation] for *_, generation in probes}
    for (_, _, begun), (_, ended_as, _) in pairwise(changes):
        if begun in results:  # a half-open time: decided by its first failure or its second success
            decided = [result for result in results[begun] if result != "neutral"]
            ways = {"closed": [["success", "success"]], "open": [["failure"], ["success", "failure"]]}
            assert decided in ways[ended_as]
    assert "closed" in {now for _, now, _ in changes}


def test_the_slot_of_a_killed_process_is_free_when_its_lease_ends(start: Start) -> None:
    (doomed, heir), id_ = start(2), uuid4()
    doomed.tell("times", id_, "failure", 5)
    take_probe(doomed, id_, lease=0.6)
    taken = time.monotonic()
    doomed.kill()
    assert heir.tell("acquire", id_, 5) == "refused"
    take_probe(heir, id_)
    waited = time.monotonic() - taken
    assert 0.5 < waited < 1.6
    heir.tell("report", id_, "success")
    take_probe(heir, id_)
    heir.tell("report", id_, "success")
    assert heir.tell("is_closed", id_)


def test_two_successes_in_two_processes_close_it_for_all(start: Start) -> None:
    processes, id_ = start(3), uuid4()
    processes[0].tell("times", id_, "failure", 5)
    for process in processes[:2]:
        take_probe(process, id_)
        process.tell("report", id_, "success")
    for process in processes:
        until(partial(process.tell, "is_closed", id_), "the closed circuit")
    assert [now for _, now, _ in transitions(processes, id_)] == ["open", "half_open", "closed"]


@pytest.mark.parametrize("late", ["success", "failure"])
def test_a_result_from_before_the_opening_decides_nothing(start: Start, url: str, late: str) -> None:
    (slow, quick), id_ = start(2), uuid4()
    assert slow.tell("acquire", id_, 1) == "closed"
    quick.tell("times", id_, "failure", 5)

    def state() -> Any:
        return read_states(sync_client(url), [id_])[id_]

    opened = state()
    slow.tell("report", id_, late)
    assert state() == opened
    take_probe(quick, id_)
    probing = state()
    slow.tell("report", id_, late)
    assert state() == probing
    quick.tell("report", id_, "success")
    take_probe(quick, id_)
    quick.tell("report", id_, "success")
    closed = state()
    slow.tell("report", id_, late)
    assert state() == closed
