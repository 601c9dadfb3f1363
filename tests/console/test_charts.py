"""Charts: what they draw, and that their table says the same."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template.loader import render_to_string

from console import charts
from console.charts import Frame, Marker, Series
from console.formats import duration
from console.small_charts import heat_strip, spark_bars, sparkline, state_strip

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def frame(count: int = 4, **more: object) -> Frame:
    return Frame([NOON + HOUR * number for number in range(count)], HOUR, **more)  # type: ignore[arg-type]


def heights(path: str) -> list[float]:
    """Return the height of each bar of a path."""
    return [float(bottom) - float(top) for bottom, top in re.findall(r"M[\d.]+ ([\d.]+)h[\d.]+V([\d.]+)", path)]


def test_bars_stand_on_one_another_in_proportion() -> None:
    made = charts.stacked_bars(
        frame(), [Series("a", [10, 20, 0, 40]), Series("b", [10, 0, 0, 40], 2)], title="t", summary="s"
    )
    lower, upper = (heights(path.area) for path in made.paths)
    assert len(lower) == 3  # nothing is drawn for zero
    assert lower[1] == pytest.approx(lower[0] * 2, abs=0.2)
    assert lower[2] == pytest.approx(lower[0] * 4, abs=0.3)
    assert upper[0] == pytest.approx(lower[0], abs=1.0)  # less the slit between them
    assert len(made.paths) == 2  # one path per series, not one shape per bar


def test_the_highest_bar_stays_below_the_top() -> None:
    for top in (7, 99, 100, 2_870):
        made = charts.stacked_bars(frame(1), [Series("a", [top])], title="t", summary="s")
        (height,) = heights(made.paths[0].area)
        assert made.height * 0.4 < height <= made.height
        assert 0 <= min(tick.at for tick in made.y_ticks) <= max(tick.at for tick in made.y_ticks) <= made.height


def test_a_line_is_broken_where_nothing_is_known() -> None:
    made = charts.lines(frame(5), [Series("p95", [1, 2, None, 4, 5])], title="t", summary="s", filled=True)
    assert made.paths[0].line.count("M") == 2
    assert made.paths[0].area.count("z") == 2
    assert made.rows[2].cells == ("—",)


def test_a_single_known_value_can_still_be_seen() -> None:
    made = charts.lines(frame(3), [Series("p95", [None, 2, None])], title="t", summary="s")
    assert re.fullmatch(r"M500\.0 [\d.]+h\.1", made.paths[0].line)


def test_the_table_holds_the_same_numbers() -> None:
    made = charts.lines(frame(2, show=duration), [Series("p95", [487, 1_840])], title="t", summary="s")
    assert [(row.label, row.cells) for row in made.rows] == [("12:00", ("487 ms",)), ("13:00", ("1.84 s",))]


def test_over_more_than_a_day_the_table_names_the_date() -> None:
    made = charts.stacked_bars(frame(30), [Series("a", [1] * 30)], title="t", summary="s")
    assert made.rows[0].label == "24 Nov 12:00"


def test_markers_outside_the_span_are_left_out() -> None:
    markers = [Marker(NOON - HOUR, "before"), Marker(NOON + HOUR, "inside"), Marker(NOON + 4 * HOUR, "after")]
    made = charts.stacked_bars(frame(markers=markers), [Series("a", [1, 1, 1, 1])], title="t", summary="s")
    assert [(flag.label, flag.at) for flag in made.flags] == [("inside", 25)]


def test_all_zeros_are_told_as_nothing() -> None:
    assert charts.stacked_bars(frame(2), [Series("a", [0, None])], title="t", summary="s").empty


def test_the_largest_keep_their_colours_by_name_and_the_rest_is_summed() -> None:
    series = [Series(name, [value, value]) for name, value in zip("fedcba", (6, 5, 4, 3, 2, 1), strict=True)]
    kept = charts.keep_largest(series)
    assert [(each.name, each.slot) for each in kept] == [("c", 1), ("d", 2), ("e", 3), ("f", 4), ("2 others", 5)]
    assert kept[-1].values == [3, 3]
    assert charts.totals(kept) == charts.totals(series)


def test_a_histogram_leads_to_each_of_its_bars() -> None:
    made = charts.histogram(frame(2, links=["?a", "?b"]), [Series("a", [1, 2])], title="t", summary="s")
    page = render_to_string("ui/chart.html", {"chart": made, "id": "x"})
    assert re.findall(r'<a href="([^"]+)" aria-label="([^"]+)"', page) == [("?a", "12:00: 1 a"), ("?b", "13:00: 2 a")]
    assert "<table" not in page  # its bars say their numbers


def test_what_is_drawn_needs_no_style_and_escapes_names() -> None:
    made = charts.stacked_bars(
        frame(2, markers=[Marker(NOON, "<b>")]), [Series("<script>", [1, 2])], title='"t"', summary="s"
    )
    page = render_to_string("ui/chart.html", {"chart": made, "id": "x"})
    assert "style=" not in page
    assert "<script>" not in page
    assert "<b>" not in page.replace("<b></b>", "")
    assert '<th scope="row">12:00</th>' in page


def test_a_sparkline_ends_in_its_last_value() -> None:
    spark = sparkline([1, None, 3])
    assert spark.line == "M0.0 23.0L88.0 3.0"
    assert spark.end == (88.0, 3.0)
    assert sparkline([5, 5]).line == "M0.0 13.0L88.0 13.0"  # neither high nor low
    assert sparkline([None, 1]).line == ""


def test_little_bars_show_whatever_is_not_zero() -> None:
    tall = [float(height) for height in re.findall(r"v-([\d.]+)", spark_bars([0, 1, 1_000]).bars)]
    assert tall == [1, 2, 26]


def test_a_strip_of_states_begins_with_what_held_before() -> None:
    changes = [(NOON - HOUR, "closed"), (NOON + HOUR, "open"), (NOON + 2 * HOUR, "half_open")]
    strip = state_strip(changes, since=NOON, until=NOON + 4 * HOUR, summary="s")
    assert [(band.state, band.x, band.width) for band in strip.bands] == [
        ("closed", 0, 25),
        ("open", 25, 25),
        ("half_open", 50, 50),
    ]
    assert strip.bands[2].label == "half-open 14:00:00 to 16:00:00 UTC"


def test_heat_is_told_in_five_levels_and_nothing() -> None:
    strip = heat_strip([0, None, 1, 50, 100], list("abcde"), summary="s")
    assert [cell.level for cell in strip.cells] == [0, 0, 1, 3, 5]
