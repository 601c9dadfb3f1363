"""Numbers, durations, money and times in the console's words. Pure.

What is unknown is a dash, never a zero.
"""

from datetime import datetime
from decimal import Decimal

UNKNOWN = "—"
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400  # seconds


def compact(value: float | Decimal | None) -> str:
    """Return a figure short enough for a headline: 158.4k, 2.1M, 42."""
    if value is None:
        return UNKNOWN
    number = float(value)
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.99995:
            return _trimmed(number / size, 1) + unit
    return _trimmed(number, 1 if abs(number) >= 10 else 2)


def thousands(value: float | None) -> str:
    """Return a whole number as tables show it: 158,412."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def duration(milliseconds: float | None) -> str:
    """Return a duration with the unit that fits: 487 ms, 1.84 s, 2 min, 3 h."""
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < _MINUTE:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    return span(seconds)


def span(seconds: float) -> str:
    """Return a length of time in its largest whole unit: 45 s, 38 min, 5 h, 3 days."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h"
    days = int(seconds // _DAY)
    return "1 day" if days == 1 else f"{days} days"


def usd(amount: Decimal | float | None, places: int = 2) -> str:
    """Return money: two places in totals, four to six in rows."""
    return UNKNOWN if amount is None else f"${amount:,.{places}f}"


def percent(share: float | None, places: int = 1) -> str:
    """Return a share of one as a percentage."""
    return UNKNOWN if share is None else f"{share * 100:.{places}f}%"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago something was; from a day on, its date, in the moment's own zone."""
    seconds = (now - moment).total_seconds()
    if seconds < 0:
        return f"in {span(-seconds)}"
    if seconds < 5:
        return "just now"
    if seconds < _DAY:
        return f"{span(seconds)} ago"
    return f"{moment.day} {moment:%b}" if moment.year == now.year else f"{moment.day} {moment:%b %Y}"


def initials(name: str) -> str:
    """Return one or two letters for a person: of their names, or of their address."""
    words = name.partition("@")[0].replace(".", " ").replace("-", " ").replace("_", " ").split()
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)).upper() or "?"


def _trimmed(number: float, places: int) -> str:
    text = f"{number:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
