"""Amazon's event stream encoding, read incrementally: binary frames with headers, a payload and two checksums. Pure.

Wire facts: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
import zlib
from typing import NamedTuple

from gateway.providers.translated_stream import BadFrame

MAX_FRAME_BYTES = 16 * 1024 * 1024  # one frame; AWS sends none that are larger
_PRELUDE = 12  # bytes: total length, length of the headers, checksum of the two
_SMALLEST = _PRELUDE + 4
_STRING = 7
# Bytes of a header's value by its type; None: two bytes before it say how many.
_VALUE_BYTES: dict[int, int | None] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: None, _STRING: None, 8: 8, 9: 16}


class Frame(NamedTuple):
    """One message: its headers that are strings, and its payload."""

    headers: dict[str, str]
    payload: bytes


class FrameSplitter:
    """Collects bytes and gives them back as checked frames."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now. Raises BadFrame for what cannot be or become one."""
        self._tail += data
        found: list[Frame] = []
        at, end = 0, len(self._tail)
        while end - at >= _PRELUDE:
            size = self._checked_size(at)
            if end - at < size:
                break
            found.append(_frame(bytes(self._tail[at : at + size])))
            at += size
        del self._tail[:at]
        return found

    def _checked_size(self, at: int) -> int:
        """Return how long the frame is that begins there; a wrong length is noticed before that much is waited for."""
        size, headers, checksum = struct.unpack_from(">III", self._tail, at)
        if zlib.crc32(self._tail[at : at + 8]) != checksum:
            raise BadFrame("The provider sent a frame whose prelude has a wrong checksum.")
        if not _SMALLEST + headers <= size <= MAX_FRAME_BYTES:
            raise BadFrame("The provider sent a frame of an impossible length.")
        return int(size)


def _frame(data: bytes) -> Frame:
    (checksum,) = struct.unpack_from(">I", data, len(data) - 4)
    if zlib.crc32(data[:-4]) != checksum:
        raise BadFrame("The provider sent a frame with a wrong checksum.")
    (length,) = struct.unpack_from(">I", data, 4)
    headers_end = _PRELUDE + length
    return Frame(_headers(data[_PRELUDE:headers_end]), data[headers_end:-4])


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode(), data[name_end]
            at = name_end + 1
            length = _VALUE_BYTES[kind]
            if length is None:
                (length,) = struct.unpack_from(">H", data, at)
                at += 2
            if at + length > len(data):
                raise BadFrame("The provider sent a frame whose headers are cut.")
            if kind == _STRING:
                found[name] = data[at : at + length].decode()
            at += length
    except (IndexError, KeyError, UnicodeDecodeError, struct.error):
        raise BadFrame("The provider sent a frame whose headers cannot be read.") from None
    return found
