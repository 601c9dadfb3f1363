"""An answer that is kept for its idempotency key: which are, what of them, and how one is given again. Pure."""

import msgspec

from gateway.recorded_stream import RepeatedStream
from gateway.relay import Reply

REPLAYED = b"idempotency-replayed: true\r\n"
_TRY_AGAIN = frozenset((408, 409, 425, 429))  # and all from 500 on: another try may end otherwise
# What is left of a key's limits is told anew with every answer: yesterday's numbers would mislead who paces itself.
_OF_THE_MOMENT = (b"x-ratelimit-", b"x-nexus-quota-")


class Kept(msgspec.Struct, frozen=True):
    """An answer as it is sealed."""

    status: int
    head: bytes
    body: bytes
    streamed: bool


encode = msgspec.msgpack.encode
decode = msgspec.msgpack.Decoder(Kept).decode


def is_final(status: int) -> bool:
    """Whether a provider's word of this status would not change at another try."""
    return status < 500 and status not in _TRY_AGAIN


def lasting(head: bytes) -> bytes:
    """Return the headers that stay true of an answer, one a line."""
    return b"".join(line for line in head.splitlines(keepends=True) if not line.startswith(_OF_THE_MOMENT))


def given_again(kept: Kept, of_the_moment: bytes) -> Reply:
    """Return a kept answer with the headers that are true now. It belongs to no outcome."""
    head = kept.head + REPLAYED + of_the_moment
    if kept.streamed:
        return Reply(kept.status, head, stream=RepeatedStream(kept.body))
    return Reply(kept.status, head, kept.body)
