"""The circuits as Redis holds them: one hash each, changed by one script only (gateway/circuit.lua).

What both sides share is here: the event loops of the data plane (gateway/circuit_store.py) and the management API,
which reads states and resets circuits through a blocking client.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import redis

from gateway.circuit import Admission, Circuit, Status, Transition

CHANNEL = "nexus:circuits"
ACTIVE = "nexus:circuits:active"  # the ids of all circuits that are not plainly closed
RECENT = "nexus:circuits:recent"  # the ids of those that became so within a day, by the time of it in ms
SCRIPT = (Path(__file__).parent / "circuit.lua").read_text()
FIELDS = (
    "status", "consecutive_failures", "probe_successes", "generation", "opened_at_ms", "probe_token",
    "probe_expires_at_ms", "succeeded_token", "last_from", "last_at_ms", "last_reason",
)  # fmt: skip
_TEXTS = ("probe_token", "succeeded_token", "last_from", "last_reason")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the script answers: the state as it is now, and the transition that this very call made."""

    admission: Admission
    circuit: Circuit
    transition: Transition | None


def circuit_key(provider_id: UUID) -> str:
    return f"nexus:circuit:{provider_id}"


def script_keys(provider_id: UUID) -> list[str]:
    return [circuit_key(provider_id), ACTIVE, RECENT]


def script_arguments(verb: str, provider_id: UUID, *arguments: object, now_ms: int | None = None) -> list[str]:
    """Return the script's arguments. Without `now_ms` it goes by the server's clock, the only one all share."""
    return [verb, str(provider_id), "" if now_ms is None else str(now_ms), *map(str, arguments)]


def answer_of(raw: Sequence[Any]) -> Answer:
    """Read the script's answer."""
    admitted, is_probe, wait_ms, came_from, reason, *state = raw
    circuit = circuit_of(state)
    admission = Admission(bool(admitted), circuit.status, circuit.generation, bool(is_probe), wait_ms)
    if not came_from:
        return Answer(admission, circuit, None)
    change = Transition(
        Status(came_from.decode()), circuit.status, reason.decode(), circuit.last_at_ms, circuit.generation
    )
    return Answer(admission, circuit, change)


def circuit_of(values: Iterable[Any]) -> Circuit:
    """Read a state from its fields in the order of FIELDS, missing ones as None. Raises ValueError."""
    fields: dict[str, Any] = {}
    for name, value in zip(FIELDS, values, strict=True):
        text = value.decode() if isinstance(value, bytes) else value or ""
        if name == "status":
            fields[name] = Status(text or Status.CLOSED)
        else:
            fields[name] = text if name in _TEXTS else int(text or 0)
    return Circuit(**fields)


def read_states(client: redis.Redis, provider_ids: Iterable[UUID]) -> dict[UUID, Circuit]:
    """Return the shared state of circuits, for the management API. One round trip. Raises RedisError."""
    ids = list(provider_ids)
    pipeline = client.pipeline(transaction=False)
    for id_ in ids:
        pipeline.hmget(circuit_key(id_), FIELDS)
    found = pipeline.execute() if ids else []
    return {id_: circuit_of(values) for id_, values in zip(ids, found, strict=True)}


def reset_circuit(client: redis.Redis, provider_id: UUID, reason: str) -> Transition | None:
    """Close a circuit in a new generation: its provider is another one now. Raises RedisError.

    Return the transition, for the caller to record; None where it was closed already.
    """
    return _change(client, "reset", provider_id, reason)


def trip_circuit(client: redis.Redis, provider_id: UUID, reason: str) -> Transition | None:
    """Open a circuit for its whole time. Raises RedisError. Return the transition; None where it was open already."""
    return _change(client, "trip", provider_id, reason)


def _change(client: redis.Redis, verb: str, provider_id: UUID, reason: str) -> Transition | None:
    script = client.register_script(SCRIPT)
    raw = script(keys=script_keys(provider_id), args=script_arguments(verb, provider_id, reason))
    return answer_of(cast("list[Any]", raw)).transition
