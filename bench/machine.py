"""What the figures were measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.result import Machine

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("django", "uvicorn", "uvloop", "httptools", "msgspec", "psycopg")


def describe() -> Machine:
    """Describe this machine, now."""
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_fact(Path("/proc/cpuinfo"), "model name"),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        commit=_commit(),
        load_before=round(os.getloadavg()[0], 2),
    )


def _fact(path: Path, name: str) -> str:
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """Return the commit of the checkout, marked when files differ from it; empty without git or history."""
    try:
        named = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return named.stdout.strip()
