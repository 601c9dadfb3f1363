"""The time of day as a process counts it: read once, then counted by the monotonic clock.

Whoever measures with it is not disturbed when somebody sets the machine's clock; whoever wants to know what the clock
on the wall says now asks `time.time`.
"""

import time

_STARTED_AT = time.time() - time.monotonic()


def steady_time() -> float:
    """Return Unix seconds that never jump, off by as much as the clock was wrong when the process began."""
    return _STARTED_AT + time.monotonic()
