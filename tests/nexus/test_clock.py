"""Clocks that are set while a process runs."""

from types import SimpleNamespace
from uuid import UUID

import pytest

from nexus import clock, ids
from nexus.ids import HELD_MS, time_of, uuid7_text


class Wall:
    """A clock on the wall, which the test sets."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def time_ns(self) -> int:
        return self.milliseconds * 1_000_000

    def time(self) -> float:
        return self.milliseconds / 1000


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    made = Wall(1_800_000_000_000)
    monkeypatch.setattr(ids, "time", made)
    monkeypatch.setattr(ids, "_moment", SimpleNamespace(milliseconds=-1, text=""))
    return made


def test_ids_keep_their_order_when_the_clock_is_set_back_a_little(wall: Wall) -> None:
    times = []
    for step in (0, 5, -HELD_MS, 1, 500, HELD_MS - 501, 1, 60_000):
        wall.milliseconds += step
        times.append(time_of(UUID(uuid7_text())))
    assert times == sorted(times)
    assert times[-1].timestamp() == wall.time()


def test_a_clock_that_was_wrong_by_far_is_believed_at_once(wall: Wall) -> None:
    for step in (0, 172_800_000, -172_800_000, -HELD_MS - 1):
        wall.milliseconds += step
        assert time_of(UUID(uuid7_text())).timestamp() == wall.time()


def test_steady_time_is_not_set_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    before = clock.steady_time()
    monkeypatch.setattr("nexus.clock.time.time", lambda: before - 3600)
    assert 0 <= clock.steady_time() - before < 30
