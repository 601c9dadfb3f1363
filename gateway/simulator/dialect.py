"""The seam between a simulator and a provider family: what a dialect is given, and what it gives back.

A new family is one module that fills in a Dialect, and one line in `registry`. A dialect is pure: time, randomness and
memory come in with the Circumstances.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

type Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are lower case; `path` comes without the query and is percent-decoded."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    raw_path: str = ""  # as it came over the wire: what a signature covers


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, read without judging it: absent or malformed members are empty."""

    model: str = ""
    stream: bool = False
    body: Any = None  # the decoded JSON, None if there is none


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an answer depends on beside its request."""

    now: int  # seconds since the epoch
    token: str  # 32 hexadecimal digits, another for every request
    latency_ms: int
    giant: bool  # the text ends in a word of GIANT_BYTES
    with_usage: bool
    seen_before: Callable[[bytes], bool]  # true from the second time on that it is asked about the same bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in one piece."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: str = "application/json"


class Kind(StrEnum):
    """What an event is for, as far as faults tell events apart."""

    START = "start"
    CONTENT = "content"
    FINISH = "finish"
    USAGE = "usage"
    FINISH_WITH_USAGE = "finish_with_usage"  # both, in the families that say them in one event
    DONE = "done"
    ERROR = "error"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream as it goes over the wire."""

    kind: Kind
    wire: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer in events, with status 200."""

    events: tuple[Event, ...]
    headers: Headers = ()
    content_type: str = "text/event-stream; charset=utf-8"


class Refused(Exception):
    """The API refuses the request; `reply` is its answer in the family's own words."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body.decode())
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Dialect:
    """One provider family, as functions from requests to answers."""

    family: str
    base_path: str  # what a base URL ends in
    look: Callable[[Request], Asked]
    authenticate: Callable[[Request, str], None]  # the key that is required, or "" for any; raises Refused
    answer: Callable[[Request, Asked, Circumstances], Reply | Stream]  # routes and validates; raises Refused
    failure: Callable[[int, str | None], Reply]  # the native error for a status, with the family's message or this one
    quota_failure: Reply  # "you have run out of credit"
    error_event: bytes  # a failure in the midst of a stream
    bad_event: bytes  # an event whose data is not what it should be
    unknown_event: bytes  # an event that no client knows
    keep_alive: bytes  # what the family sends to keep a stream open
    end_marker: Kind = Kind.DONE  # the event without which a stream is not over
    binary: bool = False  # events are frames that end in a checksum, not lines of text
