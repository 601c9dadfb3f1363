"""How /metrics covers every process of a machine: each publishes its numbers to a small file, whoever is asked adds up.

    <owner>.lock        held (flock) for as long as the process lives
    <owner>.numbers     what it has counted, and how it is; replaced once a second
    retired.numbers     the sum over all processes that have ended
    meters.lock         held by whoever adds up, begins or ends

A process that ends, however it ends, leaves its last file; the next to add up moves it into the sum. The sum names the
owners it has taken in, so a crash between that and the deletion of their files counts nothing twice. A killed process
takes at most the last second with it, which nobody has seen: no total ever goes back.
"""

import asyncio
import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.meters import Meters, Numbers
from nexus.lock_files import is_free
from nexus.processes import Figures, figures

logger = logging.getLogger(__name__)
PUBLISH_SECONDS = 1.0
_RETIRED = "retired.numbers"


@dataclass(slots=True)
class Condition:
    """How a living process is at the moment. Times are Unix seconds."""

    started_at: float
    revision: int
    revision_age_seconds: float | None  # since it last knew that its configuration is the current one; None: never
    breaker_backend: str
    in_flight: int
    circuits: dict[str, str]  # state by provider id, of circuits that are not closed
    limits_shared: bool = True  # whether limits are counted over all processes


@dataclass(slots=True)
class Process:
    """What one living process published last."""

    condition: Condition
    figures: Figures


@dataclass(slots=True)
class _Published(Process):
    numbers: Numbers


@dataclass(slots=True)
class _Retired:
    numbers: Numbers = field(default_factory=Numbers)
    owners: list[str] = field(default_factory=list)  # already in the numbers, their files perhaps not yet deleted


@dataclass(frozen=True, slots=True)
class Totals:
    """What all processes of a machine have counted, and how those that live are."""

    numbers: Numbers
    living: tuple[Process, ...]


_encode = msgspec.msgpack.Encoder().encode
_read_published = msgspec.msgpack.Decoder(_Published).decode
_read_retired = msgspec.msgpack.Decoder(_Retired).decode


class Publisher:
    """One process's end: publishes until it is stopped. It never raises into the work of the process."""

    def __init__(self, folder: Path, meters: Meters, condition: Callable[[], Condition]) -> None:
        self.folder = folder
        self._meters = meters
        self._condition = condition
        self._owner = ""
        self._lock = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing = threading.Lock()
        self._made = self._written = 0
        self._failed = False
        self._figures = figures()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Publish from now on. Where the folder cannot be written the log says so, and the process goes on."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_a_name()
        except OSError as error:
            logger.error("There are no numbers for /metrics of this process.", extra={"error": error.strerror})
            return
        self._loop = loop
        self._turn()

    def _take_a_name(self) -> None:
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        with _alone(self.folder):  # so that nobody takes the new lock for a dead one's before it is held
            self._lock = os.open(self._path("lock"), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def stop(self) -> None:
        """Publish for the last time and be counted among the dead."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lock >= 0:
            self._write(*self._snapshot())
            os.close(self._lock)
            self._lock = -1
            self._meters.forget()

    async def totals(self) -> Totals:
        """Return the numbers of all processes, this one's up to date. Reads files in a thread. Raises OSError."""
        snapshot = self._snapshot()
        return await asyncio.to_thread(self._add_up, snapshot)

    def _add_up(self, snapshot: tuple[int, bytes]) -> Totals:
        # What is told must also be on file: should this process be killed, the next answer may not be lower.
        self._write(*snapshot)
        return add_up(self.folder)

    def _turn(self) -> None:
        assert self._loop is not None
        self._loop.run_in_executor(None, self._write, *self._snapshot())
        self._timer = self._loop.call_later(PUBLISH_SECONDS, self._turn)

    def _snapshot(self) -> tuple[int, bytes]:
        """Return the numbers as they are now, with their place in the order of snapshots. In the loop's thread."""
        self._made += 1
        return self._made, _encode(_Published(self._condition(), self._figures, self._meters.numbers))

    def _write(self, number: int, data: bytes) -> None:
        with self._writing:
            if number <= self._written or self._lock < 0:
                return  # a later one was faster
            try:
                _replace(self._path("numbers"), data)
            except OSError as error:
                if not self._failed:
                    logger.warning("The numbers for /metrics cannot be written.", extra={"error": error.strerror})
                self._failed = True
            else:
                self._written, self._failed = number, False
            self._figures = figures()  # for the next time: looking takes longer than the event loop may be held up

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self._owner}.{suffix}"


def add_up(folder: Path) -> Totals:
    """Return the numbers of all processes that ever published here. Raises OSError."""
    with _alone(folder):
        retired = _retired(folder)
        living: list[_Published] = []
        ended: list[str] = []
        for path in sorted(folder.glob("*.lock")):
            owner = path.stem
            if path.name == "meters.lock":
                continue
            if not is_free(path):
                living += _published(folder / f"{owner}.numbers")
                continue
            ended.append(owner)
            if owner not in retired.owners:
                for last in _published(folder / f"{owner}.numbers"):
                    retired.numbers.add(last.numbers)
        _retire(folder, retired, ended)
    total = Numbers()
    total.add(retired.numbers)
    for each in living:
        total.add(each.numbers)
    return Totals(total, tuple(living))


def _retire(folder: Path, retired: _Retired, ended: list[str]) -> None:
    """Write the sum with what the dead have counted, then delete their files; the lock, which names them, last."""
    if not ended:
        return
    retired.owners = ended
    try:
        _replace(folder / _RETIRED, _encode(retired))
    except OSError as error:
        logger.warning("The sum for /metrics cannot be written.", extra={"error": error.strerror})
        return  # their files stay, and are added again the next time
    for owner in ended:
        (folder / f"{owner}.numbers").unlink(missing_ok=True)
        (folder / f"{owner}.lock").unlink(missing_ok=True)


def _retired(folder: Path) -> _Retired:
    path = folder / _RETIRED
    try:
        return _read_retired(path.read_bytes())
    except FileNotFoundError:
        return _Retired()
    except msgspec.DecodeError:
        logger.warning("The sum for /metrics is of another version: the counters begin again.")
        return _Retired()


def _published(path: Path) -> list[_Published]:
    """Return what a file tells: nothing if there is none yet, or another version of NEXUS wrote it."""
    try:
        return [_read_published(path.read_bytes())]
    except FileNotFoundError:
        return []
    except msgspec.DecodeError:
        logger.warning("A process of another version is left out of /metrics.", extra={"file": path.name})
        return []


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = os.open(folder / "meters.lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
