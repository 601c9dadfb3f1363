"""What a process and all its children have used, from /proc. Linux only."""

import os
from collections.abc import Iterator
from pathlib import Path

from bench.result import Memory

_TICKS = os.sysconf("SC_CLK_TCK")  # a second; CPU times have no finer resolution than this


def tree(pid: int) -> list[int]:
    """Return a process and its descendants, those that run now."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += _children(current)
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the tree so far, user and system. What ended children used is not in it."""
    return sum(_cpu_ticks(member) for member in tree(pid)) / _TICKS


def memory(pid: int) -> Memory:
    """Return the resident memory of the tree."""
    totals = {"Rss:": 0, "Pss:": 0}  # kB
    for member in tree(pid):
        for line in _lines(Path(f"/proc/{member}/smaps_rollup")):
            name, *values = line.split()
            if name in totals:
                totals[name] += int(values[0])
    return Memory(rss_mb=round(totals["Rss:"] / 1024, 1), pss_mb=round(totals["Pss:"] / 1024, 1))


def _children(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return  # it ended meanwhile
    for thread in threads:
        for line in _lines(Path(f"/proc/{pid}/task/{thread}/children")):
            yield from map(int, line.split())


def _cpu_ticks(pid: int) -> int:
    for line in _lines(Path(f"/proc/{pid}/stat")):
        # The second field is the command's name in brackets, which may hold spaces.
        fields = line.rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []  # it ended meanwhile, or is another user's
