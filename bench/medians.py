"""The figures of a run as reports want them: medians over the rounds, differences and ratios. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.result import Measurement

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Cell:
    """One target in one scenario: medians over the rounds. What cannot be told is None. Times are milliseconds."""

    rps: float | None
    p50_ms: float | None
    p99_ms: float | None
    ttfb_p50_ms: float | None
    ttfb_p99_ms: float | None
    cpu_us: float | None
    errors: int
    undrained: int  # rounds in which the work left to others was not done in time

    @property
    def finished_any(self) -> bool:
        return self.rps is not None


@dataclass(frozen=True, slots=True)
class Table:
    """All cells of a run, targets and scenarios in the order in which they were measured."""

    targets: tuple[str, ...]
    scenarios: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]

    def added_ms(self, target: str, scenario: str, figure: str) -> float | None:
        """Return how much more a figure in milliseconds is than that of the direct call."""
        if (DIRECT, scenario) not in self.cells:
            return None
        here = getattr(self.cells[target, scenario], figure)
        there = getattr(self.cells[DIRECT, scenario], figure)
        return here - there if here is not None and there is not None else None

    def ratio(self, target: str, other: str, scenario: str, figure: str) -> float | None:
        """Return a figure of a target as a multiple of another's."""
        here = getattr(self.cells[target, scenario], figure)
        there = getattr(self.cells[other, scenario], figure)
        return here / there if here is not None and there else None


def table_of(measurements: Sequence[Measurement]) -> Table:
    """Gather measurements into a table."""
    targets = tuple(dict.fromkeys(one.target for one in measurements))
    scenarios = tuple(dict.fromkeys(one.scenario for one in measurements))
    cells = {
        (target, scenario): _cell([one for one in measurements if (one.target, one.scenario) == (target, scenario)])
        for target in targets
        for scenario in scenarios
    }
    return Table(targets, scenarios, cells)


def _cell(rounds: Sequence[Measurement]) -> Cell:
    # A round in which nothing finished has no times; that is not a time of zero.
    told = [one for one in rounds if one.load.ok]
    return Cell(
        rps=_median(one.load.rps for one in told),
        p50_ms=_median(one.load.p50_us / 1000 for one in told),
        p99_ms=_median(one.load.p99_us / 1000 for one in told),
        ttfb_p50_ms=_median(one.load.ttfb_p50_us / 1000 for one in told),
        ttfb_p99_ms=_median(one.load.ttfb_p99_us / 1000 for one in told),
        cpu_us=_median(one.cpu_us for one in rounds if one.cpu_us is not None),
        errors=sum(one.load.errors for one in rounds),
        undrained=sum(not one.drained for one in rounds),
    )


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None
