"""Charts over time as SVG: numbers in, a structure that `ui/chart.html` prints out. Pure.

A path's coordinates lie in a box of WIDTH by the chart's height, stretched to the width there is; everything with text
lies in percent across and in pixels down, so that no letter is ever stretched. Series have slots, which CSS gives a
colour: 1 to 5, or "ok", "warn", "bad" where the series is a state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from console.formats import UNKNOWN, compact, thousands
from console.scales import highest, nice_ticks, position, time_ticks

WIDTH = 1000.0
HEIGHT = 214  # pixels of the plot, without its axis
OTHERS = 5  # the slot of everything that has none of its own
_GAP = 0.22  # of a bar's step
_SLIT = 0.9  # pixels between the parts of a stack
_HEADROOM = 0.92  # how much of the height the highest value may take
_LETTER = 5.2  # pixels, the mean width of a marker's letters


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers, one for each bucket; None where nothing is known, which is not zero."""

    name: str
    values: Sequence[float | None]
    slot: int | str = 1


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that happened at a moment: "13:57 circuit opened"."""

    at: datetime
    label: str
    tone: str = "bad"


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis: `at` in pixels from the top, or in percent from the left."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Path:
    """The shape of a series. `area` is filled; `line` is stroked."""

    slot: int | str
    area: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """A marker as it is drawn: the label's box to the left of its line, or to the right of it near the left edge."""

    at: float
    label: str
    tone: str
    box_x: float
    box_width: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A bar that is a link, and says its numbers: the bars of such a chart are its table."""

    url: str
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table that holds the same numbers."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """All that the template prints."""

    kind: str  # bars, lines
    title: str
    summary: str
    height: int
    series: tuple[Series, ...]
    paths: tuple[Path, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]
    flags: tuple[Flag, ...] = ()
    hits: tuple[Hit, ...] = ()
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """What charts over the same time have in common: the starts of their buckets, of equal length, and a zone."""

    buckets: Sequence[datetime]
    step: timedelta
    zone: tzinfo = UTC
    height: int = HEIGHT
    markers: Sequence[Marker] = ()
    show: Callable[[float], str] = thousands  # a value, in the table and under the pointer
    axis: Callable[[float], str] = compact  # a value, on the axis
    whole: bool = False
    links: Sequence[str] = field(default=())  # one for each bucket: bars that lead somewhere

    @property
    def since(self) -> datetime:
        return self.buckets[0]

    @property
    def until(self) -> datetime:
        return self.buckets[-1] + self.step


def stacked_bars(frame: Frame, series: Sequence[Series], *, title: str, summary: str) -> Chart:
    """Return bars that stand on one another. One path per series, not one shape per bar."""
    tops = [[0.0] * len(frame.buckets)]
    for each in series:
        tops.append([below + (value or 0.0) for below, value in zip(tops[-1], each.values, strict=True)])
    scale = _Scale.up_to(highest(tops), frame)
    step = WIDTH / len(frame.buckets)
    paths = []
    for number, each in enumerate(series):
        slit = _SLIT if number else 0.0
        bars = (
            _bar(index * step, step, scale.y(low) - slit, scale.y(high))
            for index, (low, high) in enumerate(zip(tops[number], tops[number + 1], strict=True))
            if high > low
        )
        paths.append(Path(each.slot, area="".join(bars)))
    return _chart("bars", frame, series, paths, scale, title=title, summary=summary)


def lines(frame: Frame, series: Sequence[Series], *, title: str, summary: str, filled: bool = False) -> Chart:
    """Return lines, broken where a value is unknown; `filled` puts a soft area under each."""
    scale = _Scale.up_to(highest([each.values for each in series]), frame)
    step = WIDTH / len(frame.buckets)
    paths = []
    for each in series:
        runs = list(_runs([(step * (index + 0.5), value) for index, value in enumerate(each.values)], scale))
        area = "".join(_under(run, float(frame.height)) for run in runs) if filled else ""
        paths.append(Path(each.slot, area=area, line="".join(map(_line, runs))))
    return _chart("lines", frame, series, paths, scale, title=title, summary=summary)


def histogram(frame: Frame, series: Sequence[Series], *, title: str, summary: str) -> Chart:
    """Return a low strip of bars without lines behind them, as it stands above a list that it filters.

    Each bar is one element, a link that says its numbers, so that the strip weighs little beside its list.
    """
    made = stacked_bars(frame, series, title=title, summary=summary)
    return Chart(**{name: getattr(made, name) for name in made.__dataclass_fields__} | {"kind": "histogram"})


def keep_largest(series: Sequence[Series], *, most: int = OTHERS - 1) -> list[Series]:
    """Return the largest series with slots 1 to 4 and the sum of the rest in the last, which is the colour of others.

    Slots go by name among those kept, so that a provider keeps its colour while shares change from hour to hour.
    """
    ranked = sorted(series, key=lambda each: (-sum(value or 0.0 for value in each.values), each.name))
    kept = sorted(ranked[:most], key=lambda each: each.name)
    made = [Series(each.name, each.values, slot) for slot, each in enumerate(kept, start=1)]
    rest = ranked[most:]
    if rest:
        sums = [sum(value or 0.0 for value in column) for column in zip(*(each.values for each in rest), strict=True)]
        made.append(Series(rest[0].name if len(rest) == 1 else f"{len(rest)} others", sums, OTHERS))
    return made


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels from the top."""

    ticks: Sequence[float]
    top: float
    height: int

    @classmethod
    def up_to(cls, value: float, frame: Frame) -> "_Scale":
        ticks = nice_ticks(value, whole=frame.whole)
        if ticks[-1] > value / _HEADROOM and len(ticks) > 2:
            ticks = ticks[:-1]
        return cls(ticks, max(ticks[-1], value / _HEADROOM), frame.height)

    def y(self, value: float) -> float:
        return self.height * (1 - value / self.top)


def _chart(
    kind: str, frame: Frame, series: Sequence[Series], paths: Sequence[Path], scale: _Scale, *, title: str, summary: str
) -> Chart:
    return Chart(
        kind=kind,
        title=title,
        summary=summary,
        height=frame.height,
        series=tuple(series),
        paths=tuple(paths),
        y_ticks=tuple(Tick(round(scale.y(value), 1), frame.axis(value)) for value in scale.ticks),
        x_ticks=tuple(
            Tick(round(position(moment, frame.since, frame.until), 2), label)
            for moment, label in time_ticks(frame.since, frame.until, zone=frame.zone)
        ),
        rows=tuple(_rows(frame, series)),
        flags=tuple(_flag(marker, frame) for marker in frame.markers if frame.since <= marker.at < frame.until),
        hits=tuple(_hits(frame, series)),
        empty=not any(value for each in series for value in each.values),
    )


def _rows(frame: Frame, series: Sequence[Series]) -> list[Row]:
    long = frame.until - frame.since > timedelta(days=1)
    rows = []
    for index, start in enumerate(frame.buckets):
        local = start.astimezone(frame.zone)
        clock = f"{local:%H:%M:%S}" if frame.step < timedelta(minutes=1) else f"{local:%H:%M}"
        label = f"{local.day} {local:%b} {clock}" if long else clock
        values = (each.values[index] for each in series)
        rows.append(Row(label, tuple(UNKNOWN if value is None else frame.show(value) for value in values)))
    return rows


def _flag(marker: Marker, frame: Frame) -> Flag:
    at = round(position(marker.at, frame.since, frame.until), 2)
    width = round(len(marker.label) * _LETTER + 12, 1)
    return Flag(at, marker.label, marker.tone, box_x=-width - 7 if at > 40 else 7, box_width=width)


def _hits(frame: Frame, series: Sequence[Series]) -> list[Hit]:
    if not frame.links:
        return []
    names = [each.name.lower() for each in series]

    def told(row: Row) -> str:
        return f"{row.label}: " + ", ".join(f"{cell} {name}" for cell, name in zip(row.cells, names, strict=True))

    return [Hit(url, told(row)) for url, row in zip(frame.links, _rows(frame, series), strict=True)]


def _bar(x: float, step: float, bottom: float, top: float) -> str:
    if bottom <= top:  # thinner than the slit: still a line that can be seen
        bottom = top + 0.5
    return f"M{x + step * _GAP / 2:.1f} {bottom:.1f}h{step * (1 - _GAP):.1f}V{top:.1f}h-{step * (1 - _GAP):.1f}z"


def _runs(points: Sequence[tuple[float, float | None]], scale: _Scale) -> list[list[tuple[float, float]]]:
    """Return the stretches of known values."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((x, scale.y(value)))
    return [run for run in runs if run]


def _line(run: Sequence[tuple[float, float]]) -> str:
    if len(run) == 1:  # a single known value is a dot
        return f"M{run[0][0]:.1f} {run[0][1]:.1f}h.1"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)


def _under(run: Sequence[tuple[float, float]], floor: float) -> str:
    return f"{_line(run)}L{run[-1][0]:.1f} {floor:.1f}L{run[0][0]:.1f} {floor:.1f}z"


def totals(series: Sequence[Series]) -> float:
    """Return the sum of all known values."""
    return sum(value or 0.0 for each in series for value in each.values)
