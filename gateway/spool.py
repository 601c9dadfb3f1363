"""The spool: every record on local disk before the client can hold its answer, at the price of one append.

A process writes to a segment of its own and seals it four times a second; the shipper takes sealed segments to the
database. What a killed process leaves behind is complete by itself: each segment begins with a copy of the records of
the requests that were in flight when it was opened, so the last ones tell what was never finished.

    <owner>.lock        held (flock) for as long as the owner lives
    <owner>.<n>.open    being written
    <owner>.<n>.sealed  to be shipped
    lines               crc32 (8 hexadecimal digits), space, JSON, newline; a torn line fails its crc and is skipped
"""

import asyncio
import fcntl
import logging
import os
import socket
import time
from binascii import crc32
from pathlib import Path

from gateway.records import CircuitChanged, Finished, Record, Started, encode

logger = logging.getLogger(__name__)
SEGMENT_SECONDS = 0.25
MAX_BYTES = 1 << 30  # on disk and not yet shipped; past that records are dropped and counted
_COMPLAIN_SECONDS = 60


def line_of(record: Record) -> bytes:
    """Return a record as one line of a segment."""
    body = encode(record)
    return b"%08x %b\n" % (crc32(body), body)


class Spool:
    """One process's end of the spool. All calls come from one thread; none raises into a request."""

    def __init__(
        self,
        folder: Path,
        *,
        owner: str | None = None,
        segment_seconds: float = SEGMENT_SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.dropped = 0
        self._folder = folder
        self._owner = owner or f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self._segment_seconds = segment_seconds
        self._max_bytes = max_bytes
        self._in_flight: dict[str, bytes] = {}
        self._number = 0
        self._file = -1
        self._path = folder
        self._lock = -1
        self._written = 0
        self._torn = False
        self._full = False
        self._complained_at = -float(_COMPLAIN_SECONDS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Take the folder into use. Raises OSError where it cannot be written."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder / f"{self._owner}.lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._open_segment()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Seal segments from now on, as long as the loop runs."""
        self._loop = loop
        self._timer = loop.call_later(self._segment_seconds, self._turn)

    def close(self) -> None:
        """Seal the last segment and let the owner's lock go. What is in flight is left to be found."""
        if self._timer is not None:
            self._timer.cancel()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
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

    def rotate(self) -> Path | None:
        """Seal the current segment and begin the next; return the sealed one, None if there was nothing in it."""
        if not self._written:
            return None
        old_file, old_path = self._file, self._path
        try:
            self._open_segment()
        except OSError as error:
            self._complain("no new segment can be opened", error)
            return None
        if self._in_flight:
            self._append(b"".join(self._in_flight.values()), records=0)
            self._written = 0  # copies alone are no reason to seal again
        sealed = old_path.with_suffix(".sealed")
        os.rename(old_path, sealed)
        if self._loop is not None:
            self._loop.run_in_executor(None, _make_durable, old_file)
        else:
            _make_durable(old_file)
        return sealed

    def _turn(self) -> None:
        assert self._loop is not None
        self.rotate()
        self._full = self._written_on_disk() > self._max_bytes if self._number % 8 == 0 else self._full
        self._timer = self._loop.call_later(self._segment_seconds, self._turn)

    def _written_on_disk(self) -> int:
        total = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue  # shipped meanwhile
        return total

    def _open_segment(self) -> None:
        path = self._folder / f"{self._owner}.{self._number:08d}.open"
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._path = path
        self._number += 1
        self._written = 0
        self._torn = False

    def _append(self, line: bytes, *, records: int = 1) -> None:
        if self._full or self._file < 0:
            self.dropped += records
            self._complain("it has reached its size limit" if self._full else "it is closed", None)
            return
        # After a short write the next record begins on a line of its own; the torn one fails its crc.
        data = b"\n" + line if self._torn else line
        try:
            written = os.write(self._file, data)
        except OSError as error:
            self.dropped += records
            self._torn = True
            self._complain("it cannot be written", error)
            return
        self._torn = written != len(data)
        self._written += written
        if self._torn:
            self.dropped += records
            self._complain("the disk is full", None)

    def _complain(self, what: str, error: OSError | None) -> None:
        now = time.monotonic()
        if now - self._complained_at < _COMPLAIN_SECONDS:
            return
        self._complained_at = now
        logger.error(
            "The spool loses records: %s (%s). %s lost so far; requests go on.",
            what,
            error.strerror if error else "-",
            self.dropped,
        )


def _make_durable(file: int) -> None:
    """Bring a sealed segment to the disk itself, which bounds what a power cut can take."""
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
