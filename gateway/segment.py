"""A segment of the spool: a file of fixed size in memory, so that a record costs a copy and no system call.

A `write` to a file waits for the filesystem's journal whenever some other file is being made durable, and with it the
whole event loop: some thirty milliseconds, several times a second, on a busy disk. What is copied into a shared mapping
is as safe from the death of the process as what was written, and waits for nothing, provided that the file's blocks and
its pages are there already. `create` and `seal` do all that may wait; call them in a thread.
"""

import ctypes
import errno
import mmap
import os
from pathlib import Path

_MADV_POPULATE_WRITE = 23  # Linux 5.14: fault every page in for writing, now
_make_durable = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
_libc = ctypes.CDLL(None, use_errno=True)  # unlike mmap.madvise, a call through ctypes lets other threads run


class Segment:
    """One open segment. `room` bytes are left; `used` bytes hold lines, the rest is zeros."""

    __slots__ = ("_file", "_map", "path", "room", "used")

    def __init__(self, path: Path, file: int, mapping: mmap.mmap) -> None:
        self.path = path
        self.used = 0
        self.room = len(mapping)
        self._file = file
        self._map = mapping

    @classmethod
    def create(cls, path: Path, size: int) -> "Segment":
        """Make the file with all its blocks. Raises OSError, and leaves no file, where the disk has no room."""
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            _allocate(file, size)
            mapping = mmap.mmap(file, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except BaseException:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        _fault_in(mapping)
        return cls(path, file, mapping)

    def append(self, line: bytes) -> bool:
        """Copy a line in; False if it does not fit."""
        length = len(line)
        if length > self.room:
            return False
        end = self.used + length
        self._map[self.used : end] = line
        self.used = end
        self.room -= length
        return True

    def seal(self) -> Path:
        """Cut the file to what it holds, mark it for shipping, and bring it to the disk itself. Return its new path.

        The last step bounds what a power cut can take.
        """
        self._map.close()
        try:
            os.ftruncate(self._file, self.used)
            sealed = self.path.with_suffix(".sealed")
            os.rename(self.path, sealed)
            _make_durable(self._file)
        finally:
            os.close(self._file)
        return sealed

    def abandon(self) -> None:
        """Close the file as a killed process would leave it."""
        self._map.close()
        os.close(self._file)


def _allocate(file: int, size: int) -> None:
    """Give the file its blocks: a page of a mapping that has none would kill the process on a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    written = os.write(file, bytes(size))  # macOS
    if written != size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fault_in(mapping: mmap.mmap) -> None:
    """Have every page ready for writing. Where the system cannot, the first write to a page does it, with a wait."""
    anchor = ctypes.c_char.from_buffer(mapping)
    try:
        _libc.madvise(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(len(mapping)), _MADV_POPULATE_WRITE)
    finally:
        del anchor  # the mapping can be closed only when nothing points into it
