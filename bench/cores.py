"""Which core does what: the gateway has one for itself, so that a figure is one worker's on one core."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """Core numbers. `background` is for the database, the shipper and the benchmark itself."""

    load: int
    gateway: int
    background: frozenset[int]

    @property
    def description(self) -> str:
        rest = ", ".join(map(str, sorted(self.background)))
        return f"gateway on core {self.gateway}, upstream and load generator on {self.load}, the rest on {rest}"


def share_out(available: Iterable[int]) -> Cores:
    """Share cores out: one for the load, one for the gateway, the others for what runs beside."""
    cores = sorted(available)
    if len(cores) == 1:
        return Cores(cores[0], cores[0], frozenset(cores))
    return Cores(cores[0], cores[1], frozenset(cores[2:] or cores[:1]))


def available_cores() -> set[int]:
    """Return the cores that this process may use."""
    return os.sched_getaffinity(0)


def pinned(cores: Iterable[int], then: Callable[[], None] | None = None) -> Callable[[], None]:
    """Return a `preexec_fn` that keeps a child on some cores."""
    wanted = frozenset(cores)

    def pin() -> None:
        os.sched_setaffinity(0, wanted)
        if then is not None:
            then()

    return pin
