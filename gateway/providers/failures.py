"""What an HTTP status says about a failed attempt, the same for every family, and how long to wait before the next."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway.providers.base import FailureKind, Headers

_BY_STATUS = {
    401: FailureKind.AUTH,
    402: FailureKind.AUTH,
    403: FailureKind.AUTH,
    408: FailureKind.RATE_LIMIT,
    429: FailureKind.RATE_LIMIT,
}


def by_status(status: int) -> FailureKind:
    """Classify by status alone: every status from 500 on is the server's fault, 529 and those to come included."""
    if status >= 500 or status < 400:
        return FailureKind.SERVER if status >= 500 else FailureKind.PROTOCOL
    return _BY_STATUS.get(status, FailureKind.REQUEST)


def retry_after_seconds(headers: Headers, *, now: datetime | None = None) -> float | None:
    """Return what `retry-after-ms` or `retry-after` asks for (seconds or an HTTP date), None for absent or garbage."""
    found = {name: value for name, value in headers if name in (b"retry-after", b"retry-after-ms")}
    milliseconds = _number(found.get(b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = found.get(b"retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value.decode("latin-1"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _number(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None
