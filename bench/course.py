"""A whole run: what is built and started, in which order, and what is made of it."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bench import machine, peers, programs, rounds, targets
from bench.cores import Cores, available_cores, share_out
from bench.features import NOT_BUILT
from bench.gateway import CONSOLE, RUNTIME, TENANT, Gateway, gateway
from bench.load import LoadGenerator
from bench.medians import DIRECT
from bench.plan import Plan
from bench.programs import CannotMeasure, Programs
from bench.result import Background, Dashboards, Feature, Ingest, Machine, Measurement, Result, TargetFacts
from bench.targets import Target
from bench.upstream import free_port, upstream

_NGINX = "nginx"
_UNMEASURED = (Feature("prompts rendered per second", NOT_BUILT), Feature("policies evaluated per second", NOT_BUILT))

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
        with upstream(built.mock, cores=cores, logs=logs) as port:
            nexus = gateway(_empty(plan.work / "nexus"), upstream_port=port, cores=cores, logs=logs)
            with nexus as installation:
                say("NEXUS is set up")
                return _measured(plan, facts, cores, built, installation, upstream_port=port, say=say)
    finally:
        os.sched_setaffinity(0, {cores.load, cores.gateway, *cores.background})


def _measured(
    plan: Plan, facts: Machine, cores: Cores, built: Programs, installation: Gateway, *, upstream_port: int, say: Say
) -> Result:
    measurements: list[Measurement] = []
    found: list[TargetFacts] = []
    beside = ingest = dashboards = None
    if "gateway" in plan.parts:
        candidates = _targets(plan, facts, installation, upstream_port=upstream_port, say=say)
        before = _background_seconds(installation)
        measurements, found = rounds.run(
            candidates,
            plan.scenarios,
            pace=plan.pace,
            generator=LoadGenerator(built.loadgen, cores.load),
            cores=cores,
            logs=plan.work / "logs",
            say=say,
        )
        beside = _background(installation, found, before, cores)
    if "ingest" in plan.parts:
        say("measuring the log ingest")
        part = installation.run_part("ingest", str(plan.ingest_rows), TENANT, cores={cores.gateway})
        ingest = msgspec.json.decode(part, type=Ingest)
    if "dashboards" in plan.parts:
        say(f"filling a request log with {plan.rows:,} rows")
        part = installation.run_part("dashboards", str(plan.rows), cores={cores.gateway})
        dashboards = msgspec.json.decode(part, type=Dashboards)
    return Result(
        machine=facts,
        cores=cores.description,
        pace=plan.pace,
        features=installation.features,
        targets=found,
        measurements=measurements,
        background=beside,
        ingest=ingest,
        dashboards=dashboards,
        not_measured=list(_UNMEASURED),
    )


def _targets(plan: Plan, facts: Machine, installation: Gateway, *, upstream_port: int, say: Say) -> list[Target]:
    """Return what the plan asks for, in the order in which it is measured."""
    known = {DIRECT, _NGINX, RUNTIME, CONSOLE, *(peers.NAMES if plan.peers else ())}
    if plan.targets - known:
        raise CannotMeasure(f"There is no target {', '.join(sorted(plan.targets - known))}: take {', '.join(known)}.")
    found = [targets.direct(upstream_port)]
    if not plan.targets or _NGINX in plan.targets:
        found.append(_nginx(plan, upstream_port))
    found += installation.targets(facts.commit or "unknown commit")
    if plan.peers:
        found += peers.targets(plan.work / "peers", upstream_port=upstream_port, say=say)
    return [target for target in found if not plan.targets or target.name in plan.targets]


def _nginx(plan: Plan, upstream_port: int) -> Target:
    program = programs.find("nginx")
    if program is None:
        raise CannotMeasure(
            "nginx, the yardstick, is missing: install it (Debian: apt-get install nginx-light), or leave it out "
            f'with BENCH_ARGS="--targets {DIRECT},{RUNTIME},{CONSOLE}".'
        )
    return targets.nginx(program, plan.work / "nginx", port=free_port(), upstream_port=upstream_port)


def _background_seconds(installation: Gateway) -> tuple[float, float]:
    return installation.shipper.cpu_seconds(), installation.postgres_cpu_seconds()


def _background(
    installation: Gateway, found: Iterable[TargetFacts], before: tuple[float, float], cores: Cores
) -> Background | None:
    """Tell what shipping the measured requests cost; None where none were measured."""
    served = sum(facts.served for facts in found if facts.name in (RUNTIME, CONSOLE))
    if not served:
        return None
    shipper, postgres = (
        round((after - earlier) / served * 1e6, 1)
        for after, earlier in zip(_background_seconds(installation), before, strict=True)
    )
    logged = msgspec.json.decode(installation.run_part("logged", cores=cores.background), type=int)
    return Background(served, logged, shipper, postgres)


def _empty(folder: Path) -> Path:
    """Return a folder without what an earlier run has left in it."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder
