"""From an answer and its faults to the steps that put it on the wire.

Pure: the connection performs the steps. Every write names how many events it completes, so that the log can tell how
far a client got.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle

from gateway.simulator.dialect import Dialect, Event, Headers, Kind, Reply, Stream
from gateway.simulator.faults import Faults

COALESCED_BYTES = 16 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded", 498: "Invalid Token"}
_INTERRUPTIONS = ("stall", "reset", "cut")
_FINISHES = (Kind.FINISH, Kind.FINISH_WITH_USAGE)
_USAGES = (Kind.USAGE, Kind.FINISH_WITH_USAGE)


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes to send, and how many events are complete with them."""

    data: bytes
    events: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to let pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing more until the client leaves."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, once everything is sent."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a TCP reset."""


type Step = Write | Wait | Stall | Close | Reset


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly an answer comes, in seconds."""

    latency: float = 0.0
    between_events: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """What the answer's HTTP head needs beside the answer."""

    headers: Headers
    keep_alive: bool


def play(answer: Reply | Stream, faults: Faults, dialect: Dialect, pace: Pace, frame: Frame) -> Iterator[Step]:
    """Yield the steps of an answer with its faults."""
    latency, drip = faults.value("latency"), faults.value("drip")
    pace = Pace(
        pace.latency if latency is None else latency / 1000, pace.between_events if drip is None else drip / 1000
    )
    if pace.latency:
        yield Wait(pace.latency)
    if "hang" in faults:
        yield Stall()
        return
    if isinstance(answer, Stream):
        steps = _stream(answer, faults, dialect, pace, frame)
    else:
        steps = _reply(answer, faults, frame)
    yield from _split(steps) if "split" in faults else _coalesce(steps)
    if not frame.keep_alive:
        yield Close()


def head(status: int, content_type: str, length: int | None, headers: Headers, *, keep_alive: bool) -> bytes:
    """Return a response's head; without a length its body is chunked."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\ncontent-type: {content_type}\r\n"]
    lines.extend(f"{name}: {value}\r\n" for name, value in headers)
    lines.append("transfer-encoding: chunked\r\n" if length is None else f"content-length: {length}\r\n")
    lines.append("\r\n" if keep_alive else "connection: close\r\n\r\n")
    return "".join(lines).encode()


def _reply(reply: Reply, faults: Faults, frame: Frame) -> Iterator[Step]:
    body = _faulty_body(reply.body, faults)
    half = len(body) // 2
    headers = (*frame.headers, *reply.headers)
    pieces = (
        head(reply.status, reply.content_type, len(body), headers, keep_alive=frame.keep_alive),
        body[:half],
        body[half:],
    )
    if "stall_headers" in faults:
        yield Write(pieces[0])
        yield Stall()
        return
    cut_bytes = faults.value("cutbytes")
    if cut_bytes is not None and cut_bytes < len(body):
        yield Write(pieces[0] + body[:cut_bytes])
        yield Close()
        return
    for position, piece in enumerate(pieces):
        interruption = _interruption(faults, position, last=2)
        if interruption is not None:
            # A body cannot end cleanly before its length: here a cut is a close.
            yield Close() if interruption == "cut" else Reset() if interruption == "reset" else Stall()
            return
        yield Write(piece, events=1 if position == 2 else 0)


def _faulty_body(body: bytes, faults: Faults) -> bytes:
    if "empty" in faults:
        return b""
    if "badjson" in faults:
        return body[: len(body) // 2]
    if "comments" in faults:
        return b"\n\n" + body  # what DeepSeek sends to keep the connection of a slow answer open
    return body


def _interruption(faults: Faults, position: int, last: int | None = None) -> str | None:
    """Return the fault that strikes before a position; one beyond the last position counts as the last."""
    for name in _INTERRUPTIONS:
        value = faults.value(name)
        if value is not None and (value if last is None else min(value, last)) == position:
            return name
    return None


def _stream(stream: Stream, faults: Faults, dialect: Dialect, pace: Pace, frame: Frame) -> Iterator[Step]:
    interruption = _interruption(faults, 0)
    if interruption is not None:
        yield Close() if interruption == "cut" else Reset() if interruption == "reset" else Stall()
        return
    headers = (*frame.headers, ("cache-control", "no-cache"), *stream.headers)
    yield Write(head(200, stream.content_type, None, headers, keep_alive=frame.keep_alive))
    if "stall_headers" in faults:
        yield Stall()
        return
    sent = 0
    cut_bytes = faults.value("cutbytes")
    for position, event in enumerate(_faulty_events(stream.events, faults, dialect), start=1):
        interruption = _interruption(faults, position)
        if interruption == "cut":
            break
        if interruption is not None:
            yield Reset() if interruption == "reset" else Stall()
            return
        if position > 1 and pace.between_events:
            yield Wait(pace.between_events)
        wire = _faulty_wire(event.wire, faults, dialect, position)
        if faults.value("badchunk") == position:
            yield Write(b"no size\r\n" + wire + b"\r\n")
            yield Close()
            return
        if cut_bytes is not None and sent + len(wire) > cut_bytes:
            yield Write(b"%x\r\n%b" % (len(wire), wire[: cut_bytes - sent]))
            yield Close()
            return
        sent += len(wire)
        yield Write(b"%x\r\n%b\r\n" % (len(wire), wire), events=1)
    yield Write(b"0\r\n\r\n")


def _faulty_events(events: Iterable[Event], faults: Faults, dialect: Dialect) -> Iterator[Event]:
    """Yield the events with those that the faults add, double, drop or replace; an error is the last."""
    if not faults.chosen:
        yield from events
        return
    if "empty" in faults:
        return
    error_at = 1 if "error_first" in faults else faults.value("error")
    for position, event in enumerate(_doubled(events, faults, dialect), start=1):
        if error_at == position:
            yield Event(Kind.ERROR, dialect.error_event)
            return
        yield Event(event.kind, dialect.bad_event) if faults.value("badjson") == position else event


def _doubled(events: Iterable[Event], faults: Faults, dialect: Dialect) -> Iterator[Event]:
    for position, event in enumerate(events):
        if event.kind is dialect.end_marker and "no_done" in faults:
            continue
        if position == 1 and "unknown_event" in faults:
            yield Event(Kind.OTHER, dialect.unknown_event)
        yield event
        if event.kind in _FINISHES and "double_finish" in faults:
            yield event
        if event.kind in _USAGES and "usage_twice" in faults:
            yield event


def _faulty_wire(wire: bytes, faults: Faults, dialect: Dialect, position: int) -> bytes:
    if dialect.binary and faults.value("bad_crc") == position:
        wire = wire[:-1] + bytes((wire[-1] ^ 1,))
    if "comments" in faults:
        wire = dialect.keep_alive + wire
    if "crlf" in faults and not dialect.binary:
        wire = wire.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return wire


def _coalesce(steps: Iterable[Step]) -> Iterator[Step]:
    """Join writes that nothing separates, up to COALESCED_BYTES."""
    pending: list[bytes] = []
    size = events = 0
    for step in steps:
        if pending and not (isinstance(step, Write) and size + len(step.data) <= COALESCED_BYTES):
            yield Write(b"".join(pending), events)
            pending.clear()
            size = events = 0
        if isinstance(step, Write):
            pending.append(step.data)
            size += len(step.data)
            events += step.events
        else:
            yield step
    if pending:
        yield Write(b"".join(pending), events)


def _split(steps: Iterable[Step]) -> Iterator[Step]:
    """Cut every write into pieces of 1 to 7 bytes, each sent on its own."""
    sizes = cycle((1, 2, 3, 4, 5, 6, 7))
    for step in steps:
        if not isinstance(step, Write):
            yield step
            continue
        start = 0
        while start < len(step.data):
            end = start + next(sizes)
            yield Write(step.data[start:end], step.events if end >= len(step.data) else 0)
            yield Wait(0)
            start = end
