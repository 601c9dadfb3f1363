"""Run `manage.py` under a clock that is wrong: `python -m tests.astray SECONDS serve all --port 8000`.

Only what asks for the time of day sees it, as on a machine whose clock was never set: the monotonic clock is right.
"""

import sys
import time

_SECONDS = int(sys.argv.pop(1))
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _SECONDS
time.time_ns = lambda: _time_ns() + _SECONDS * 1_000_000_000

import manage  # noqa: E402  (whatever it imports must find the wrong clock)

manage.main()
