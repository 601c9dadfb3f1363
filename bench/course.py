"""A whole run: what is built and started, in which order, and what is made of it."""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench import machine, peers, programs, rounds, targets
from bench.cores import Cores, available_cores, share_out
from bench.gateway import CONSOLE, RUNTIME, TENANT, Gateway, gateway
from bench.load import LoadGenerator
from bench.medians import DIRECT
from bench.plan import Plan
from bench.programs import CannotMeasure
from bench.result import Background, Dashboards, Ingest, Machine, Measurement, Result, TargetFacts, Translation
from bench.targets import Target
from bench.upstream import free_port, upstream

_NGINX = "nginx"

Say = Callable[[str], object]


def run(plan: Plan, *, say: Say) -> Result:
    """Measure what the plan asks for. Raises CannotMeasure."""
    programs.require_linux()
    facts = machine.describe()
    cores = share_out(available_cores())
    built = programs.build(plan.work / "bin")
    logs = plan.work / "logs"
    logs.mkdir(exist_ok=True)
    os.sched_setaffinity(0, cores.background)  # ours, and so the embedded servers'
    try:
        with (
            upstream(built.mock, cores=cores, logs=logs) as port,
            gateway(_empty(plan.work / "nexus"), upstream_port=port, cores=cores, logs=logs) as installation,
        ):
            say("NEXUS is set up")
            return _Course(plan, facts, cores, LoadGenerator(built.loadgen, cores.load), installation, port, say).run()
    finally:
        os.sched_setaffinity(0, {cores.load, cores.gateway, *cores.background})


@dataclass(frozen=True, slots=True)
class _Course:
    """The parts of a run, over one installation."""

    plan: Plan
    facts: Machine
    cores: Cores
    generator: LoadGenerator
    installation: Gateway
    upstream_port: int
    say: Say

    def run(self) -> Result:
        """Measure every part that the plan names."""
        parts = self.plan.parts
        measurements, found, beside = self._gateway() if "gateway" in parts else ([], [], None)
        translations = self._translations() if "translation" in parts else []
        ingest = self._ingest() if "ingest" in parts else None
        dashboards = self._dashboards() if "dashboards" in parts else None
        return Result(
            machine=self.facts,
            cores=self.cores.description,
            pace=self.plan.pace,
            features=self.installation.features,
            targets=found,
            measurements=measurements,
            background=beside,
            translations=translations,
            ingest=ingest,
            dashboards=dashboards,
            not_measured=self.installation.not_measured,
        )

    def _gateway(self) -> tuple[list[Measurement], list[TargetFacts], Background | None]:
        candidates = self._targets()
        before = self._background_seconds()
        measurements, found = rounds.run(
            candidates,
            self.plan.scenarios,
            pace=self.plan.pace,
            generator=self.generator,
            cores=self.cores,
            logs=self.plan.work / "logs",
            say=self.say,
        )
        return measurements, found, self._background(found, before)

    def _translations(self) -> list[Translation]:
        self.say("measuring the translations")
        printed = self.installation.run_part("translation", cores={self.cores.gateway})
        return msgspec.json.decode(printed, type=list[Translation])

    def _ingest(self) -> Ingest:
        self.say("measuring the log ingest")
        rows = str(self.plan.ingest_rows)
        printed = self.installation.run_part("ingest", rows, TENANT, cores={self.cores.gateway})
        return msgspec.json.decode(printed, type=Ingest)

    def _dashboards(self) -> Dashboards:
        self.say(f"filling a request log with {self.plan.rows:,} rows")
        printed = self.installation.run_part("dashboards", str(self.plan.rows), cores={self.cores.gateway})
        return msgspec.json.decode(printed, type=Dashboards)

    def _targets(self) -> list[Target]:
        """Return what the plan asks for, in the order in which it is measured."""
        plan, asked = self.plan, self.plan.targets
        known = {DIRECT, _NGINX, RUNTIME, CONSOLE, *(peers.NAMES if plan.peers else ())}
        if asked - known:
            strange = ", ".join(sorted(asked - known))
            raise CannotMeasure(f"There is no target {strange}: take {', '.join(sorted(known))}.")
        found = [targets.direct(self.upstream_port)]
        if not asked or _NGINX in asked:
            found.append(_nginx(plan.work / "nginx", self.upstream_port))
        found += self.installation.targets(self.facts.commit or "unknown commit")
        if plan.peers:
            found += peers.targets(plan.work / "peers", upstream_port=self.upstream_port, say=self.say)
        return [target for target in found if not asked or target.name in asked]

    def _background_seconds(self) -> tuple[float, float]:
        return self.installation.shipper.cpu_seconds(), self.installation.postgres_cpu_seconds()

    def _background(self, found: Iterable[TargetFacts], before: tuple[float, float]) -> Background | None:
        """Tell what shipping the measured requests cost; None where none were measured."""
        asked = sum(facts.asked for facts in found if facts.name in (RUNTIME, CONSOLE))
        if not asked:
            return None
        shipper, postgres = (
            round((after - earlier) / asked * 1e6, 1)
            for after, earlier in zip(self._background_seconds(), before, strict=True)
        )
        printed = self.installation.run_part("logged", cores=self.cores.background)
        return Background(asked, msgspec.json.decode(printed, type=int), shipper, postgres)


def _nginx(folder: Path, upstream_port: int) -> Target:
    program = programs.find(_NGINX)
    if program is None:
        raise CannotMeasure(
            "nginx, the yardstick, is missing: install it (Debian: apt-get install nginx-light), or leave it out "
            f'with BENCH_ARGS="--targets {DIRECT},{RUNTIME},{CONSOLE}".'
        )
    return targets.nginx(program, folder, port=free_port(), upstream_port=upstream_port)


def _empty(folder: Path) -> Path:
    """Return a folder without what an earlier run has left in it."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder
