"""Axes: round numbers and round times."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.scales import nice_ticks, position, time_ticks

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("top", "ticks"),
    [
        (2_870, [0, 1_000, 2_000, 3_000]),
        (100, [0, 25, 50, 75, 100]),
        (0.37, [0, 0.1, 0.2, 0.3, 0.4]),
        (0, [0, 1]),
        (float("nan"), [0, 1]),
    ],
)
def test_values_get_round_ticks_that_reach_the_highest(top: float, ticks: list[float]) -> None:
    assert nice_ticks(top) == pytest.approx(ticks)


def test_counts_have_no_halves() -> None:
    assert nice_ticks(2, whole=True) == [0, 1, 2]
    assert all(tick == int(tick) for tick in nice_ticks(9, whole=True))


@given(st.floats(min_value=1e-9, max_value=1e15))
def test_ticks_are_few_even_and_high_enough(top: float) -> None:
    ticks = nice_ticks(top)
    assert 2 <= len(ticks) <= 5
    assert ticks[0] == 0
    assert ticks[-1] >= top * (1 - 1e-6)
    assert ticks[1] - ticks[0] == pytest.approx(ticks[-1] - ticks[-2])


def test_hours_are_told_on_the_hour() -> None:
    ticks = time_ticks(NOON + timedelta(minutes=25), NOON + timedelta(hours=6, minutes=20))
    assert [label for _, label in ticks] == ["13:00", "14:00", "15:00", "16:00", "17:00", "18:00"]


def test_midnight_is_told_as_a_date_in_the_zone_of_the_viewer() -> None:
    ticks = time_ticks(NOON, NOON + timedelta(days=1), zone=ZoneInfo("Asia/Kolkata"))
    midnight = next(moment for moment, label in ticks if label == "25 Nov")
    assert midnight == datetime(2026, 11, 24, 18, 30, tzinfo=UTC)


def test_a_day_of_25_hours_still_begins_at_midnight() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    ticks = time_ticks(datetime(2026, 10, 23, tzinfo=UTC), datetime(2026, 10, 28, tzinfo=UTC), zone=berlin)
    assert [label for _, label in ticks] == ["24 Oct", "25 Oct", "26 Oct", "27 Oct", "28 Oct"]
    assert {moment.astimezone(berlin).hour for moment, _ in ticks} == {0}


def test_a_position_is_a_percentage_of_the_span() -> None:
    assert position(NOON + timedelta(hours=1), NOON, NOON + timedelta(hours=4)) == 25
