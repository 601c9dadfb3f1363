"""A connection to an upstream: the socket, its timer, and whose turn it is.

It carries at most one response at a time and judges nothing about HTTP: bytes go to the response, and bytes that come
while there is none close the connection.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

from gateway.origin import Origin
from gateway.transport_errors import ReadTimedOut

if TYPE_CHECKING:
    from gateway.exchange import Response

# Loop clocks tick in milliseconds; without this a timer that fires within the last one would re-arm in circles.
CLOCK_STEP_SECONDS = 0.001
# So much of a fast upstream, and everybody else has a turn. The loop would read eight megabytes in a row, a quarter of
# one at a time; in an event stream that is two thousand chunks, each of which costs a callback.
SLICE_BYTES = 16 * 1024


class Owner(Protocol):
    """What a connection needs of the pool."""

    def take_back(self, connection: "Connection") -> None: ...

    def forget(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """A socket with at most one exchange on it, and the one timer of whoever waits for it."""

    __slots__ = (
        "_deadline", "_loop", "_owner", "_paused", "_slices", "_timer", "_timer_at", "_turn", "_wire", "idle_since",
        "origin", "response",
    )  # fmt: skip

    def __init__(self, owner: Owner, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._wire: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline = 0.0
        self._paused = False
        self._slices: deque[bytes] = deque()  # of what was read, those that wait for their turn
        self._turn: asyncio.Handle | None = None
        self.origin = origin
        self.response: Response | None = None
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        return self._wire is not None and not self._wire.is_closing()

    def write(self, message: bytes) -> None:
        if self._wire is not None:
            self._wire.write(message)

    def future(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def expire_at(self, deadline: float) -> None:
        """Fail the response at `deadline` (loop time) if somebody still waits for it then.

        A timer that is due earlier is left to run and re-arms itself, so a stream of events, and the next request on
        the same connection, cost no timer at all.
        """
        self._deadline = deadline
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._arm()

    def _arm(self) -> None:
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.response is None or not self.response.waiting:
            return
        if self._deadline - self._loop.time() > CLOCK_STEP_SECONDS:
            self._arm()
        else:
            self.response.fail(ReadTimedOut("The upstream sent nothing within the time allowed."))

    def pause(self) -> None:
        self._paused = True
        if self._wire is not None:
            self._wire.pause_reading()

    def resume(self) -> None:
        self._paused = False
        self._read_on()

    def _read_on(self) -> None:
        if self._paused or self._wire is None or self._wire.is_closing():
            return
        if not self._slices:
            self._wire.resume_reading()
        elif self._turn is None:
            self._turn = self._loop.call_soon(self._next_slice)

    def _next_slice(self) -> None:
        self._turn = None
        if self.response is not None and not self._paused:
            self.response.feed(self._slices.popleft())
            self._read_on()

    def release(self) -> None:
        """Hand the connection back to the pool; its response was read to the end."""
        self.response = None
        # A server may answer before it has read all of the request; what is unsent would precede the next request.
        # What still waits for its turn followed the end of this one.
        if self._wire is None or self._slices or self._wire.is_closing() or self._wire.get_write_buffer_size():
            self.abort()
        else:
            self._owner.take_back(self)

    def abort(self) -> None:
        """Close the socket now, whatever is in flight. This is how an upstream call is cancelled."""
        self._detach()
        if self._wire is not None:
            self._wire.abort()
            self._wire = None

    def _detach(self) -> None:
        self.response = None
        self._slices.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._owner.forget(self)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class.
        self._wire = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.response is None:
            # Nobody asked for these bytes; the next request must not take them for its answer.
            self.abort()
        elif len(data) <= SLICE_BYTES and not self._slices:
            self.response.feed(data)
        elif self._wire is not None:
            self._wire.pause_reading()
            self._slices.extend([data[at : at + SLICE_BYTES] for at in range(0, len(data), SLICE_BYTES)])
            if self._turn is None:
                self._next_slice()

    def eof_received(self) -> None:
        # Judged here and not in connection_lost, which a half-closed peer that reads nothing could put off for ever.
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)

    def _ended(self, exc: Exception | None) -> None:
        while self._slices and self.response is not None:
            self.response.feed(self._slices.popleft())
        response = self.response
        if response is not None:
            response.disconnected(clean=exc is None)
        self.abort()
