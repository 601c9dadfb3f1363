"""Identifiers: UUIDv7 (RFC 9562, section 5.7), whose first 48 bits are the time, so that rows sort as they were made.

Python has none before 3.14. A request's id is also its row's primary key, and the row's partition is derived from it.
"""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_TAILS = 256  # made at a time
HELD_MS = 10_000  # how far a clock may be set back without any effect on the order of ids


def uuid7() -> UUID:
    """Return a new UUIDv7 of now."""
    return uuid7_at(time.time_ns() // 1_000_000)


def uuid7_at(milliseconds: int) -> UUID:
    """Return a UUIDv7 of the given Unix time in milliseconds, with 74 random bits."""
    tail = int.from_bytes(os.urandom(10))
    head = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    return UUID(int=head | 0x7 << 76 | (tail >> 68) << 64 | 0b10 << 62 | tail & 0x3FFF_FFFF_FFFF_FFFF)


def uuid7_text() -> str:
    """Return a new UUIDv7 of now in its text form, as `str(uuid7())` would, for a tenth of the price.

    Random tails are made many at a time, and a millisecond is written once for all ids in it. When the machine's clock
    is set back a little, the ids of a process stay where they were until it has caught up, so that they keep their
    order; a clock that is set back further was wrong, and is believed.
    """
    if not _tails:
        _make_tails()
    milliseconds = time.time_ns() // 1_000_000
    if milliseconds != _moment.milliseconds and not 0 < _moment.milliseconds - milliseconds <= HELD_MS:
        text = f"{milliseconds:012x}"
        _moment.milliseconds, _moment.text = milliseconds, f"{text[:8]}-{text[8:]}-7"
    return _moment.text + _tails.pop()


class _Moment:
    milliseconds = -1
    text = ""


_moment = _Moment()
_tails: list[str] = []
os.register_at_fork(after_in_child=_tails.clear)  # or parent and child would give out the same ones


def _make_tails() -> None:
    raw = os.urandom(10 * _TAILS).hex()
    for start in range(0, 20 * _TAILS, 20):
        tail = raw[start : start + 19]
        variant = "89ab"[int(tail[3], 16) & 3]
        _tails.append(f"{tail[:3]}-{variant}{tail[4:7]}-{tail[7:]}")


def time_of(identifier: UUID) -> datetime:
    """Return the moment a UUIDv7 was made, in UTC, to the millisecond."""
    return _moment_at(identifier.int >> 80)


def time_of_text(identifier: str) -> datetime:
    """Return the same of a UUIDv7 in its text form, for a quarter of the price. Raises ValueError for another text."""
    return _moment_at(int(identifier[:8] + identifier[9:13], 16))


def _moment_at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
