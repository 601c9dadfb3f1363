"""Numbers, times, ranges and differences in the console's words."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import formats
from console.differences import difference
from console.time_range import MOST_BUCKETS, PRESETS, TimeRange, parse

NOW = datetime(2026, 11, 24, 14, 20, 30, tzinfo=UTC)
KEPT = timedelta(days=90)


@pytest.mark.parametrize(
    ("value", "told"),
    [(158_412, "158.4k"), (999_999, "1M"), (2_100_000, "2.1M"), (42, "42"), (0.314, "0.31"), (0, "0"), (None, "—")],
)
def test_figures_are_short(value: float | None, told: str) -> None:
    assert formats.compact(value) == told


@pytest.mark.parametrize(
    ("milliseconds", "told"),
    [(3, "3 ms"), (999.4, "999 ms"), (999.9, "1.00 s"), (1_840, "1.84 s"), (12_340, "12.3 s"), (125_000, "2 min"),
     (None, "—")],
)  # fmt: skip
def test_durations_have_the_unit_that_fits(milliseconds: float | None, told: str) -> None:
    assert formats.duration(milliseconds) == told


def test_money_and_shares() -> None:
    assert formats.usd(Decimal("1842.17")) == "$1,842.17"
    assert formats.usd(Decimal("0.006213"), 4) == "$0.0062"
    assert formats.usd(None) == "—"
    assert formats.percent(0.0031, 2) == "0.31%"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(2, "just now"), (45, "45 s ago"), (38 * 60, "38 min ago"), (5 * 3600, "5 h ago"), (2 * 86_400, "22 Nov"),
     (400 * 86_400, "20 Oct 2025"), (-18, "in 18 s")],
)  # fmt: skip
def test_times_are_relative_for_a_day(seconds: int, told: str) -> None:
    assert formats.ago(NOW - timedelta(seconds=seconds), NOW) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [("Mara Köhler", "MK"), ("ada@acme.example", "A"), ("jun.seo@acme.example", "JS"), ("A B C", "AC"), ("", "?")],
)
def test_people_have_initials(name: str, told: str) -> None:
    assert formats.initials(name) == told


# --- ranges -----------------------------------------------------------------------------------------------------------


def ranged(query: dict[str, str], **more: object) -> TimeRange:
    return parse(query, now=NOW, kept=KEPT, **more)  # type: ignore[arg-type]


def test_a_preset_ends_now() -> None:
    span = ranged({"range": "6h"})
    assert (span.since, span.until, span.preset) == (NOW - timedelta(hours=6), NOW, "6h")
    assert span.label() == "Last 6 hours"
    assert span.before == TimeRange(NOW - timedelta(hours=12), NOW - timedelta(hours=6))


def test_a_range_without_a_zone_is_the_viewers() -> None:
    span = ranged({"from": "2026-11-24T09:00", "to": "2026-11-24T10:30"}, zone=ZoneInfo("Europe/Berlin"))
    assert span.since == datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    assert span.label(ZoneInfo("Europe/Berlin")) == "24 Nov 09:00 to 10:30"
    assert ranged(dict(part.split("=") for part in span.query.split("&"))) == span


def test_a_plus_that_was_not_quoted_is_understood() -> None:
    assert ranged({"from": "2026-11-24T09:00:00 02:00"}).since == datetime(2026, 11, 24, 7, 0, tzinfo=UTC)


def test_a_range_is_cut_to_what_is_kept_and_says_so() -> None:
    span = ranged({"from": "2025-01-01", "to": "2026-11-24"})
    assert span.since == NOW - KEPT
    assert span.notice == "Requests are kept for 90 days. The range begins there."


@pytest.mark.parametrize(
    "query",
    [
        {"range": "1y"},
        {"from": "yesterday"},
        {"from": "2026-11-24T10:00", "to": "2026-11-24T09:00"},
        {"from": "2020-01-01", "to": "2020-01-02"},
        {"to": "0001-01-01"},
    ],
)
def test_what_cannot_be_shown_gives_the_default_and_a_notice(query: dict[str, str]) -> None:
    span = ranged(query)
    assert span.preset == "24h"
    assert span.notice


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400)))
def test_buckets_cover_the_range_and_are_few(length: timedelta) -> None:
    span = TimeRange(NOW - length, NOW)
    buckets = span.buckets
    assert buckets[0] <= span.since < buckets[0] + span.bucket
    assert buckets[-1] < span.until <= buckets[-1] + span.bucket
    assert len(buckets) <= MOST_BUCKETS + 1


def test_every_preset_has_enough_bars_to_see_something() -> None:
    for preset in PRESETS:
        assert 40 <= len(ranged({"range": preset}).buckets) <= MOST_BUCKETS + 1


# --- differences ------------------------------------------------------------------------------------------------------


def test_changed_words_are_marked_within_changed_lines() -> None:
    made = difference("same\nwithin 30 days.", "same\nwithin 14 days.\nNew line.")
    assert [(line.sign, line.old, line.new) for line in made.lines] == [
        (" ", 1, 1),
        ("-", 2, None),
        ("+", None, 2),
        ("+", None, 3),
    ]
    assert [piece.text for piece in made.lines[1].pieces if piece.changed] == ["30"]
    assert [piece.text for piece in made.lines[2].pieces if piece.changed] == ["14"]
    assert (made.added, made.removed) == (2, 1)


def test_what_is_far_from_a_change_is_left_out() -> None:
    old = "\n".join(str(number) for number in range(100))
    made = difference(old, old.replace("20", "twenty").replace("\n80", "\neighty"))
    assert [line.sign for line in made.lines].count("…") == 1
    assert len(made.lines) == 17


@given(st.text(), st.text())
def test_a_difference_loses_no_text(old: str, new: str) -> None:
    lines = difference(old, new, context=1_000).lines
    if old.splitlines() == new.splitlines():
        assert not lines
        return
    for sign, text in (("-", old), ("+", new)):
        kept = ["".join(piece.text for piece in line.pieces) for line in lines if line.sign in (" ", sign)]
        assert kept == text.splitlines()
