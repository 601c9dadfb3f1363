"""Who is believed, where pushes, answers and this process's own decisions overtake each other."""

from uuid import uuid4

from gateway.circuit import Circuit, Status
from gateway.circuit_mirror import CircuitMirror, Permit

ID = uuid4()
SIX = Circuit(generation=6, consecutive_failures=1)
SEVEN = Circuit(generation=7, consecutive_failures=1)
OPEN = Circuit(status=Status.OPEN, generation=8, opened_at_ms=8)


def test_a_circuit_that_nobody_told_of_is_closed() -> None:
    mirror = CircuitMirror()
    assert mirror.closed_permit(ID) == Permit(0)
    assert mirror.get(ID) == Circuit()
    assert mirror.unsettled() == set()


def test_only_a_closed_circuit_has_a_permit_and_it_is_of_its_generation() -> None:
    mirror = CircuitMirror()
    mirror.put(ID, SEVEN)
    assert mirror.closed_permit(ID) == Permit(7)
    mirror.put(ID, OPEN)
    assert mirror.closed_permit(ID) is None
    mirror.put(ID, Circuit(generation=9))
    assert mirror.closed_permit(ID) == Permit(9)


def test_unsettled_is_what_is_not_plainly_closed() -> None:
    mirror, failing, plain = CircuitMirror(), uuid4(), uuid4()
    mirror.put(ID, OPEN)
    mirror.put(failing, SEVEN)
    mirror.put(plain, Circuit(generation=7))
    assert mirror.unsettled() == {ID, failing}
    assert mirror.known() == {ID, failing, plain}


def test_a_push_of_an_earlier_generation_comes_too_late() -> None:
    mirror = CircuitMirror()
    mirror.take_push(ID, SEVEN)
    mirror.take_push(ID, SIX)
    assert mirror.get(ID) == SEVEN
    again = Circuit(generation=7)
    mirror.take_push(ID, again)
    assert mirror.get(ID) == again


def test_an_answer_is_believed_even_to_an_earlier_generation() -> None:
    mirror = CircuitMirror()
    mirror.put(ID, SEVEN)
    mirror.take_answer(ID, SIX, asked_at=mirror.now)
    assert mirror.get(ID) == SIX
    mirror.take_answer(ID, None, asked_at=mirror.now)
    assert mirror.known() == set()
    assert mirror.closed_permit(ID) == Permit(0)


def test_an_answer_that_a_change_has_overtaken_counts_only_if_it_is_of_a_later_generation() -> None:
    mirror = CircuitMirror()
    asked_at = mirror.now
    mirror.take_push(ID, SEVEN)
    for overtaken in (None, SIX, Circuit(generation=7)):
        mirror.take_answer(ID, overtaken, asked_at=asked_at)
        assert mirror.get(ID) == SEVEN
    mirror.take_answer(ID, OPEN, asked_at=asked_at)
    assert mirror.get(ID) == OPEN


def test_what_is_told_twice_overtakes_nothing() -> None:
    mirror = CircuitMirror()
    mirror.put(ID, SEVEN)
    asked_at = mirror.now
    mirror.take_push(ID, SEVEN)
    mirror.take_answer(ID, SIX, asked_at=asked_at)
    assert mirror.get(ID) == SIX


def test_a_returning_server_wins_over_everything() -> None:
    mirror, lost = CircuitMirror(), uuid4()
    mirror.put(ID, OPEN)
    mirror.put(lost, OPEN)
    mirror.replace({ID: SIX, lost: None})
    assert mirror.states([ID, lost]) == {ID: SIX, lost: Circuit()}
    assert mirror.closed_permit(ID) == Permit(6)
    assert mirror.closed_permit(lost) == Permit(0)
