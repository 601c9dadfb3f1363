"""What one process knows of the circuits: a copy of the shared state, and who of several tellers is to be believed.

States arrive by three ways that overtake each other: pushed by the server, in order; as the answer to a question;
and from this process's own machine, while it is alone. An answer is newer than all that was known when it was asked
for, but perhaps older than what came in meanwhile. No I/O and no clock here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from gateway.circuit import Circuit, Status

_CLOSED = Circuit()


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request. `token` is set for a probe."""

    generation: int
    token: str = ""

    @property
    def is_probe(self) -> bool:
        return bool(self.token)


class CircuitMirror:
    """States by provider. A circuit that nobody told of is plainly closed."""

    def __init__(self) -> None:
        self._circuits: dict[UUID, Circuit] = {}
        self._changed_at: dict[UUID, int] = {}
        self._permits: dict[UUID, Permit] = {}  # of closed circuits, so that the hot path makes none
        self._changes = 0

    @property
    def now(self) -> int:
        """The number of changes so far: note it when a question is asked, and give it with the answer."""
        return self._changes

    def get(self, provider_id: UUID) -> Circuit:
        return self._circuits.get(provider_id, _CLOSED)

    def closed_permit(self, provider_id: UUID) -> Permit | None:
        """Return the permit of a closed circuit, None of any other."""
        permit = self._permits.get(provider_id)
        if permit is not None or provider_id in self._circuits:
            return permit
        permit = self._permits[provider_id] = Permit(0)
        return permit

    def unsettled(self) -> set[UUID]:
        """Return the circuits that are anything but plainly closed, as far as is known here."""
        return {
            id_
            for id_, circuit in self._circuits.items()
            if circuit.status is not Status.CLOSED or circuit.consecutive_failures
        }

    def known(self) -> set[UUID]:
        return set(self._circuits)

    def put(self, provider_id: UUID, circuit: Circuit) -> None:
        """Set what this process made of it alone."""
        if self._circuits.get(provider_id) == circuit:
            return
        self._circuits[provider_id] = circuit
        self._changes += 1
        self._changed_at[provider_id] = self._changes
        if circuit.status is Status.CLOSED:
            self._permits[provider_id] = Permit(circuit.generation)
        else:
            self._permits.pop(provider_id, None)

    def take_push(self, provider_id: UUID, circuit: Circuit) -> None:
        """Take what the server told unasked, unless a later generation is known already."""
        if circuit.generation >= self.get(provider_id).generation:
            self.put(provider_id, circuit)

    def take_answer(self, provider_id: UUID, circuit: Circuit | None, *, asked_at: int) -> None:
        """Take an answer; None says that the server knows no such circuit.

        A lower generation than the known one is believed too: the server has lost its memory since. What changed while
        the question was under way stays, but for a later generation; the push of that change is the last word.
        """
        overtaken = self._changed_at.get(provider_id, 0) > asked_at
        if overtaken and (circuit is None or circuit.generation <= self.get(provider_id).generation):
            return
        if circuit is None:
            self._forget(provider_id)
        else:
            self.put(provider_id, circuit)

    def replace(self, states: Mapping[UUID, Circuit | None]) -> None:
        """Let the shared state win over all that this process made of it alone."""
        for id_, circuit in states.items():
            if circuit is None:
                self._forget(id_)
            else:
                self.put(id_, circuit)

    def states(self, provider_ids: Iterable[UUID]) -> dict[UUID, Circuit]:
        return {id_: self.get(id_) for id_ in provider_ids}

    def _forget(self, provider_id: UUID) -> None:
        self._circuits.pop(provider_id, None)
        self._changed_at.pop(provider_id, None)
        self._permits.pop(provider_id, None)
