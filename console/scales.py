"""Axes: round numbers for values, round times for hours and days. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400  # seconds
_TIME_STEPS = (
    15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE,
    _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
    _DAY, 2 * _DAY, 5 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY,
)  # fmt: skip


def nice_ticks(top: float, *, at_most: int = 4, whole: bool = False) -> list[float]:
    """Return round values from 0 up to the first at or above `top`, in at most `at_most` steps.

    `whole`: counts, which have no halves. Nothing to show gives 0 and 1.
    """
    if top <= 0 or not math.isfinite(top):
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(top / at_most))
    step = next(
        base * size * scale
        for scale in (1.0, 10.0)
        for base in _STEPS
        if base * size * scale * at_most >= top * (1 - 1e-9)
    )
    if whole and step < 1:
        step = 1.0
    elif whole and step != int(step):
        step = math.ceil(step)
    return [step * number for number in range(math.ceil(top / step - 1e-6) + 1)]


def time_ticks(since: datetime, until: datetime, *, zone: tzinfo = UTC, at_most: int = 7) -> list[tuple[datetime, str]]:
    """Return round moments of the zone's clock within the span, each with its label: an hour, or a date at midnight."""
    span = (until - since).total_seconds()
    step = next((each for each in _TIME_STEPS if span / each <= at_most), _TIME_STEPS[-1])
    midnight = since.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    ticks: list[tuple[datetime, str]] = []
    number = 0
    while True:
        # Wall-clock arithmetic: days of 23 and 25 hours still begin at midnight.
        local = (midnight.replace(tzinfo=None) + timedelta(seconds=step * number)).replace(tzinfo=zone)
        number += 1
        moment = local.astimezone(UTC)
        if moment >= until:
            return ticks
        if moment >= since:
            ticks.append((moment, _label(local, step)))


def position(moment: datetime, since: datetime, until: datetime) -> float:
    """Return where a moment lies in a span, 0 to 100."""
    return 100.0 * (moment - since).total_seconds() / (until - since).total_seconds()


def highest(columns: Sequence[Sequence[float | None]]) -> float:
    """Return the largest value that is known, 0 without any."""
    return max((value for column in columns for value in column if value is not None), default=0.0)


def _label(local: datetime, step: int) -> str:
    if local.hour == local.minute == local.second == 0:
        return f"{local.day} {local:%b}"
    return f"{local:%H:%M:%S}" if step < _MINUTE else f"{local:%H:%M}"
