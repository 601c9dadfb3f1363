"""Lock files, by which a process tells others that it lives: held with flock from its start to its end."""

import fcntl
import os
from pathlib import Path


def is_free(lock: Path) -> bool:
    """Whether nobody holds a lock, or there is none. The kernel lets it go when its owner ends, however it ends."""
    try:
        file = os.open(lock, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(file)
