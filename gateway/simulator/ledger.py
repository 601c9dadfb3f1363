"""The simulator's own account of what was asked of it: the oracle of tests."""

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.simulator.dialect import Asked, Request

type Fate = Literal["in_flight", "completed", "client_gone"]

MAX_BODY_BYTES = 64 * 1024 * 1024  # kept over all entries
_CREDENTIALS = frozenset(("authorization", "api-key", "x-api-key", "x-goog-api-key"))


def fingerprint(credential: str) -> str:
    """Return what the log shows of a credential: enough to recognise it, nothing to use."""
    return f"sha256:{hashlib.sha256(credential.encode()).hexdigest()[:12]}"


@dataclass(slots=True, eq=False)
class Entry:
    """One request and what became of it. `seconds` runs from the request's last byte."""

    request: Request
    asked: Asked
    at: float  # seconds since the epoch
    started: float  # by the loop's clock
    fault: str = ""
    status: int = 0
    fate: Fate = "in_flight"
    events: int = 0
    bytes_sent: int = 0
    seconds: float | None = None

    def shown(self) -> dict[str, Any]:
        """Return the entry as the log shows it."""
        return {
            "at": self.at,
            "method": self.request.method,
            "path": self.request.path,
            "query": self.request.query,
            "model": self.asked.model,
            "stream": self.asked.stream,
            "headers": {name: _shown_header(name, value) for name, value in self.request.headers.items()},
            "body": self.request.body.decode(errors="replace") if self.asked.body is None else self.asked.body,
            "fault": self.fault,
            "status": self.status,
            "fate": self.fate,
            "events": self.events,
            "bytes_sent": self.bytes_sent,
            "seconds": self.seconds,
        }


class Ledger:
    """The requests since the last reset, the newest `limit` of them in full, and their counts."""

    def __init__(self, limit: int) -> None:
        self._entries: deque[Entry] = deque()
        self._limit = limit
        self._body_bytes = 0
        self.requests = 0
        self.completed = 0
        self.client_gone = 0
        self.connections = 0

    def open(self, entry: Entry) -> None:
        self.requests += 1
        self._entries.append(entry)
        self._body_bytes += len(entry.request.body)
        while len(self._entries) > self._limit or (self._body_bytes > MAX_BODY_BYTES and len(self._entries) > 1):
            self._body_bytes -= len(self._entries.popleft().request.body)

    def close(self, entry: Entry, fate: Fate, now: float) -> None:
        entry.fate = fate
        entry.seconds = round(now - entry.started, 6)
        if fate == "completed":
            self.completed += 1
        else:
            self.client_gone += 1

    def log(self) -> list[dict[str, Any]]:
        """Return every entry, oldest first."""
        return [entry.shown() for entry in self._entries]

    def counts(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "completed": self.completed,
            "client_gone": self.client_gone,
            "connections_accepted": self.connections,
            "log_dropped": self.requests - len(self._entries),
        }


def encoded_log(ledger: Ledger) -> bytes:
    return msgspec.json.encode({"requests": ledger.log()})


def _shown_header(name: str, value: str) -> str:
    if name not in _CREDENTIALS:
        return value
    scheme, space, credential = value.rpartition(" ")
    return f"{scheme}{space}{fingerprint(credential)}"
