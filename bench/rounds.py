"""The measurement itself: rounds of all scenarios over all targets, interleaved, so that a machine that is slower for a
while is slower for all of them. Every target but the one under load stands still meanwhile."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.children import Child, answers
from bench.cores import Cores
from bench.load import LoadGenerator
from bench.result import Measurement, Memory, Pace, TargetFacts
from bench.scenario import Scenario
from bench.targets import Target

_WARM_UP = (("n4", 0.7), ("s4", 0.5))  # scenario, seconds
_SLOW_WARM_UP = (("n16", 6.0), ("s16", 4.0))


class Contestant:
    """A target while it is measured."""

    def __init__(self, target: Target, *, cores: Cores, logs: Path) -> None:
        self.target = target
        self.asked = 0
        self.start_seconds: float | None = None
        self.idle: Memory | None = None
        self.after: Memory | None = None
        self.child: Child | None = None
        self._cores = cores
        self._log = logs / f"{target.name}.log"

    def start(self) -> None:
        """Start the target and wait for its first answer."""
        target = self.target
        if not target.command:
            return
        began = time.monotonic()
        self.child = Child(
            target.name,
            target.command,
            log=self._log,
            cores={self._cores.gateway},
            environment=target.environment,
            directory=target.directory,
        )
        self.child.await_that(lambda: answers(target))
        self.asked += 1
        self.start_seconds = round(time.monotonic() - began, 2)

    def warm_up(self, generator: LoadGenerator, share: float) -> None:
        """Read the memory at rest, then have every code path walked once."""
        if self.child is None:
            return
        self.idle = self.child.memory()
        for name, seconds in _WARM_UP + (_SLOW_WARM_UP if self.target.slow else ()):
            figures, _ = generator.run(self.target, Scenario.parse(name), seconds=seconds * share)
            self.asked += figures.asked
        self.child.settle(self.target.drained)
        self.child.pause()

    def measure(self, generator: LoadGenerator, scenario: Scenario, pace: Pace, number: int) -> Measurement:
        """Measure one scenario, background work of what was asked included."""
        child, factor = self.child, 2 if self.target.slow else 1
        if child is not None:
            child.go_on()
        before = child.cpu_seconds() if child is not None else 0.0
        figures, note = generator.run(
            self.target, scenario, seconds=pace.seconds * factor, warm_up_seconds=pace.warm_up_seconds
        )
        drained, cpu_us = True, None
        if child is not None:
            drained = child.settle(self.target.drained)
            if figures.asked:
                cpu_us = round((child.cpu_seconds() - before) / figures.asked * 1e6, 1)
            child.pause()
        self.asked += figures.asked
        return Measurement(self.target.name, scenario.name, number, cpu_us, drained, figures, note)

    def finish(self) -> TargetFacts:
        """Read the memory after all rounds, end the target, and tell what is known of it."""
        after = self.child.memory() if self.child is not None else None
        self.stop()
        return TargetFacts(self.target.name, self.target.version, self.start_seconds, self.idle, after, self.asked)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None


def run(
    targets: Sequence[Target],
    scenarios: Sequence[Scenario],
    *,
    pace: Pace,
    generator: LoadGenerator,
    cores: Cores,
    logs: Path,
    say: Callable[[str], object],
) -> tuple[list[Measurement], list[TargetFacts]]:
    """Measure every scenario on every target, round by round."""
    contestants = [Contestant(target, cores=cores, logs=logs) for target in targets]
    share = min(1.0, pace.seconds)  # short measurements, as a test's, are warmed up shortly
    measured: list[Measurement] = []
    try:
        for contestant in contestants:
            contestant.start()
            contestant.warm_up(generator, share)
            say(f"{contestant.target.name} is ready")
        for number in range(pace.rounds):
            for scenario in scenarios:
                measured += [contestant.measure(generator, scenario, pace, number) for contestant in contestants]
                say(f"round {number + 1} of {pace.rounds}: {scenario.name} measured")
        return measured, [contestant.finish() for contestant in contestants]
    finally:
        for contestant in contestants:
            contestant.stop()
