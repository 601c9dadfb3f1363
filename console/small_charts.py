"""Charts without axes: sparklines, little bars, strips of states and of heat. Pure; see console.charts.

They stand beside a figure that says the same in words, so they are hidden from readers, or carry one sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from console.scales import position

LEVELS = 5


@dataclass(frozen=True, slots=True)
class Spark:
    """A sparkline, in pixels."""

    width: int
    height: int
    slot: int | str
    line: str = ""
    area: str = ""
    bars: str = ""
    end: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of a strip, in percent, with its state and a sentence."""

    x: float
    width: float
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class HeatCell:
    x: float
    width: float
    level: int  # 0: nothing, to LEVELS
    label: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Bands or cells side by side, with the sentence that a reader hears."""

    summary: str
    bands: tuple[Band, ...] = ()
    cells: tuple[HeatCell, ...] = ()


def sparkline(values: Sequence[float | None], *, slot: int | str = 1, width: int = 92, height: int = 26) -> Spark:
    """Return a line over its area, with a dot at the last value. Unknown values are left out."""
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return Spark(width, height, slot)
    low, high = min(value for _, value in known), max(value for _, value in known)
    reach = (high - low) or 1.0
    room = width - 4
    points = [
        (room * index / (len(values) - 1), 3 + (height - 6) * (1 - (value - low) / reach) if high > low else height / 2)
        for index, value in known
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    area = f"{line}L{points[-1][0]:.1f} {height}L{points[0][0]:.1f} {height}z"
    end = (round(points[-1][0], 1), round(points[-1][1], 1))
    return Spark(width, height, slot, line=line, area=area, end=end)


def spark_bars(values: Sequence[float], *, slot: int | str = 5, width: int = 92, height: int = 26) -> Spark:
    """Return little bars; whatever is not zero can be seen."""
    if not values:
        return Spark(width, height, slot)
    top = max(values) or 1.0
    step = width / len(values)
    bars = []
    for index, value in enumerate(values):
        tall = max(height * value / top, 2.0) if value > 0 else 1.0
        bars.append(f"M{index * step:.1f} {height}h{step * 0.68:.1f}v-{tall:.1f}h-{step * 0.68:.1f}z")
    return Spark(width, height, slot, bars="".join(bars))


def state_strip(changes: Sequence[tuple[datetime, str]], *, since: datetime, until: datetime, summary: str) -> Strip:
    """Return a strip of states from the moments at which they began, oldest first.

    The first may lie before `since`; before it nothing is known.
    """
    bands = []
    ends = [moment for moment, _ in changes[1:]] + [until]
    for (begin, state), end in zip(changes, ends, strict=True):
        first, last = max(begin, since), min(end, until)
        if first < last:
            x = position(first, since, until)
            label = f"{state.replace('_', '-')} {first:%H:%M:%S} to {last:%H:%M:%S} UTC"
            bands.append(Band(round(x, 3), round(max(position(last, since, until) - x, 0.3), 3), state, label))
    return Strip(summary, bands=tuple(bands))


def heat_strip(values: Sequence[float | None], labels: Sequence[str], *, summary: str) -> Strip:
    """Return cells whose depth says how large a value is, against the largest."""
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    share = 100.0 / max(len(values), 1)
    cells = []
    for index, (value, label) in enumerate(zip(values, labels, strict=True)):
        level = 0 if not value else min(LEVELS, 1 + int((LEVELS - 1e-9) * value / top))
        cells.append(HeatCell(round(index * share, 3), round(share, 3), level, label))
    return Strip(summary, cells=tuple(cells))
