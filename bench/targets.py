"""What is measured: how a target is started and called, and the ones that need no set-up of their own."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import programs

CONFIGURATIONS = Path(__file__).parent / "configurations"


def _nothing_left() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat completions on a loopback port.

    Without a `command` it runs already and only its answers are measured. `drained` tells whether the work that it
    leaves to other processes is done.
    """

    name: str
    version: str
    port: int
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: Path | None = None
    api_key: str = "sk-test"
    headers: tuple[str, ...] = ()
    slow: bool = False  # is given twice the time to warm up and to be measured
    drained: Callable[[], bool] = _nothing_left


def direct(port: int) -> Target:
    """The upstream itself: what a call costs without any gateway."""
    return Target("direct", "no gateway between", port)


def nginx(program: str, folder: Path, *, port: int, upstream_port: int) -> Target:
    """nginx as a plain reverse proxy with kept upstream connections and without buffering: the least a proxy costs."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = configured("nginx.conf", folder, PORT=port, UPSTREAM_PORT=upstream_port, FOLDER=folder)
    version = programs.first_line([program, "-v"]).rpartition("/")[2]
    return Target("nginx", version, port, (program, "-p", str(folder), "-c", str(configuration)))


def configured(name: str, folder: Path, **values: object) -> Path:
    """Write a configuration with its @PLACES@ filled in; return its path."""
    text = (CONFIGURATIONS / name).read_text()
    for place, value in values.items():
        text = text.replace(f"@{place}@", str(value))
    path = folder / name
    path.write_text(text)
    return path
