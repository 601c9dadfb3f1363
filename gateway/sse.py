"""Server-sent events as the data plane needs them: where events end in a byte stream, and what an event's data is.

Pure and incremental. Bytes are cut only at the blank line that ends an event, so a client never sees half an event, and
whole events pass on unchanged. LF and CRLF line ends are accepted (WHATWG HTML, section 9.2; a lone CR is not used by
any provider). Comments and unknown fields are left alone.
"""

import re
from collections.abc import Iterator

DONE = b"[DONE]"
MAX_EVENT_BYTES = 16 * 1024 * 1024  # one event; more than that is not an event but an attack

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\n\r\n")
_DATA_LINE = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)


class EventTooLarge(Exception):
    """An event grew past MAX_EVENT_BYTES without ending."""


class EventSplitter:
    """Collects bytes and gives them back cut at event boundaries."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """Return every complete event that the bytes so far hold, unchanged; keep the unfinished rest."""
        tail = self._tail
        buffer = tail + data if tail else data
        # Only the new bytes can end an event, together with the last three of the old ones.
        start = max(0, len(tail) - 3)
        cut = max(buffer.rfind(b"\n\n", start) + 2, buffer.rfind(b"\n\r\n", start) + 3)
        if cut < 3:
            cut = 0
        self._tail = buffer[cut:] if cut else buffer
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return buffer[:cut] if cut < len(buffer) else buffer

    @property
    def unfinished(self) -> bytes:
        """The bytes after the last complete event."""
        return self._tail


def events(block: bytes) -> Iterator[bytes]:
    """Yield each event of a block of complete events, with the blank line that ends it."""
    start = 0
    for match in _BLANK_LINE.finditer(block):
        yield block[start : match.end()]
        start = match.end()
    if start < len(block):
        yield block[start:]


def data_of(event: bytes) -> bytes:
    """Return an event's data lines joined by newlines; empty for comments and for events without data."""
    at = 0 if event.startswith(b"data:") else event.find(b"\ndata:") + 1
    if at == 0 and not event.startswith(b"data:"):
        return b""
    end = event.find(b"\n", at)
    if event.find(b"\ndata:", end) >= 0:
        return b"\n".join(_DATA_LINE.findall(event))
    return event[at + 5 : end if end >= 0 else None].removeprefix(b" ").removesuffix(b"\r")


def encode(data: bytes) -> bytes:
    """Return one event with the given single-line data."""
    return b"data: %b\n\n" % data
