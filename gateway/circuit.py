"""The circuit breaker of one provider connection, as a pure state machine.

closed -> open after FAILURE_THRESHOLD consecutive failures; open for OPEN_SECONDS, then half-open: one leased probe
at a time; PROBE_SUCCESSES consecutive successes close it, one failure opens it again. What the client is to blame for
is neutral: it neither counts nor resets. Every transition begins a new generation, and what was admitted in an
earlier one decides nothing. A streamed probe is judged at its first content; should it break later, that is a failure
while the circuit is still half-open. `circuit.lua` is the same machine for all processes; a property test holds the
two together.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

FAILURE_THRESHOLD = 5
OPEN_SECONDS = 30
PROBE_SUCCESSES = 2


class Status(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Result(StrEnum):
    """What an answer says about its provider."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one circuit. Times are Unix milliseconds.

    A generation is the time of its beginning, or one more than the last where the clock has not moved on: so it never
    comes again, not even when the state has been forgotten meanwhile. 0 is the time before the first transition.
    """

    status: Status = Status.CLOSED
    consecutive_failures: int = 0
    probe_successes: int = 0
    generation: int = 0
    opened_at_ms: int = 0
    probe_token: str = ""
    probe_expires_at_ms: int = 0
    succeeded_token: str = ""  # of the latest probe that succeeded: its stream may still break
    last_from: str = ""
    last_at_ms: int = 0
    last_reason: str = ""

    def half_open_at_ms(self, open_ms: int) -> int | None:
        """Return when an open circuit lets the first probe through."""
        return self.opened_at_ms + open_ms if self.status is Status.OPEN else None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may go to the provider, and in which generation."""

    admitted: bool
    status: Status
    generation: int
    is_probe: bool = False
    wait_ms: int = 0  # until the next chance, where not admitted


@dataclass(frozen=True, slots=True)
class Transition:
    from_status: Status
    to_status: Status
    reason: str
    at_ms: int
    generation: int


def acquire(
    circuit: Circuit, *, token: str, lease_ms: int, now_ms: int, open_ms: int = OPEN_SECONDS * 1000
) -> tuple[Circuit, Admission, Transition | None]:
    """Ask to send one request. `token` becomes the holder of the probe's slot, for `lease_ms` at most."""
    if circuit.status is Status.CLOSED:
        return circuit, Admission(True, Status.CLOSED, circuit.generation), None
    if circuit.status is Status.OPEN:
        left = circuit.opened_at_ms + open_ms - now_ms
        if left > open_ms:  # the clock was set back: an hour must not be waited for, so the time begins anew
            circuit, left = replace(circuit, opened_at_ms=now_ms), open_ms
        if left > 0:
            return circuit, Admission(False, Status.OPEN, circuit.generation, wait_ms=left), None
        half, transition = _move(circuit, Status.HALF_OPEN, "the open time is over", now_ms)
        half = replace(half, probe_token=token, probe_expires_at_ms=now_ms + lease_ms)
        return half, Admission(True, Status.HALF_OPEN, half.generation, is_probe=True), transition
    if not circuit.probe_token or now_ms >= circuit.probe_expires_at_ms:
        taken = replace(circuit, probe_token=token, probe_expires_at_ms=now_ms + lease_ms)
        return taken, Admission(True, Status.HALF_OPEN, circuit.generation, is_probe=True), None
    left = circuit.probe_expires_at_ms - now_ms
    if left > lease_ms:  # set back, as above
        circuit, left = replace(circuit, probe_expires_at_ms=now_ms + lease_ms), lease_ms
    return circuit, Admission(False, Status.HALF_OPEN, circuit.generation, wait_ms=left), None


def report(
    circuit: Circuit, *, result: Result, generation: int, token: str, now_ms: int, reason: str = ""
) -> tuple[Circuit, Transition | None]:
    """Tell how a request ended that was admitted in `generation`; `token` is the probe's, empty for others."""
    if generation != circuit.generation:
        return circuit, None
    if circuit.status is Status.CLOSED:
        return _report_closed(circuit, result, now_ms, reason)
    if circuit.status is Status.OPEN or not token:
        return circuit, None
    if token == circuit.probe_token:
        return _report_probe(circuit, result, token, now_ms, reason)
    if token == circuit.succeeded_token and result is Result.FAILURE:
        return _move(circuit, Status.OPEN, f"the probe's stream broke: {reason}", now_ms)
    return circuit, None


def reset(circuit: Circuit, *, now_ms: int, reason: str) -> tuple[Circuit, Transition | None]:
    """Close the circuit in a new generation, whatever it was: its provider is another one now."""
    closed, transition = _move(circuit, Status.CLOSED, reason, now_ms)
    return closed, transition if circuit.status is not Status.CLOSED else None


def trip(circuit: Circuit, *, now_ms: int, reason: str) -> tuple[Circuit, Transition | None]:
    """Open the circuit for its whole time, whatever it was: somebody knows better. Then probes decide, as ever."""
    tripped, transition = _move(circuit, Status.OPEN, reason, now_ms)
    return tripped, transition if circuit.status is not Status.OPEN else None


def _report_closed(circuit: Circuit, result: Result, now_ms: int, reason: str) -> tuple[Circuit, Transition | None]:
    if result is Result.SUCCESS:
        return replace(circuit, consecutive_failures=0), None
    if result is Result.NEUTRAL:
        return circuit, None
    failures = circuit.consecutive_failures + 1
    counted = replace(circuit, consecutive_failures=failures)
    if failures < FAILURE_THRESHOLD:
        return counted, None
    return _move(counted, Status.OPEN, f"{failures} consecutive failures, the last: {reason}", now_ms)


def _report_probe(
    circuit: Circuit, result: Result, token: str, now_ms: int, reason: str
) -> tuple[Circuit, Transition | None]:
    freed = replace(circuit, probe_token="", probe_expires_at_ms=0)
    if result is Result.FAILURE:
        return _move(freed, Status.OPEN, f"the probe failed: {reason}", now_ms)
    if result is Result.NEUTRAL:
        return freed, None
    successes = circuit.probe_successes + 1
    if successes < PROBE_SUCCESSES:
        return replace(freed, probe_successes=successes, succeeded_token=token), None
    return _move(freed, Status.CLOSED, f"{successes} probes succeeded", now_ms)


def _move(circuit: Circuit, to: Status, reason: str, now_ms: int) -> tuple[Circuit, Transition]:
    generation = max(circuit.generation + 1, now_ms)
    moved = Circuit(
        status=to,
        consecutive_failures=circuit.consecutive_failures if to is Status.OPEN else 0,
        generation=generation,
        opened_at_ms=now_ms if to is Status.OPEN else 0,
        last_from=circuit.status,
        last_at_ms=now_ms,
        last_reason=reason,
    )
    return moved, Transition(circuit.status, to, reason, now_ms, generation)
