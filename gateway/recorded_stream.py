"""Streams that are written down while they pass, and streams that are read again."""

from collections.abc import Awaitable, Callable

from gateway.answer_stream import AnswerStream

_BLOCK_BYTES = 64 * 1024


class RecordedStream:
    """Passes a stream on as it comes and keeps a copy. `ended` is awaited before the last bytes are handed out, with
    the copy, or with None for a stream that is not whole; `left` is called when nobody reads it to the end.

    A copy that would be larger than `max_bytes` is given up for b"".
    """

    def __init__(
        self,
        inner: AnswerStream,
        *,
        max_bytes: int,
        ended: Callable[[bytes | None], Awaitable[None]],
        left: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._max_bytes = max_bytes
        self._ended = ended
        self._left = left
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False

    async def next(self) -> bytes:
        block = await self._inner.next()
        self._record(block)
        if self._inner.over:
            await self._end()
        return block

    async def pump(self, write: Callable[[bytes], None]) -> bytes:
        def both(block: bytes) -> None:
            self._record(block)
            write(block)

        last = await self._inner.pump(both)
        self._record(last)
        await self._end()
        return last

    def hold(self) -> None:
        self._inner.hold()

    def go_on(self) -> None:
        self._inner.go_on()

    def close(self) -> None:
        self._inner.close()
        if not self._over:
            self._over = True
            self._left()

    def _record(self, block: bytes) -> None:
        self._size += len(block)
        if self._size <= self._max_bytes:
            self._parts.append(block)
        else:
            self._parts.clear()

    async def _end(self) -> None:
        if not self._over:
            self._over = True
            await self._ended(b"".join(self._parts) if self._inner.whole else None)


class RepeatedStream:
    """A stream that was kept, in blocks."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    async def next(self) -> bytes:
        block = self._body[self._at : self._at + _BLOCK_BYTES]
        self._at += len(block)
        return block

    async def pump(self, write: Callable[[bytes], None]) -> bytes:
        while self._at + _BLOCK_BYTES < len(self._body):
            write(await self.next())
        return await self.next()

    def hold(self) -> None:
        """All of it is in memory already."""

    def go_on(self) -> None:
        """As above."""

    def close(self) -> None:
        self._at = len(self._body)
