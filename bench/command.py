"""The command line: `python -m bench --help`."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import course
from bench.filing import file_result
from bench.plan import plan_of
from bench.programs import CannotMeasure
from bench.scenario import UnknownScenario
from nexus.binaries import ServicesError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the result. Returns the exit status."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        plan = plan_of(arguments)
        with _alone(plan.work):
            result = course.run(plan, say=_say)
        report = file_result(result, plan.results)
    except (CannotMeasure, ServicesError, UnknownScenario) as error:
        print(f"nexus: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.read_text())
    _say(f"the result is in {report} and {report.with_suffix('.json').name}")
    return 0


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the working folder: two runs at once would measure each other."""
    work.mkdir(parents=True, exist_ok=True)
    lock = os.open(work / ".lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotMeasure(f"Another benchmark runs in {work}: wait for its end.") from None
    else:
        yield
    finally:
        os.close(lock)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)  # through every `finally`: nothing that was started stays
