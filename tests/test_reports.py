"""The reports of the long tests."""

import json
from pathlib import Path

import pytest

from tests import reports


def test_figures_are_kept_by_test_and_summed_up_on_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "FOLDER", tmp_path / "reports")
    reports.report("b", slowest_ms=3)
    reports.report("a", success_percent=99.95, requests=10)
    reports.report("b", slowest_ms=4)
    assert json.loads((tmp_path / "reports/b.json").read_text())["figures"] == {"slowest_ms": 4}
    page = (tmp_path / "reports/summary.md").read_text()
    rows = [line.split(" | ")[:3] for line in page.splitlines() if line.startswith(("| a", "| b"))]
    assert rows == [["| a", "success_percent", "99.95"], ["| a", "requests", "10"], ["| b", "slowest_ms", "4"]]
