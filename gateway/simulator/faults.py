"""The fault grammar: how a test, a demo or a script says what shall go wrong with an answer.

`fault + fault + …`, each `name`, `name=number`, `name@position` or `name=number;option=value`, with `xN` behind it
where only the first N requests of the model shall have it. Positions count a stream's events from 1, and `@0` is before
the headers. An answer in one piece has the positions 0 (before the headers), 1 (before the body) and 2 (in the middle
of it), to which higher ones fall. A position that the answer does not reach does nothing.

    status=503                       the family's own error, 400 to 599
    status=429;retry_after=2         with that header, any text: seconds, an HTTP date, garbage
    …;retry_after_ms=1500            with OpenAI's retry-after-ms
    …;retry_after_date=2             with an HTTP date so many seconds from now
    insufficient_quota               429, out of credit
    html502                          a proxy's HTML page
    hang, stall_headers, stall@3     nothing at all; headers and then nothing; nothing more before event 3
    latency=500, drip=5              milliseconds before the headers; between events
    empty                            200 and no body, or a stream without events
    error_first, error@3             200 and an error as the first event (or as the body); instead of event 3
    cut@3, no_done                   the stream ends cleanly before event 3; without its terminal marker
    reset, reset@3                   a TCP reset at once; before event 3
    cutbytes@120                     the connection closes after byte 120 of the body
    badjson, badjson@3               the body, or event 1 or 3, is not JSON
    badchunk@3                       event 3 is framed as a chunk of no size
    bad_crc, bad_crc@3               event 1 or 3 has a wrong checksum, where a stream is binary
    crlf, comments, split            CRLF line ends; keep-alive comments and blank lines, where a stream is text; writes
                                     of 1 to 7 bytes
    giant                            a word of 1 MB at the end of the text
    no_usage, usage_twice, double_finish, unknown_event
    close                            connection: close, and it is
    ok                               nothing goes wrong (a step in a script)

A refused connection cannot be a fault of a request: stop the simulator instead.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

FLAGS = frozenset(
    (
        *("ok", "insufficient_quota", "html502", "hang", "stall_headers", "empty", "error_first", "no_done", "crlf"),
        *("comments", "split", "giant", "no_usage", "usage_twice", "double_finish", "unknown_event", "close"),
    )
)
NUMBERS = {"status": (400, 599), "latency": (0, 600_000), "drip": (0, 60_000)}
# The position where none is given; None: one has to be given.
POSITIONS: dict[str, int | None] = {
    "stall": None,
    "error": None,
    "cut": None,
    "cutbytes": None,
    "reset": 0,
    "badjson": 1,
    "badchunk": 1,
    "bad_crc": 1,
}
OPTIONS = {"status": frozenset(("retry_after", "retry_after_ms", "retry_after_date"))}

_LIMITED = re.compile(r"(.+?)x([1-9][0-9]{0,6})\Z")
_FORM = re.compile(r"([a-z_]+[a-z0-9_]*)(?:(=|@)(.*))?\Z", re.DOTALL)


class BadFault(ValueError):
    """A fault is not written in the grammar; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    value: int = 0  # a number or a position, as the name has it
    options: dict[str, str] = field(default_factory=dict)
    limit: int | None = None  # only the first so many requests have it

    def __str__(self) -> str:
        sign = "=" if self.name in NUMBERS else "@" if self.name in POSITIONS else ""
        options = "".join(f";{name}={value}" for name, value in self.options.items())
        return f"{self.name}{sign}{self.value if sign else ''}{options}"


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with one answer."""

    chosen: tuple[Fault, ...] = ()

    def __contains__(self, name: str) -> bool:
        return any(fault.name == name for fault in self.chosen)

    def __str__(self) -> str:
        return "+".join(map(str, self.chosen))

    def get(self, name: str) -> Fault | None:
        return next((fault for fault in self.chosen if fault.name == name), None)

    def value(self, name: str) -> int | None:
        """Return a fault's number or position, or None where the fault is not chosen."""
        fault = self.get(name)
        return None if fault is None else fault.value

    def for_turn(self, turn: int) -> Self:
        """Return what is left of the faults when it is the model's so-manieth request, counted from 0."""
        if all(fault.limit is None for fault in self.chosen):
            return self
        return type(self)(tuple(fault for fault in self.chosen if fault.limit is None or turn < fault.limit))


NO_FAULTS = Faults()


def parse(text: str) -> Faults:
    """Read a composition of faults; empty text is none. Raises BadFault."""
    if not text.strip():
        return NO_FAULTS
    chosen = tuple(_parse_one(part.strip()) for part in text.split("+"))
    names = [fault.name for fault in chosen]
    for name in names:
        if names.count(name) > 1:
            raise BadFault(f"The fault {name!r} is named twice in {text!r}.")
    return Faults(tuple(fault for fault in chosen if fault.name != "ok"))


def expand(steps: Iterable[str]) -> list[Faults]:
    """Read a script's steps. A step with `xN` is N steps. Raises BadFault."""
    expanded: list[Faults] = []
    for step in steps:
        faults = parse(step)
        turns = max((fault.limit or 1 for fault in faults.chosen), default=1)
        expanded.extend(faults.for_turn(turn) for turn in range(turns))
    return expanded


def _parse_one(text: str) -> Fault:
    limit = None
    limited = _LIMITED.match(text)
    if limited is not None:
        text, limit = limited[1], int(limited[2])
    form, *options = text.split(";")
    matched = _FORM.match(form)
    if matched is None:
        raise BadFault(f"{text!r} is not a fault. Write name, name=number or name@position.")
    name, sign, value = matched[1], matched[2], matched[3]
    return Fault(name, _value(name, sign, value), _options(name, options), limit)


def _value(name: str, sign: str | None, text: str | None) -> int:
    if name in FLAGS:
        if sign is not None:
            raise BadFault(f"The fault {name!r} takes no value.")
        return 0
    if name in NUMBERS:
        least, most = NUMBERS[name]
        if sign != "=" or not _within(text, least, most):
            raise BadFault(f"The fault {name!r} needs a number from {least} to {most}: {name}={least}.")
        return int(text or "")
    if name not in POSITIONS:
        known = ", ".join(sorted({*FLAGS, *NUMBERS, *POSITIONS}))
        raise BadFault(f"There is no fault {name!r}. Known: {known}.")
    default = POSITIONS[name]
    if sign is None and default is not None:
        return default
    if sign != "@" or not _within(text, 0, 10**9):
        raise BadFault(f"The fault {name!r} needs a position: {name}@3.")
    return int(text or "")


def _within(text: str | None, least: int, most: int) -> bool:
    return text is not None and text.isascii() and text.isdigit() and least <= int(text) <= most


def _options(name: str, texts: list[str]) -> dict[str, str]:
    allowed = OPTIONS.get(name, frozenset())
    options: dict[str, str] = {}
    for text in texts:
        option, sign, value = text.partition("=")
        option = option.strip()
        if option not in allowed or not sign:
            expected = f"Known: {', '.join(sorted(allowed))}." if allowed else "It takes none."
            raise BadFault(f"The fault {name!r} has no option {text!r}. {expected}")
        if option == "retry_after_date" and not _within(value, 0, 10**6):
            raise BadFault("The option 'retry_after_date' needs a number of seconds.")
        if not (value.isascii() and value.isprintable()):
            raise BadFault(f"The option {option!r} cannot be sent as a header.")
        options[option] = value
    return options
