"""The shipper's end of the spool: which segments may be taken, by whom, and what is in them."""

import fcntl
import logging
import os
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.records import CircuitChanged, Finished, Started, decode
from nexus.lock_files import is_free

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Harvest:
    """What a segment holds."""

    started: dict[str, Started] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)
    circuits: list[CircuitChanged] = field(default_factory=list)
    rejected: list[bytes] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Take in a segment's lines. A torn line fails its crc and is nobody's record; a strange one is set aside."""
        for line in data.split(b"\n"):
            if len(line) < 10 or not _is_whole(line):
                continue
            try:
                record = decode(line[9:])
            except msgspec.DecodeError:
                self.rejected.append(line)
                continue
            if isinstance(record, Started):
                self.started[record.id] = record
            elif isinstance(record, Finished):
                self.finished[record.id] = record
            else:
                self.circuits.append(record)


def _is_whole(line: bytes) -> bool:
    try:
        return int(line[:8], 16) == crc32(line[9:])
    except ValueError:
        return False


def harvest_of(segment: Path) -> Harvest:
    """Read one segment."""
    harvest = Harvest()
    harvest.add(segment.read_bytes().rstrip(b"\0"))  # an open segment of a dead process ends in unused room
    return harvest


@dataclass(frozen=True, slots=True)
class Claim:
    """Segments that this shipper alone may take. `owner_is_dead`: nothing will be added to them."""

    owner: str
    segments: tuple[Path, ...]
    owner_is_dead: bool

    def remove(self, folder: Path) -> None:
        """Delete what has been shipped; the owner's lock last, so that a crash in between leaves it to be found."""
        for segment in self.segments:
            segment.unlink(missing_ok=True)
        if self.owner_is_dead:
            (folder / f"{self.owner}.lock").unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold the folder's shipping lock; False if another shipper has it."""
    lock = os.open(folder / "shipper.lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)


def claims(folder: Path) -> Iterator[Claim]:
    """Yield what can be shipped now: sealed segments of living owners, everything of dead ones. Call it `alone`."""
    owners: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        owner, _, rest = path.name.rpartition(".")
        if rest in ("open", "sealed"):
            owners.setdefault(owner.rpartition(".")[0], []).append(path)
        elif rest == "lock" and path.name != "shipper.lock":
            owners.setdefault(owner, [])
    for owner, paths in owners.items():
        dead = is_free(folder / f"{owner}.lock")
        if dead:
            # The owner may have sealed a segment between our listing and its death: look again.
            left = sorted((*folder.glob(f"{owner}.*.open"), *folder.glob(f"{owner}.*.sealed")))
            yield Claim(owner, tuple(left), owner_is_dead=True)
        elif sealed := tuple(path for path in paths if path.suffix == ".sealed"):
            yield Claim(owner, sealed, owner_is_dead=False)
