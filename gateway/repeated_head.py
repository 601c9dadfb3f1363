"""Heads that come again: on one connection a client's requests mostly differ in their bodies alone.

A head that is byte for byte one that was read and found good means what it meant then. Only the number of its
Content-Length may be another one, which is read anew. Pure functions over bytes.
"""

import re

from gateway.request_head import RequestHead
from gateway.schema import Endpoint

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)(?=\r\n)", re.IGNORECASE)
_BLANK_LINE = b"\r\n\r\n"
_MOST_DIGITS = 9


class RepeatedHead:
    """A head as the parser has passed it: what is around the digits of its length, and what it says."""

    __slots__ = ("_after", "_before", "_head", "endpoint")

    def __init__(self, before: bytes, after: bytes, endpoint: Endpoint, head: RequestHead) -> None:
        self._before = before
        self._after = after
        self._head = head
        self.endpoint = endpoint

    @property
    def head(self) -> RequestHead:
        """What the head says, for one request alone."""
        return RequestHead(self._head.authorization, self._head.idempotency_key, self._head.vendor)

    def body_in(self, data: bytes) -> bytes | None:
        """Return the body, if these bytes are exactly one request with this head; None for anything else."""
        start = len(self._before)
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        if end < 0 or not data.startswith(self._before) or not data.startswith(self._after, end):
            return None
        digits, body_at = data[start:end], end + len(self._after)
        if not digits.isdigit() or int(digits) != len(data) - body_at:
            return None
        return data[body_at:]


def learnt(data: bytes, body_bytes: int, endpoint: Endpoint, head: RequestHead) -> RepeatedHead | None:
    """Return the head of a request that the parser has read from these bytes, with a body of so many, to know it again.

    None where they are not exactly that head and that body, or where its end is not told by one length.
    """
    size = len(data) - body_bytes
    if head.fault is not None or data.find(_BLANK_LINE) != size - len(_BLANK_LINE):
        return None
    lengths = list(_LENGTH.finditer(data, 0, size))
    if len(lengths) != 1 or int(lengths[0][1]) != body_bytes:
        return None
    start, end = lengths[0].span(1)
    return RepeatedHead(data[:start], data[end:size], endpoint, head)
