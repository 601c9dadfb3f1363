"""The order in which candidates are tried."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.records import Candidate as Known
from gateway.records import Decision, Plan
from gateway.routing import REPEATS, Walk, draws_for, replayed
from gateway.routing import in_order as ordered


@dataclass(frozen=True)
class Candidate:
    name: int
    weight: int


def in_order(candidates: list[Candidate], *, weighted: bool, random: Random) -> list[Candidate]:
    draws = draws_for(candidates, weighted=weighted, random=random)
    return list(ordered(candidates, weighted=weighted, draws=draws))


def candidates(weights: list[int]) -> list[Candidate]:
    return [Candidate(name, weight) for name, weight in enumerate(sorted(weights, reverse=True))]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.booleans(), st.integers())
def test_every_candidate_has_one_place(weights: list[int], weighted: bool, seed: int) -> None:
    given_ = candidates(weights)
    assert sorted(in_order(given_, weighted=weighted, random=Random(seed)), key=lambda c: c.name) == given_


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers())
def test_by_default_the_highest_weight_comes_first(weights: list[int], seed: int) -> None:
    order = in_order(candidates(weights), weighted=False, random=Random(seed))
    assert [c.weight for c in order] == sorted(weights, reverse=True)


def test_equal_weights_take_turns() -> None:
    random = Random(7)
    firsts = Counter(in_order(candidates([5, 5, 1]), weighted=False, random=random)[0].name for _ in range(2000))
    assert set(firsts) == {0, 1}
    assert all(800 < count < 1200 for count in firsts.values())


def test_weighted_draws_in_proportion_and_weight_zero_comes_last() -> None:
    random = Random(7)
    orders = [in_order(candidates([300, 100, 0]), weighted=True, random=random) for _ in range(4000)]
    firsts = Counter(order[0].weight for order in orders)
    assert abs(firsts[300] / 4000 - 0.75) < 0.03
    assert all(order[-1].weight == 0 for order in orders)


def test_no_chance_is_asked_where_none_is_involved() -> None:
    assert draws_for(candidates([3, 2, 1]), weighted=False, random=Random(1)) == []
    assert draws_for(candidates([7]), weighted=True, random=Random(1)) == []
    assert len(draws_for(candidates([2, 2, 1]), weighted=False, random=Random(1))) == 3


def test_the_last_one_is_asked_again_twice_and_only_if_it_may_be() -> None:
    walk = Walk(["a", "b"], calls=9)
    assert walk.next() == "a"
    walk.failed("a", may_repeat=True)
    assert walk.next() == "b"
    walk.failed("b", may_repeat=True)
    for _ in range(REPEATS):
        assert walk.next() == "b"
        assert walk.repeating
        walk.failed("b", may_repeat=True)
    assert walk.next() is None
    hopeless = Walk(["a"], calls=9)
    hopeless.next()
    hopeless.failed("a", may_repeat=False)
    assert hopeless.next() is None


def test_a_candidate_that_is_skipped_costs_no_call() -> None:
    walk = Walk(["a", "b", "c"], calls=1)
    walk.next()
    walk.skipped()
    assert walk.next() == "b"
    walk.failed("b", may_repeat=True)
    assert walk.next() is None


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.booleans(),
    st.integers(1, 8),
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
    st.integers(),
)
def test_a_recorded_way_can_be_walked_again(
    weights: list[int], weighted: bool, calls: int, fates: list[tuple[bool, bool]], seed: int
) -> None:
    known = [Known("openai", f"p{n}", weight) for n, weight in enumerate(sorted(weights, reverse=True))]
    draws = draws_for(known, weighted=weighted, random=Random(seed))
    walk = Walk(ordered(known, weighted=weighted, draws=draws), calls=calls)
    way, happened = [], []
    for skipped, may_repeat in fates:
        candidate = walk.next()
        if candidate is None:
            break
        way.append(candidate.provider_id)
        happened.append((skipped, may_repeat))
        walk.skipped() if skipped else walk.failed(candidate, may_repeat=may_repeat)
    again = replayed(Decision(Plan(weighted, calls, known), draws), happened)
    assert again[: len(way)] == way
    assert len(again) - len(way) == (walk.next() is not None)
