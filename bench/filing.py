"""Where results are kept: `<date>.json` and `.md`, not over an earlier one of the day, and `latest` for the newest."""

from pathlib import Path

import msgspec

from bench.report import markdown
from bench.result import Result


def file_result(result: Result, folder: Path) -> Path:
    """Write a result and its report; return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = _free_name(folder, result.machine.measured_at[:10])
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    report = folder / f"{name}.md"
    report.write_text(markdown(result))
    for ending in ("json", "md"):
        latest = folder / f"latest.{ending}"
        latest.unlink(missing_ok=True)
        latest.symlink_to(f"{name}.{ending}")
    return report


def _free_name(folder: Path, day: str) -> str:
    name, number = day, 1
    while (folder / f"{name}.json").exists():
        number += 1
        name = f"{day}-{number}"
    return name
