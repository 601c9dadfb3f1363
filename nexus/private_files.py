"""Files that hold a secret: replaced in one step, never half written, readable by their owner only."""

import os
from collections.abc import Iterable
from pathlib import Path


def write_private(path: Path, content: str | Iterable[bytes]) -> None:
    """Replace `path` by a file with this content and mode 0600; it is on the disk when this returns.

    Raises OSError where that is not to be, and leaves the old file and nothing else.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([content.encode()] if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
