"""The spool: every record on local disk before the client can hold its answer, at the price of one copy.

A process writes to a segment of its own and seals it four times a second; the shipper takes sealed segments to the
database. What a killed process leaves behind is complete by itself: each segment begins with a copy of the records of
the requests that were in flight when it was opened, so the last ones tell what was never finished.

    <owner>.lock        held (flock) for as long as the owner lives
    <owner>.<n>.open    being written, or the next to be
    <owner>.<n>.sealed  to be shipped
    lines               crc32 (8 hexadecimal digits), space, JSON, newline; a torn line fails its crc and is skipped
"""

import asyncio
import errno
import fcntl
import logging
import os
import socket
import time
from binascii import crc32
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from gateway.records import CircuitChanged, Finished, Record, Started, encode
from gateway.segment import Segment

logger = logging.getLogger(__name__)
SEGMENT_SECONDS = 0.25
SEGMENT_BYTES = 2 * 1024 * 1024  # some 2,000 requests; at more than 8,000/s segments are sealed earlier
MAX_BYTES = 1 << 30  # on disk and not yet shipped; past that records are dropped and counted
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PATIENCE_SECONDS = 1.0  # with a disk that is slow to make the next segment
_COMPLAIN_SECONDS = 60
_MEASURE_EVERY = 8  # segments


def line_of(record: Record) -> bytes:
    """Return a record as one line of a segment."""
    body = encode(record)
    return b"%08x %b\n" % (crc32(body), body)


class Spool:
    """One process's end of the spool. All calls come from one thread; none raises into a request, none waits.

    Whatever the disk may take its time for, making and sealing segments, happens in a thread of the spool's own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        owner: str | None = None,
        segment_seconds: float = SEGMENT_SECONDS,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.dropped = 0
        self._folder = folder
        self.owner = owner or f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self._segment_seconds = segment_seconds
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._in_flight: dict[str, bytes] = {}
        self._number = 0
        self._segment: Segment | None = None
        self._copied = 0  # bytes at the segment's begin that are copies of what was in flight
        self._next: Future[Segment] | None = None
        self._trouble = ""  # why there is no next segment
        self._late = False  # the disk was waited for in vain: nobody waits again until it has moved
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._lock = -1
        self._losing = ""  # why records are lost at the moment
        self._on_disk = 0
        self._complained_at = -float(_COMPLAIN_SECONDS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._in_flight)

    @property
    def losing(self) -> str:
        """Why records are lost at the moment; empty while they are not."""
        return self._losing

    def open(self) -> None:
        """Take the folder into use. Raises OSError where it cannot be written; a full disk is waited for."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder / f"{self.owner}.lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._segment = self._create()
        except (SpoolFull, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _FULL:
                os.close(self._lock)
                self._lock = -1  # it may be asked again
                raise
            self._losing = self._trouble = str(error)  # a process that starts now serves nevertheless
        self._next = self._disk.submit(self._create)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Seal segments from now on, as long as the loop runs."""
        self._loop = loop
        self._timer = loop.call_later(self._segment_seconds, self._turn)

    def close(self) -> None:
        """End writing and let the owner's lock go. What is in flight is left to be found."""
        if self._timer is not None:
            self._timer.cancel()
        self._disk.shutdown(wait=True)
        unused = self._next.result() if self._next is not None and self._next.exception() is None else None
        for segment in (self._segment, unused):
            if segment is not None:
                segment.abandon()
        self._segment = self._next = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def begin(self, record: Started) -> None:
        """Write that a request may cost money from now on."""
        line = line_of(record)
        self._in_flight[record.id] = line
        self._append(line)

    def end(self, record: Finished) -> None:
        """Write what became of a request."""
        self._in_flight.pop(record.id, None)
        self._append(line_of(record))

    def note(self, record: CircuitChanged) -> None:
        """Write a record that belongs to no request."""
        self._append(line_of(record))

    def rotate(self) -> "Future[Path] | None":
        """Begin the next segment and seal the current one; None if there is nothing in it, or no next one yet.

        The future gives the sealed segment's path.
        """
        segment, following = self._segment, self._ready()
        if following is None or (segment is not None and segment.used == self._copied):
            return None
        self._segment, self._losing = following, ""
        self._next = self._disk.submit(self._create)
        self._copy_in_flight(following)
        return self._disk.submit(segment.seal) if segment is not None else None

    def _turn(self) -> None:
        assert self._loop is not None
        sealing = self.rotate()
        if sealing is not None and self._number % _MEASURE_EVERY == 0:
            self._disk.submit(self._measure)
        self._timer = self._loop.call_later(self._segment_seconds, self._turn)

    def _append(self, line: bytes) -> None:
        segment = self._segment
        if (segment is not None and segment.append(line)) or self._append_to_next(line):
            return
        self.dropped += 1
        self._losing = "it is closed" if self._lock < 0 else self._trouble or "the disk does not keep up"
        self._complain(self._losing)

    def _append_to_next(self, line: bytes) -> bool:
        """The segment is full. A next one that is a little late is waited for: better a pause than a lost record."""
        if self._next is not None and not self._late:
            self._late = not wait([self._next], PATIENCE_SECONDS).done
        self.rotate()
        return self._segment is not None and self._segment.append(line)

    def _copy_in_flight(self, segment: Segment) -> None:
        for line in self._in_flight.values():
            if not segment.append(line):
                break  # more in flight than any process will serve: of the rest a death leaves no trace
        self._copied = segment.used

    # --- the next segment

    def _create(self) -> Segment:
        if self._on_disk > self._max_bytes:
            self._measure()
            if self._on_disk > self._max_bytes:
                raise SpoolFull
        path = self._folder / f"{self.owner}.{self._number:08d}.open"
        segment = Segment.create(path, self._segment_bytes)
        self._number += 1
        return segment

    def _ready(self) -> Segment | None:
        """Return the next segment if it is there; after a failure have it tried again, for the disk may have room."""
        following = self._next
        if following is None or not following.done():
            return None
        self._late = False
        failure = following.exception()
        if failure is None:
            self._trouble = ""
            return following.result()
        self._trouble = str(failure)
        self._next = self._disk.submit(self._create)
        return None

    def _measure(self) -> None:
        total = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue  # shipped meanwhile
        self._on_disk = total

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now - self._complained_at < _COMPLAIN_SECONDS:
            return
        self._complained_at = now
        logger.error("The spool loses records; requests go on.", extra={"why": what, "lost": self.dropped})


class SpoolFull(Exception):
    """What is on disk and not shipped has reached the limit."""

    def __str__(self) -> str:
        return "it has reached its size limit, and nothing ships it"
