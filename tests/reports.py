"""Figures that a long test measured: one JSON file per test in `reports/`, and one Markdown page of all of them."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "reports"


def report(name: str, **figures: Any) -> None:
    """Write a test's figures, each named with its unit, to `reports/<name>.json`, and the summary anew."""
    FOLDER.mkdir(exist_ok=True)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    found = {"name": name, "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "machine": machine}
    _replace(FOLDER / f"{name}.json", json.dumps({**found, "figures": figures}, indent=2, default=str) + "\n")
    _replace(FOLDER / "summary.md", summary([json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]))


def summary(found: list[dict[str, Any]]) -> str:
    """Return the page that tells what was measured."""
    lines = ["# Measured under faults", "", "`make chaos` writes this page; each row is a figure of one test.", ""]
    lines += ["| test | figure | value | measured |", "| --- | --- | --- | --- |"]
    for each in found:
        for figure, value in each["figures"].items():
            lines.append(f"| {each['name']} | {figure} | {value} | {each['measured_at']} |")
    return "\n".join([*lines, "", *sorted({f"Machine: {each['machine']}." for each in found}), ""])


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
