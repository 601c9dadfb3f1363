"""A whole run of the benchmark, as small as it gets: that it measures all it promises, not how fast anything is."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.features import NOT_BUILT
from bench.result import Result
from gateway.providers.registry import FAMILIES
from nexus.processes import command_line
from tests.bench.conftest import needs_compiler

ROOT = Path(__file__).parents[2]
TARGETS = ["direct", "nexus", "nexus-django"]
SMALL = ["--targets", ",".join(TARGETS), "--scen", "n2,s2", "--rounds", "1", "--secs", "0.3", "--warm", "0.1"]
FEW_ROWS = ["--rows", "300", "--ingest-rows", "200"]


def run(work: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    folders = ["--work-dir", str(work), "--results-dir", str(work / "results")]
    return subprocess.run(
        [sys.executable, "-m", "bench", *folders, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BENCH_PEERS": "", "BENCH_FULL": ""},
    )


def left_running(folder: Path) -> list[str]:
    running = (command_line(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [line for line in running if str(folder) in line]


@needs_compiler
@pytest.mark.timeout(600)
def test_a_run_reports_every_figure_it_promises_and_leaves_nothing_behind(work: Path) -> None:
    ended = run(work, *SMALL, *FEW_ROWS)

    assert ended.returncode == 0, ended.stderr
    result = msgspec.json.decode((work / "results/latest.json").read_bytes(), type=Result)
    assert [facts.name for facts in result.targets] == TARGETS
    assert {(one.target, one.scenario) for one in result.measurements} == {
        (target, scenario) for target in TARGETS for scenario in ("n2", "s2")
    }
    for one in result.measurements:
        assert one.load.ok > 0, one
        assert (one.load.errors, one.drained) == (0, True), one
        assert (one.cpu_us is None) == (one.target == "direct")
    for facts in result.targets[1:]:
        assert facts.idle is not None
        assert facts.idle.rss_mb > 0
        assert facts.after is not None
        assert facts.after.rss_mb > 0
    assert {one.family for one in result.translations} == set(FAMILIES)
    assert all(one.plain_us > 0 and one.event_us > 0 for one in result.translations)
    assert result.background is not None
    assert result.background.requests_logged == result.background.requests_asked
    assert result.ingest is not None
    assert result.ingest.rows_per_second > 0
    assert_dashboards_answered(result)
    assert_report_is_whole((work / "results/latest.md").read_text())
    assert left_running(work) == []


def assert_dashboards_answered(result: Result) -> None:
    assert result.dashboards is not None
    assert result.dashboards.rows == 300
    found = {answer.name: answer for answer in result.dashboards.answers}
    for name in ("overview", "the newest 50", "a page in the middle of the month", "one request", "a month by day"):
        assert found[name].state == "measured"
        assert found[name].queries
        assert found[name].ms is not None
    assert all(answer.state in ("measured", NOT_BUILT) for answer in found.values())


def assert_report_is_whole(report: str) -> None:
    headings = [line for line in report.splitlines() if line.startswith("## ")]
    expected = ["Requests", "Against the others", "Memory and start", "Beside the gateway", "Translation", "Log ingest"]
    assert headings == [f"## {name}" for name in [*expected, "Over the request log", "Not measured"]]
    assert report.count("\n| nexus-django | ") == 8  # seven figures of requests, one line of memory
    assert "nan" not in report.split()


def test_a_scenario_that_cannot_be_read_ends_the_run_in_one_sentence(work: Path) -> None:
    ended = run(work, "--scen", "x16")
    assert ended.returncode == 1
    assert ended.stderr == "nexus: 'x16' is no scenario: take a letter of n, s, d, l and a number, as n16.\n"
