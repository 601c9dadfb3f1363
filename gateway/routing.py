"""In which order the candidates of a model are tried. Pure: the randomness is passed in."""

from collections.abc import Sequence
from itertools import groupby
from random import Random
from typing import Protocol


class Weighted(Protocol):
    """Anything with a weight."""

    @property
    def weight(self) -> int: ...


def in_order[Candidate: Weighted](
    candidates: Sequence[Candidate], *, weighted: bool, random: Random
) -> list[Candidate]:
    """Return the candidates in the order of trying.

    By default the highest weight comes first and equal weights in random order; with `weighted` each place is drawn at
    random in proportion to the weights of those left, and weight 0 comes last. Candidates come sorted by weight,
    highest first.
    """
    if len(candidates) == 1:
        return list(candidates)
    if weighted:
        return _drawn(candidates, random)
    order: list[Candidate] = []
    for _, equals in groupby(candidates, key=lambda candidate: candidate.weight):
        group = list(equals)
        if len(group) > 1:
            random.shuffle(group)
        order += group
    return order


def _drawn[Candidate: Weighted](candidates: Sequence[Candidate], random: Random) -> list[Candidate]:
    # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): sorting by u^(1/w) draws without
    # replacement in proportion to the weights.
    def key(candidate: Candidate) -> float:
        return random.random() ** (1 / candidate.weight) if candidate.weight else -random.random()

    return sorted(candidates, key=key, reverse=True)
