"""The programs that the benchmark needs: its own in C, which are compiled here, and nginx."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "programs"
_COMPILER = ("gcc", "cc", "clang")
_FLAGS = ("-O2", "-Wall", "-Wextra")
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin")  # where servers lie, off a user's PATH


class CannotMeasure(Exception):
    """The benchmark cannot go on; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    mock: Path
    loadgen: Path


def find(*names: str) -> str | None:
    """Return the path of the first program there is."""
    path = ":".join(_PLACES)
    return next((found for name in names if (found := shutil.which(name) or shutil.which(name, path=path))), None)


def require_linux() -> None:
    """Raise CannotMeasure elsewhere: the load generator wants epoll, the figures come from /proc."""
    if sys.platform != "linux":
        raise CannotMeasure("The benchmark runs on Linux only: it measures by epoll, /proc and pinned cores.")


def build(directory: Path) -> Programs:
    """Compile the upstream and the load generator where they are missing or older than their source."""
    compiler = find(*_COMPILER)
    if compiler is None:
        raise CannotMeasure("The benchmark needs a C compiler: install gcc (Debian: apt-get install gcc libc6-dev).")
    directory.mkdir(parents=True, exist_ok=True)
    mock, loadgen = (_compiled(compiler, SOURCES / f"{name}.c", directory / name) for name in ("mock", "loadgen"))
    return Programs(mock, loadgen)


def _compiled(compiler: str, source: Path, program: Path) -> Path:
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiled = subprocess.run(
        [compiler, *_FLAGS, "-o", str(program), str(source)], capture_output=True, text=True, check=False
    )
    if compiled.returncode != 0:
        raise CannotMeasure(f"{source.name} does not compile with {compiler}:\n{compiled.stderr.strip()}")
    return program


def first_line(command: Iterable[str]) -> str:
    """Return the first line that a program says, on whichever stream; for versions."""
    said = subprocess.run(list(command), capture_output=True, text=True, check=False, timeout=60)
    return next(iter((said.stdout + said.stderr).strip().splitlines()), "").strip()
