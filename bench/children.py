"""Processes that the benchmark starts: each in a group of its own, on its cores, ended with the benchmark."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bench import process_tree
from bench.cores import pinned
from bench.programs import CannotMeasure
from bench.result import Memory
from bench.targets import Target
from nexus.processes import ends_with_parent

_START_SECONDS = 120.0  # LiteLLM takes ten seconds on a quiet machine
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_QUIET_SECONDS = 0.2  # of nearly no CPU time: then background work has ended
_QUIET_CPU_SECONDS = 0.025
# A slow target works on what was abandoned: the next scenario must not pay for it.
_LONGEST_SETTLING_SECONDS = 60.0
_ANSWER_SECONDS = 60.0  # a question that is given up would be a row in the log that nobody counted
_QUESTION = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'


class Child:
    """One process with its children. Its output is kept in a file."""

    def __init__(
        self,
        name: str,
        command: Iterable[str],
        *,
        log: Path,
        cores: Iterable[int],
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=dict(environment) if environment is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=pinned(cores, ends_with_parent(signal.SIGTERM)),  # noqa: PLW1509  (it takes no lock)
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        return process_tree.cpu_seconds(self.pid)

    def memory(self) -> Memory:
        return process_tree.memory(self.pid)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process and its children; those that do not listen are killed."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def await_that(self, ready: Callable[[], bool], *, seconds: float = _START_SECONDS) -> None:
        """Wait until something is so. Raises CannotMeasure when the process dies or the time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None:
                raise CannotMeasure(f"{self.name} ended at its start; {self.log} says why:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise CannotMeasure(f"{self.name} did not answer within {seconds:.0f} s; see {self.log}.")
            time.sleep(_POLL_SECONDS)

    def settle(self, drained: Callable[[], bool]) -> bool:
        """Wait until the work on what was asked has ended, here and elsewhere. False: it has not, within a minute."""
        deadline = time.monotonic() + _LONGEST_SETTLING_SECONDS
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(_QUIET_SECONDS)
            after = self.cpu_seconds()
            if after - before < _QUIET_CPU_SECONDS and drained():
                return True
            before = after
        return False

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-5:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self.pid, number)


def answers(target: Target) -> bool:
    """Whether a target answers a completion by 200."""
    headers = dict(header.split(": ", 1) for header in target.headers)
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.port}/v1/chat/completions",
        data=_QUESTION,
        headers={"authorization": f"Bearer {target.api_key}", "content-type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
