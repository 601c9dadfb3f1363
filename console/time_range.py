"""The span of time a page shows, as it stands in the URL: `?range=6h`, or `?from=&to=` in ISO 8601. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

PRESETS: Mapping[str, tuple[str, timedelta]] = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "6h": ("Last 6 hours", timedelta(hours=6)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
MOST_BUCKETS = 72  # what a chart of the console's width can show as bars that are still apart
_BUCKET_SECONDS = (
    15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
)  # fmt: skip
_BUCKETS = tuple(timedelta(seconds=seconds) for seconds in _BUCKET_SECONDS)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `since` up to, not including, `until`. `notice` tells what could not be done as asked."""

    since: datetime
    until: datetime
    preset: str = ""
    notice: str = ""

    @property
    def length(self) -> timedelta:
        return self.until - self.since

    @property
    def query(self) -> str:
        """The range as the URL's query says it."""
        if self.preset:
            return f"range={self.preset}"
        return f"from={_iso(self.since)}&to={_iso(self.until)}"

    @property
    def bucket(self) -> timedelta:
        """The step of a chart over this range: the smallest that needs no more than MOST_BUCKETS of them."""
        return next((each for each in _BUCKETS if self.length / each <= MOST_BUCKETS), _BUCKETS[-1])

    @property
    def buckets(self) -> list[datetime]:
        """The starts of the buckets, aligned to the clock (UTC), the first one holding `since`."""
        step = self.bucket.total_seconds()
        first = self.since.timestamp() // step * step
        count = int((self.until.timestamp() - first - 1e-6) // step) + 1
        return [datetime.fromtimestamp(first + number * step, UTC) for number in range(count)]

    @property
    def before(self) -> "TimeRange":
        """The span of the same length just before, to compare with."""
        return TimeRange(self.since - self.length, self.since)

    def label(self, zone: tzinfo = UTC) -> str:
        """Return the range in words."""
        if self.preset:
            return PRESETS[self.preset][0]
        since, until = self.since.astimezone(zone), self.until.astimezone(zone)
        last = f"{until:%H:%M}" if since.date() == until.date() else f"{until.day} {until:%b %H:%M}"
        return f"{since.day} {since:%b %H:%M} to {last}"


def parse(
    query: Mapping[str, str], *, now: datetime, kept: timedelta, default: str = "24h", zone: tzinfo = UTC
) -> TimeRange:
    """Return the range that a query asks for, cut to the time for which rows are kept.

    A time without a zone is taken in the viewer's. What cannot be read gives the default, with a notice.
    """
    if query.get("from") or query.get("to"):
        return _between(query.get("from", ""), query.get("to", ""), now=now, kept=kept, default=default, zone=zone)
    asked = query.get("range") or default
    if asked not in PRESETS:
        return _recent(default, now, f"“{asked[:40]}” is no time range. This is the {PRESETS[default][0].lower()}.")
    return _recent(asked, now)


def _between(since: str, until: str, *, now: datetime, kept: timedelta, default: str, zone: tzinfo) -> TimeRange:
    fallback = f"That time range could not be read. This is the {PRESETS[default][0].lower()}."
    try:
        end = _moment(until, zone) if until else now
        start = _moment(since, zone) if since else end - PRESETS[default][1]
    except (ValueError, OverflowError):
        return _recent(default, now, fallback)
    if start >= end or end <= now - kept:
        return _recent(default, now, fallback)
    oldest = now - kept
    if start < oldest:
        return TimeRange(oldest, end, notice=f"Requests are kept for {kept.days} days. The range begins there.")
    return TimeRange(start, end)


def _recent(preset: str, now: datetime, notice: str = "") -> TimeRange:
    return TimeRange(now - PRESETS[preset][1], now, preset=preset, notice=notice)


def _moment(text: str, zone: tzinfo) -> datetime:
    # A "+" that was not quoted arrives as a space.
    moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
