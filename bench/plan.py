"""What a run is asked to do: the command line and the environment, read once."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import scenario
from bench.result import Pace
from bench.scenario import Scenario

_HERE = Path(__file__).parent
PARTS = ("gateway", "translation", "ingest", "dashboards")
_FULL_ROWS, _ROWS = 10_000_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `targets` empty means all that there are; rows are of the request log."""

    parts: frozenset[str]
    scenarios: tuple[Scenario, ...]
    targets: frozenset[str]
    peers: bool
    pace: Pace
    ingest_rows: int
    rows: int
    work: Path
    results: Path


def plan_of(arguments: Sequence[str] | None) -> Plan:
    """Read the command line. Raises UnknownScenario; argparse ends the process on anything else that is wrong."""
    given = _parser().parse_args(arguments)
    parts = _names(given.only) or PARTS
    return Plan(
        parts=frozenset(parts),
        scenarios=tuple(Scenario.parse(name) for name in _names(given.scen)),
        targets=frozenset(_names(given.targets)),
        peers=given.peers,
        pace=Pace(rounds=given.rounds, seconds=given.secs, warm_up_seconds=given.warm),
        ingest_rows=given.ingest_rows,
        rows=given.rows,
        work=given.work_dir.absolute(),
        results=given.results_dir.absolute(),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures NEXUS beside the direct call, nginx and other gateways (docs/benchmarks.md).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    kinds = ", ".join(f"{letter}: {meaning}" for letter, meaning in scenario.KINDS.items())
    add = parser.add_argument
    add("--scen", default=scenario.DEFAULT, metavar="LIST", help=f"kinds and connections, as n16,s64 ({kinds})")
    add("--targets", default="", metavar="LIST", help="only these, as direct,nginx,nexus; all if none is named")
    add("--rounds", type=_positive, default=3, help="how often each scenario is measured")
    add("--secs", type=float, default=2.0, help="length of one measurement")
    add("--warm", type=float, default=0.5, help="seconds of load ahead of each measurement")
    add("--peers", action="store_true", default=_is_set("BENCH_PEERS"), help="also LiteLLM and Portkey (BENCH_PEERS=1)")
    add("--only", default="", metavar="LIST", help=f"only these parts: {', '.join(PARTS)}")
    rows = _FULL_ROWS if _is_set("BENCH_FULL") else _ROWS
    add("--rows", type=_positive, default=rows, help="rows of the log that dashboards read (BENCH_FULL=1: 10,000,000)")
    add("--ingest-rows", type=_positive, default=50_000, help="rows shipped in each pass of the ingest part")
    add("--work-dir", type=Path, default=_HERE / ".work", help="programs, peers and the installation under test")
    add("--results-dir", type=Path, default=_HERE / "results", help="where the result is written")
    return parser


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
