"""The numbers of all processes of a machine: none lost with its process, none counted twice, no total goes back."""

import asyncio
import errno
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import meter_files
from gateway.meter_files import Condition, Publisher, Totals, add_up
from gateway.meters import Meters
from tests.stack import ROOT, eventually


class Workers:
    """Processes that have counted and published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[str]] = []

    def start(self, count: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.meter_worker", str(self.folder), str(count)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "published\n"
        return process

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path / "meters")
    yield made
    made.end()


def counted(folder: Path) -> int:
    totals = add_up(folder)
    found = totals.numbers.circuit_changes.get("open")
    return found.count if found else 0


def files(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir() if path.name not in ("meters.lock", "retired.numbers")}


def test_the_living_are_added_up(workers: Workers) -> None:
    workers.start(3)
    workers.start(4)
    totals = add_up(workers.folder)
    assert counted(workers.folder) == 7
    assert [each.condition.revision for each in totals.living] == [7, 7]
    assert all(each.figures.cpu_seconds > 0 and each.figures.open_files for each in totals.living)
    assert len({each.figures.pid for each in totals.living}) == 2


def test_a_killed_process_stays_counted_and_its_files_go(workers: Workers) -> None:
    dying = workers.start(3)
    workers.start(4)
    dying.kill()
    dying.wait()
    for _ in range(3):
        assert counted(workers.folder) == 7
        assert len(add_up(workers.folder).living) == 1
    assert len(list(workers.folder.glob("*.numbers"))) == 2  # of the living, and the sum of the dead


def test_a_process_that_ends_in_order_stays_counted(workers: Workers) -> None:
    ending = workers.start(5)
    ending.communicate()
    assert ending.returncode == 0
    assert counted(workers.folder) == counted(workers.folder) == 5
    assert files(workers.folder) == set()


def test_many_generations_add_up(workers: Workers) -> None:
    for generation in range(1, 5):
        workers.start(10).kill()
        assert counted(workers.folder) == 10 * generation


def test_a_crash_between_the_sum_and_the_deletion_counts_nothing_twice(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = workers.start(3)
    dying.kill()
    dying.wait()
    with monkeypatch.context() as patch:

        def crash(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "the process dies here")

        patch.setattr(Path, "unlink", crash)
        with pytest.raises(OSError, match="dies here"):
            add_up(workers.folder)
    assert files(workers.folder) == {".lock", ".numbers"}
    assert counted(workers.folder) == counted(workers.folder) == 3
    assert files(workers.folder) == set()


def test_a_sum_that_cannot_be_written_is_told_and_answered_all_the_same(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dying = workers.start(3)
    dying.kill()
    dying.wait()
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(meter_files, "_replace", full)
        assert counted(workers.folder) == counted(workers.folder) == 3
    assert "The sum for /metrics cannot be written." in caplog.messages
    assert counted(workers.folder) == 3


def test_the_file_of_another_version_is_left_out_and_told(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    workers.start(4)
    (path,) = workers.folder.glob("*.numbers")
    strange = path.with_name("host-1-1.numbers")
    strange.write_bytes(b"\x81\xa3new\x01")
    strange.with_suffix(".lock").touch()
    assert counted(workers.folder) == 4
    assert caplog.messages == ["A process of another version is left out of /metrics."]


def test_a_sum_of_another_version_begins_again(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    workers.start(4)
    (workers.folder / "retired.numbers").write_bytes(b"\xc1")
    assert counted(workers.folder) == 4
    assert caplog.messages == ["The sum for /metrics is of another version: the counters begin again."]


def test_only_the_owner_of_the_process_can_read_them(workers: Workers) -> None:
    workers.start(1)
    assert workers.folder.stat().st_mode & 0o777 == 0o700


def condition() -> Condition:
    return Condition(1.0, 7, None, "local", 2, {})


def test_an_answer_holds_what_was_counted_up_to_the_question(tmp_path: Path) -> None:
    meters = Meters()
    publisher = Publisher(tmp_path / "meters", meters, condition)

    async def play() -> list[int]:
        publisher.start(asyncio.get_running_loop())
        told = []
        for _ in range(20):
            meters.count_circuit_change("open")
            told.append((await publisher.totals()).numbers.circuit_changes["open"].count)
        publisher.stop()
        return told

    assert asyncio.run(play()) == list(range(1, 21))


def test_it_publishes_by_itself(tmp_path: Path) -> None:
    meters = Meters()
    publisher = Publisher(tmp_path / "meters", meters, condition)

    async def play() -> Totals:
        publisher.start(asyncio.get_running_loop())
        meters.count_circuit_change("open")

        def published() -> Totals | None:
            totals = add_up(publisher.folder)
            return totals if "open" in totals.numbers.circuit_changes else None

        found = await asyncio.to_thread(eventually, published)
        publisher.stop()
        return found

    totals = asyncio.run(play())
    assert totals.living[0].condition == condition()


def test_a_process_that_begins_again_is_not_counted_twice(tmp_path: Path) -> None:
    meters = Meters()
    publisher = Publisher(tmp_path / "meters", meters, condition)

    async def play() -> None:
        publisher.start(asyncio.get_running_loop())
        meters.count_circuit_change("open")
        publisher.stop()

    asyncio.run(play())
    asyncio.run(play())
    assert counted(publisher.folder) == 2


def test_a_folder_that_cannot_be_made_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    publisher = Publisher(tmp_path / "file" / "meters", Meters(), condition)

    async def play() -> None:
        publisher.start(asyncio.get_running_loop())
        with pytest.raises(OSError, match="Not a directory"):
            await publisher.totals()
        publisher.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(play())
    assert caplog.messages == ["There are no numbers for /metrics of this process."]
