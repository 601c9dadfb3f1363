"""The half of a tap that is the same for every stream which passes through event by event.

It holds the events until the first content, then passes them on as they come. What an event says, the family's tap
reads: `take` sets `committed` at the first content, `finished` at the end marker, `failure`, and `usage`.
"""

from abc import ABC, abstractmethod

from billing.pricing import Usage
from gateway import sse
from gateway.providers.base import Failure, FailureKind

HOLD_BYTES = 64 * 1024  # events kept back before the first content; past that the stream is taken as begun


class TappedStream(ABC):
    """Base of the taps; see `StreamDecoder` for what the gateway asks of one."""

    def __init__(self) -> None:
        self._splitter = sse.EventSplitter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.content_bytes = 0
        self.committed = False
        self.finished = False
        self.failure: Failure | None = None
        self.usage: Usage | None = None

    @abstractmethod
    def take(self, event: bytes) -> bool:
        """Note what an event says; return whether the client shall have it."""

    def is_content(self, block: bytes) -> bool:
        """Whether a block after the first content can pass without a look at each of its events."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes; return the bytes for the client."""
        if self.finished or self.failure is not None:
            return b""
        try:
            block = self._splitter.feed(data)
        except sse.EventTooLarge:
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that is too large.")
            return b""
        if self.committed and self.is_content(block):
            return block
        self._walk(block)
        if self._held_bytes >= HOLD_BYTES and self.failure is None:
            self.committed = True
        if not self.committed:
            return b""
        told = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return told

    def end(self) -> Failure | None:
        """Say what is wrong with a body that ended here."""
        if self.failure is not None or self.finished:
            return self.failure
        what = "in mid-answer" if self.committed else "before any content"
        return Failure(FailureKind.TRUNCATED, f"The provider's stream ended {what}, without its end marker.")

    def _walk(self, block: bytes) -> None:
        for event in sse.events(block):
            if self.take(event):
                self._held.append(event)
                self._held_bytes += len(event)
            if self.finished or self.failure is not None:
                break
