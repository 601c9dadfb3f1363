"""How a request is routed: in which order candidates are tried, when another one is, when it ends. Pure.

What is random is passed in as draws, and what happened is told: so the record of a request can be replayed here, and
must come to the same candidates (`replayed`).
"""

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Protocol

from gateway.records import Candidate, Decision

REPEATS = 2  # times the last candidate is asked again when no other is left


class Weighted(Protocol):
    """Anything with a weight."""

    @property
    def weight(self) -> int: ...


def draws_for(candidates: Sequence[Weighted], *, weighted: bool, random: Random) -> list[float]:
    """Return the random numbers that an order needs, one for each candidate, or none where no chance is involved."""
    if len(candidates) > 1 and (weighted or any(one.weight == other.weight for one, other in pairwise(candidates))):
        return [random.random() for _ in candidates]
    return []


def in_order[C: Weighted](candidates: Sequence[C], *, weighted: bool, draws: Sequence[float]) -> Sequence[C]:
    """Return the candidates in the order of trying. They come sorted by weight, highest first.

    By default the highest weight comes first, and equal weights in random order; with `weighted` each place is drawn at
    random in proportion to the weights of those left, and weight 0 comes last.
    """
    if not draws:
        return candidates
    if weighted:
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): sorting by u^(1/w) draws without
        # replacement in proportion to the weights.
        def key(place: int) -> float:
            weight, draw = candidates[place].weight, draws[place]
            return -(draw ** (1 / weight)) if weight else draw

        return [candidates[place] for place in sorted(range(len(candidates)), key=key)]
    return [candidates[n] for n in sorted(range(len(candidates)), key=lambda n: (-candidates[n].weight, draws[n]))]


class Walk[C]:
    """The way of one request through its candidates: each in turn, and the last one again if it may be.

    Ask `next()`, try what it gives, tell `skipped()` or `failed()`, ask again. Time and budgets are the caller's to
    watch: it may stop at any step.
    """

    __slots__ = ("_calls_left", "_last", "_order", "_place", "_repeats_left", "repeating")

    def __init__(self, order: Sequence[C], *, calls: int) -> None:
        self._order = order
        self._place = 0
        self._calls_left = calls
        self._last: C | None = None  # the one that failed last, if it may be asked again
        self._repeats_left = REPEATS
        self.repeating = False  # what next() gave has failed before: pause first

    def next(self) -> C | None:
        """Return the candidate to try, None at the end of the way."""
        if self._calls_left <= 0:
            return None
        if self._place < len(self._order):
            self._place += 1
            return self._order[self._place - 1]
        if self._last is None or self._repeats_left <= 0:
            return None
        self._repeats_left -= 1
        self.repeating = True
        return self._last

    def skipped(self) -> None:
        """Its circuit let no request through: it was considered, not called."""
        if self.repeating:
            self._last = None

    def give_up(self) -> None:
        """Nobody is asked again."""
        self._last = None

    def failed(self, candidate: C, *, may_repeat: bool) -> None:
        """It was called and did not answer."""
        self._calls_left -= 1
        self._last = candidate if may_repeat else None


def replayed(decision: Decision, attempts: Sequence[tuple[bool, bool]]) -> list[str]:
    """Return the providers that the router turns to, in order, given what became of each attempt.

    An attempt is (was it skipped, may it be repeated). The list ends where the record's attempts do; it is longer by
    one where the router would have gone on, which only an answer, a refusal, the deadline or a budget prevents.
    """
    plan = decision.plan
    walk = Walk[Candidate](
        in_order(plan.candidates, weighted=plan.weighted, draws=decision.draws), calls=plan.max_attempts
    )
    way = []
    for skipped, may_repeat in attempts:
        candidate = walk.next()
        if candidate is None:
            break
        way.append(candidate.provider_id)
        if skipped:
            walk.skipped()
        else:
            walk.failed(candidate, may_repeat=may_repeat)
    following = walk.next()
    return way if following is None else [*way, following.provider_id]
