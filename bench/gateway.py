"""NEXUS under test: embedded servers, a tenant, a provider that points at the mock, a key with every limit there is, a
shipper, and the two doors of the data plane as targets."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import features, process_tree
from bench.children import Child
from bench.cores import Cores, pinned
from bench.management import Management
from bench.programs import CannotMeasure
from bench.result import Feature
from bench.scenario import MODELS
from bench.targets import Target
from bench.upstream import free_port
from nexus.embedded import Endpoints, Services, ensure_secrets
from nexus.launch import owning
from nexus.serving import manage

_ROOT = Path(__file__).parents[1]
TENANT, USER, PASSWORD = "bench", "bench@example.com", "a password of the benchmark"
RUNTIME, CONSOLE = "nexus", "nexus-django"
_SETUP_SCOPES = "completions:write,providers:read,providers:write,keys:write,policies:write,analytics:read"
_SETTINGS = "nexus.settings.console"
_KEPT = {"NEXUS_PG_BINDIR", "NEXUS_VALKEY_BIN"}  # which programs the embedded servers are
_OTHER_SETTINGS = {
    "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE", "EMAIL_URL",
    "REDIS_URL", "SECRET_KEY",
}  # fmt: skip
_SEALING_SECONDS = 0.5  # a process seals its records four times a second


@dataclass(frozen=True, slots=True)
class Gateway:
    """The set-up installation: the environment of its processes, and that of what works as the owner of the tables."""

    folder: Path
    environment: Mapping[str, str]
    owner_environment: Mapping[str, str]
    api_key: str
    features: list[Feature]
    not_measured: list[Feature]
    shipper: Child
    postgres_pid: int

    def targets(self, version: str) -> list[Target]:
        """The raw data plane, and the same pipeline behind Django's handler."""
        return [
            self._door(RUNTIME, "runtime", f"{version}, data plane: serve runtime"),
            self._door(CONSOLE, "console", f"{version}, Django's door: serve console"),
        ]

    def _door(self, name: str, role: str, version: str) -> Target:
        port = free_port()
        command = tuple(manage("serve", role, "--port", str(port)))
        return Target(
            name, version, port, command, self.environment, api_key=self.api_key, drained=self.everything_shipped
        )

    def everything_shipped(self) -> bool:
        """Whether no sealed record waits any more, those included that are sealed a moment after the last request."""
        time.sleep(_SEALING_SECONDS)
        return not any((self.folder / "spool").glob("*.sealed"))

    def postgres_cpu_seconds(self) -> float:
        return process_tree.cpu_seconds(self.postgres_pid)

    def run_part(self, name: str, *arguments: str, cores: Iterable[int]) -> bytes:
        """Run a part of the benchmark that needs Django (with_django.py); return the JSON that it prints last."""
        ended = subprocess.run(
            [sys.executable, "-m", "bench.with_django", name, *arguments],
            cwd=_ROOT,
            env={**self.owner_environment, "DJANGO_SETTINGS_MODULE": _SETTINGS, "NEXUS_LOG_LEVEL": "ERROR"},
            stdout=subprocess.PIPE,
            check=False,
            preexec_fn=pinned(cores),
        )
        if ended.returncode != 0:
            raise CannotMeasure(f"The part {name} failed: the lines above say why.")
        return ended.stdout.strip().rpartition(b"\n")[2]


@contextmanager
def gateway(folder: Path, *, upstream_port: int, cores: Cores, logs: Path) -> Iterator[Gateway]:
    """Set NEXUS up in a folder of its own; everything ends with the context."""
    services = Services(folder)
    endpoints = services.start()
    shipper = None
    try:
        ensure_secrets(folder)
        environment = _environment(folder, endpoints, upstream_port)
        owner = owning(environment, endpoints.owner_database_url)
        _run([sys.executable, "-m", "nexus.preparation"], {**owner, "DJANGO_SETTINGS_MODULE": _SETTINGS})
        with _console(environment, cores=cores, logs=logs) as management:
            _point_at(management, upstream_port)
            key, found = features.switch_on(management)
            unmeasured = features.unmeasured(management)
        shipper = Child(
            "the shipper", manage("ship"), log=logs / "shipper.log", cores=cores.background, environment=environment
        )
        # It makes its lock when it looks for the first time; what it used for its start is not counted for requests.
        shipper.await_that((folder / "spool/shipper.lock").exists)
        yield Gateway(folder, environment, owner, key, found, unmeasured, shipper, endpoints.pids["postgres"])
    finally:
        if shipper is not None:
            shipper.stop()
        services.stop()


def _environment(folder: Path, endpoints: Endpoints, upstream_port: int) -> dict[str, str]:
    """Return the environment of the installation: ours without any setting of NEXUS, and its own."""
    inherited = {name: value for name, value in os.environ.items() if name in _KEPT or not _is_setting(name)}
    return inherited | {
        "NEXUS_DATA_DIR": str(folder),
        "DATABASE_URL": endpoints.database_url,
        "NEXUS_TENANT_DATABASE_URL": endpoints.tenant_database_url,
        "REDIS_URL": endpoints.redis_url,
        "NEXUS_ALLOW_PRIVATE_PROVIDERS": f"127.0.0.1:{upstream_port}",
        "NEXUS_LOG_LEVEL": "WARNING",
        # These two would otherwise come from a `.env` of the checkout.
        "NEXUS_PUBLIC_URL": "http://127.0.0.1",
        "ALLOWED_HOSTS": "127.0.0.1",
    }


def _is_setting(name: str) -> bool:
    return name.startswith("NEXUS_") or name in _OTHER_SETTINGS


@contextmanager
def _console(environment: Mapping[str, str], *, cores: Cores, logs: Path) -> Iterator[Management]:
    """Make a tenant, and run a console for the time of the set-up."""
    arguments = ["--tenant", TENANT, "--email", USER, "--password", PASSWORD, "--scopes", _SETUP_SCOPES, "--json"]
    made = json.loads(_run(manage("bootstrap", *arguments), environment))
    port = free_port()
    command = manage("serve", "console", "--port", str(port))
    console = Child("the console", command, log=logs / "set-up.log", cores=cores.background, environment=environment)
    try:
        management = Management(port, made["api_key"])
        console.await_that(management.is_ready)
        yield management
    finally:
        console.stop()


def _point_at(management: Management, upstream_port: int) -> None:
    """Make the one provider, which serves every model that a scenario asks for."""
    management.create(
        "/v1/providers",
        {
            "name": "mock",
            "family": "openai",
            "base_url": f"http://127.0.0.1:{upstream_port}/v1",
            "api_key": "sk-upstream",
            "models": {model: model for model in MODELS},
        },
    )


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    ended = subprocess.run(command, cwd=_ROOT, env=dict(environment), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise CannotMeasure(f"{' '.join(command[1:4])} failed:\n{ended.stderr.strip()[-2000:]}")
    return ended.stdout
