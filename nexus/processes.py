"""What the supervisor and the embedded services ask of the operating system about processes.

Nothing here knows what the processes are for. Linux ends a child with its parent (`PR_SET_PDEATHSIG`); macOS has no
such call, so an orphan there is found by `runs_with` and ended by the next start.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LINUX: bool = sys.platform == "linux"  # macOS has neither prctl nor /proc


def ends_with_parent(ending: signal.Signals) -> Callable[[], None] | None:
    """Return a `preexec_fn` that has the kernel send `ending` to the child when its parent dies; None without prctl.

    The kernel means the parent *thread*: start children from a thread that lives as long as the process does.
    """
    if not _LINUX:
        return None
    libc = ctypes.CDLL(None)  # resolved before the fork: the child may not take locks
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(ending), 0, 0, 0)
        if os.getppid() != parent:  # the parent died between fork and prctl: nobody would ever tell
            os._exit(1)

    return arm


@dataclass(frozen=True, slots=True)
class Figures:
    """What a process uses. Where the system does not tell, a figure is None."""

    pid: int
    cpu_seconds: float
    resident_bytes: int | None = None
    open_files: int | None = None


def figures() -> Figures:
    """Return what this process uses. Reads /proc, so its cost grows with the number of open files."""
    cpu_seconds = time.process_time()
    if not _LINUX:
        return Figures(os.getpid(), cpu_seconds)
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return Figures(os.getpid(), cpu_seconds, pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")) - 1)


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs, whoever owns it. A zombie, which nobody may reap, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return not _LINUX or not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True  # it ended meanwhile
    return status.rpartition(")")[2].split()[0] in ("Z", "X")


def command_line(pid: int) -> str:
    """Return a process' command line, empty when there is no such process (or only its zombie is left)."""
    if _LINUX:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return ""
    listing = subprocess.run(
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout


def runs_with(pid: int, path: Path) -> bool:
    """Return whether the process lives and names `path` on its command line: process ids are used again."""
    return pid > 0 and is_alive(pid) and str(path) in command_line(pid)
