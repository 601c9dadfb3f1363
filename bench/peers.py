"""Other gateways, for comparison: each installed at a fixed version into a folder of its own, on request."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench import programs
from bench.programs import CannotMeasure
from bench.targets import Target, configured
from bench.upstream import free_port

# httptools is what LiteLLM's server parses fastest with; its extra does not bring it.
_LITELLM = ("litellm[proxy]==1.106.2", "httptools==0.9.0")
_PORTKEY = "1.15.2"
# With what npm resolves by itself (hono 4.13, node-server 1.19), Portkey answers every stream by 500.
_PORTKEY_OVERRIDES = {"@hono/node-server": "1.3.3", "hono": "4.9.7"}
NAMES = ("litellm", "portkey")


def targets(folder: Path, *, upstream_port: int, say: Callable[[str], object]) -> list[Target]:
    """Install the peers where they are not, and return them. Raises CannotMeasure when one cannot be installed."""
    folder.mkdir(parents=True, exist_ok=True)
    _once(folder / "litellm", list(_LITELLM), _install_litellm, say)
    _once(folder / "portkey", [_PORTKEY, json.dumps(_PORTKEY_OVERRIDES)], _install_portkey, say)
    return [_litellm(folder / "litellm", upstream_port), _portkey(folder / "portkey", upstream_port)]


def _litellm(folder: Path, upstream_port: int) -> Target:
    port = free_port()
    configuration = configured("litellm.yaml", folder, UPSTREAM_PORT=upstream_port)
    command = (
        str(folder / "environment/bin/litellm"), "--config", str(configuration), "--host", "127.0.0.1",
        "--port", str(port), "--num_workers", "1", "--telemetry", "False",
    )  # fmt: skip
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    version = f"{_LITELLM[0].rpartition('=')[2]}, master key, no database"
    return Target("litellm", version, port, command, environment, slow=True)


def _portkey(folder: Path, upstream_port: int) -> Target:
    port = free_port()
    node = programs.find("node")
    if node is None:
        raise CannotMeasure("Portkey needs Node.js: install node and npm, or measure without BENCH_PEERS.")
    return Target(
        "portkey",
        f"{_PORTKEY}, Node {programs.first_line([node, '--version']).lstrip('v')}",
        port,
        (node, "build/start-server.js", "--headless", f"--port={port}"),
        {**os.environ, "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"},
        directory=folder / "node_modules/@portkey-ai/gateway",
        headers=("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{upstream_port}/v1"),
        slow=True,
    )


def _once(folder: Path, pins: list[str], install: Callable[[Path], None], say: Callable[[str], object]) -> None:
    """Install into a folder unless exactly these pins are there."""
    stamp, wanted = folder / ".installed", json.dumps(pins)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing {folder.name} {pins[0]} into {folder}")
    folder.mkdir(exist_ok=True)
    install(folder)
    stamp.write_text(wanted)


def _install_litellm(folder: Path) -> None:
    environment = folder / "environment"
    _run([sys.executable, "-m", "venv", str(environment)], folder)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    _run([*pip, *_LITELLM], folder)


def _install_portkey(folder: Path) -> None:
    npm = programs.find("npm")
    if npm is None:
        raise CannotMeasure("Portkey needs npm: install node and npm, or measure without BENCH_PEERS.")
    wanted = {
        "name": "portkey-to-compare",
        "version": "1.0.0",
        "private": True,
        "dependencies": {"@portkey-ai/gateway": _PORTKEY},
        "overrides": _PORTKEY_OVERRIDES,
    }
    (folder / "package.json").write_text(json.dumps(wanted, indent=2) + "\n")
    _run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _run(command: list[str], folder: Path) -> None:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise CannotMeasure(f"{folder.name} could not be installed:\n{ended.stderr.strip()[-2000:]}")
