"""Identifiers: UUIDv7 (RFC 9562, section 5.7), whose first 48 bits are the time, so that rows sort as they were made.

Python has none before 3.14. A request's id is also its row's primary key, and the row's partition is derived from it.
"""

import os
import time
from datetime import UTC, datetime
from uuid import UUID


def uuid7() -> UUID:
    """Return a new UUIDv7 of now."""
    return uuid7_at(time.time_ns() // 1_000_000)


def uuid7_at(milliseconds: int) -> UUID:
    """Return a UUIDv7 of the given Unix time in milliseconds, with 74 random bits."""
    tail = int.from_bytes(os.urandom(10))
    head = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    return UUID(int=head | 0x7 << 76 | (tail >> 68) << 64 | 0b10 << 62 | tail & 0x3FFF_FFFF_FFFF_FFFF)


def uuid7_text() -> str:
    """Return a new UUIDv7 of now in its text form: what `str(uuid7())` gives, for the price of a few slices."""
    moment, tail = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10).hex()
    variant = "89ab"[int(tail[3], 16) & 3]
    return f"{moment[:8]}-{moment[8:]}-7{tail[:3]}-{variant}{tail[4:7]}-{tail[7:19]}"


def time_of(identifier: UUID) -> datetime:
    """Return the moment a UUIDv7 was made, in UTC, to the millisecond."""
    milliseconds = identifier.int >> 80
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
