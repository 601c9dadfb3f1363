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


def time_of(identifier: UUID) -> datetime:
    """Return the moment a UUIDv7 was made, in UTC, to the millisecond."""
    milliseconds = identifier.int >> 80
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
