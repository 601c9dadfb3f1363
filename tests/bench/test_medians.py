"""The arithmetic of the reports."""

import msgspec
import pytest

from bench.medians import table_of
from bench.result import LoadFigures, Measurement

QUIET = LoadFigures(
    connections=1, stream=False, seconds=1, ok=100, errors=0, bad_status=0, bad_connection=0, no_done=0,
    first_bad_status=0, rps=100, mean_us=1000, p50_us=1000, p90_us=1000, p99_us=2000, p999_us=2000, max_us=2000,
    ttfb_p50_us=500, ttfb_p99_us=600, events=0, missed=0, total=110, abandoned=0,
)  # fmt: skip


def measured(target: str, number: int = 0, *, cpu_us: float | None = None, **figures: float) -> Measurement:
    return Measurement(target, "n1", number, cpu_us, True, msgspec.structs.replace(QUIET, **figures))


def test_a_figure_is_the_median_of_the_rounds_and_errors_are_their_sum() -> None:
    table = table_of(
        [
            measured("nexus", 0, rps=10, cpu_us=70, errors=1),
            measured("nexus", 1, rps=90, cpu_us=50),
            measured("nexus", 2, rps=30, cpu_us=60, errors=2),
        ]
    )
    cell = table.cells["nexus", "n1"]
    assert (cell.rps, cell.cpu_us, cell.errors) == (30, 60, 3)


def test_added_time_is_what_the_direct_call_does_not_take() -> None:
    table = table_of([measured("direct", p99_us=2000), measured("nexus", p99_us=2750)])
    assert table.added_ms("nexus", "n1", "p99_ms") == pytest.approx(0.75)


def test_without_a_direct_call_nothing_is_said_of_added_time() -> None:
    assert table_of([measured("nexus")]).added_ms("nexus", "n1", "p50_ms") is None


def test_a_round_in_which_nothing_finished_has_no_times() -> None:
    table = table_of([measured("nexus", 0, p50_us=4000), measured("nexus", 1, ok=0, rps=0, p50_us=0, errors=5)])
    cell = table.cells["nexus", "n1"]
    assert (cell.p50_ms, cell.errors) == (4.0, 5)


def test_a_ratio_to_a_figure_that_was_not_measured_is_not_told() -> None:
    table = table_of([measured("nexus", cpu_us=60), measured("direct")])
    assert table.ratio("nexus", "direct", "n1", "cpu_us") is None
    assert table.ratio("nexus", "direct", "n1", "rps") == 1
