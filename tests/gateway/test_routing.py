"""The order in which candidates are tried."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import in_order


@dataclass(frozen=True)
class Candidate:
    name: int
    weight: int


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
