"""Keeps a set of processes running: one that dies is started again, a signal stops them all, none outlives this one.

The supervisor belongs in the main thread: that is where signals arrive, and children end with the thread that started
them. It knows neither Django nor what its children do.
"""

import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from nexus.processes import ends_with_parent

logger = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
STOP_SECONDS = 10.0  # that a child may take to end beside the time in which it drains
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(Protocol):
    """Something that can be started again and again."""

    @property
    def name(self) -> str:
        """What the log calls it."""

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Start it and return at once."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A program to keep running, with its whole environment and the descriptors that it inherits."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    pass_fds: Sequence[int] = ()

    def spawn(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.argv,
            env=self.env,
            stdin=subprocess.DEVNULL,
            pass_fds=self.pass_fds,
            process_group=0,  # Ctrl-C in the terminal is for the supervisor, which stops its children in order
            preexec_fn=ends_with_parent(signal.SIGTERM),  # noqa: PLW1509  (it takes no lock; there is no other way)
        )


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a dead child is started again. All figures are seconds."""

    first: float = 0.5
    longest: float = 30.0
    steady: float = 30.0  # whoever lived this long starts again from `first`

    def after(self, previous: float, *, lived: float) -> float:
        """Return the wait after a life of `lived`, when the wait before that life was `previous`."""
        if previous == 0 or lived >= self.steady:
            return self.first
        return min(previous * 2, self.longest)


@dataclass(slots=True)
class _Watched:
    child: Child
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    waited: float = 0.0
    due_at: float | None = None


@dataclass(slots=True)
class _Stopping:
    signals: list[int] = field(default_factory=list)

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.signals.append(number)


class Supervisor:
    """Runs `children` until a signal comes. `foundations` are kept alive too; their owner stops them, afterwards."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        foundations: Sequence[Child] = (),
        grace_seconds: float = GRACE_SECONDS,
        backoff: Backoff = Backoff(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [_Watched(child) for child in children]
        self._foundations = [_Watched(child) for child in foundations]
        self._grace_seconds = grace_seconds
        self._backoff = backoff
        self._clock = clock
        self._stopping = _Stopping()

    def adopt(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """Take over a child or foundation that already runs, instead of starting it."""
        for watched in (*self._foundations, *self._children):
            if watched.child.name == name:
                watched.process, watched.started_at = process, self._clock()

    def run(self) -> None:
        """Start everything, restart what dies, and return once a signal came and all children have ended."""
        with self._woken_by_signals() as wakeup:
            try:
                for watched in (*self._foundations, *self._children):
                    if watched.process is None:
                        self._start(watched)
                while not self._stopping.signals:
                    self._look()
                    _sleep(wakeup, self._seconds_until_due())
            finally:
                self._stop(wakeup)

    def _start(self, watched: _Watched) -> None:
        watched.due_at, watched.started_at = None, self._clock()
        try:
            watched.process = watched.child.spawn()
        except OSError as error:
            watched.process = None
            self._schedule(watched, f"it could not be started ({error})")

    def _schedule(self, watched: _Watched, what: str) -> None:
        now = self._clock()
        watched.waited = self._backoff.after(watched.waited, lived=now - watched.started_at)
        watched.due_at = now + watched.waited
        logger.warning(
            "A process is started again.",
            extra={"child": watched.child.name, "why": what, "in_seconds": round(watched.waited, 3)},
        )

    def _look(self) -> None:
        for watched in (*self._foundations, *self._children):
            if watched.process is not None and (code := watched.process.poll()) is not None:
                what = f"process {watched.process.pid} {describe_exit(code)}"
                watched.process = None
                self._schedule(watched, what)
            if watched.due_at is not None and self._clock() >= watched.due_at:
                self._start(watched)

    def _seconds_until_due(self) -> float | None:
        due = [watched.due_at for watched in (*self._foundations, *self._children) if watched.due_at is not None]
        return max(0.0, min(due) - self._clock()) if due else None

    def _stop(self, wakeup: int) -> None:
        living = [watched.process for watched in self._children if watched.process is not None]
        for process in living:
            process.terminate()
        deadline = self._clock() + self._grace_seconds
        while any(process.poll() is None for process in living):
            left = deadline - self._clock()
            if left <= 0 or self._stopping.signals.count(signal.SIGINT) > 1:
                break
            _sleep(wakeup, left)
        for process in living:
            if process.poll() is None:
                logger.warning("A process did not stop in time and is killed.", extra={"child_pid": process.pid})
                process.kill()
            process.wait()

    @contextmanager
    def _woken_by_signals(self) -> Iterator[int]:
        """Yield a descriptor that becomes readable with every signal, a child's death included."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        earlier_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        earlier = {number: signal.signal(number, self._stopping.note) for number in _STOP_SIGNALS}
        earlier[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            yield reading
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(earlier_descriptor)
            os.close(reading)
            os.close(writing)


def describe_exit(code: int) -> str:
    """Return how a process ended, in words: `subprocess` gives a killing signal as a negative code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"


def _sleep(wakeup: int, seconds: float | None) -> None:
    """Wait for a signal or the time to be up, and forget which signals came: their handlers have run."""
    readable, _, _ = select.select([wakeup], [], [], seconds)
    if readable:
        os.read(wakeup, 4096)
