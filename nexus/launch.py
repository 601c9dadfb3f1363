"""What `manage.py up` runs on one machine: which processes there are, in which environment, and what they wait for."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus.embedded import Endpoints, Services, run_directory
from nexus.serving import manage
from nexus.supervisor import STOP_SECONDS, ChildSpec, Supervisor

_SIMULATED_FAMILIES = ("openai", "openai_compatible")
_MOST_DEFAULT_WORKERS = 2
_CELERY_PROCESSES = 2
OWNER_URL = "NEXUS_OWNER_DATABASE_URL"


class CannotPrepare(Exception):
    """The database could not be brought up to date; the message is one sentence that says where to look."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulated provider of the demo."""

    family: str
    port: int

    @property
    def origin(self) -> str:
        """How the gateway dials it."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """An embedded server as the supervisor sees it."""

    services: Services
    name: str

    def spawn(self) -> "subprocess.Popen[bytes]":
        return self.services.launch(self.name)


def simulators_on(ports: Sequence[int]) -> list[Simulator]:
    """Return one simulator per port, each of another family."""
    return [Simulator(family, port) for family, port in zip(_SIMULATED_FAMILIES, ports, strict=True)]


def simulator_count() -> int:
    """How many providers the demo simulates: two, so that one can fail over to the other."""
    return len(_SIMULATED_FAMILIES)


def default_workers() -> int:
    """Return one runtime process per core, two at most: more are for machines that do nothing else."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_DEFAULT_WORKERS, cores)


def allowing(operator: str, simulators: Sequence[Simulator]) -> str:
    """Return NEXUS_ALLOW_PRIVATE_PROVIDERS with the simulators added to a list that the operator may have given."""
    return ",".join([*filter(None, [operator.strip().strip(",")]), *(simulator.origin for simulator in simulators)])


def environment(endpoints: Endpoints, *, data_dir: Path, port: int, allow_private_providers: str) -> dict[str, str]:
    """Return the environment of every child: ours, with what was decided at this start.

    Without the owner of the tables: only who migrates or drops partitions gets that one, by `owning`.
    """
    found = {
        **{name: value for name, value in os.environ.items() if name != OWNER_URL},
        "NEXUS_DATA_DIR": str(data_dir),
        "NEXUS_PORT": str(port),
        "NEXUS_CONSOLE_SOCKET": str(console_socket(data_dir)),
        "NEXUS_ALLOW_PRIVATE_PROVIDERS": allow_private_providers,
        "DJANGO_SETTINGS_MODULE": "nexus.settings.console",
        "PYTHONUNBUFFERED": "1",
    }
    if endpoints.database_url:
        found["DATABASE_URL"] = endpoints.database_url
        found["NEXUS_TENANT_DATABASE_URL"] = endpoints.tenant_database_url
    if endpoints.redis_url:
        found["REDIS_URL"] = endpoints.redis_url
    return found


def owning(env: Mapping[str, str], owner_database_url: str) -> dict[str, str]:
    """Return the environment of a process that may work as the owner of the tables, where there is such a role."""
    return {**env, OWNER_URL: owner_database_url} if owner_database_url else dict(env)


def console_socket(data_dir: Path) -> Path:
    """Return where the console listens; the runtime forwards to it what is not the data plane's."""
    return run_directory(data_dir) / "console.sock"


def prepare(env: Mapping[str, str], simulators: Sequence[Simulator]) -> dict[str, Any] | None:
    """Migrate, make partitions and, with simulators, seed the demo; return what the demo's user has to know."""
    urls = [f"http://{simulator.origin}" for simulator in simulators]
    made = subprocess.run(
        [sys.executable, "-m", "nexus.preparation", *urls], env=env, stdout=subprocess.PIPE, check=False
    )
    if made.returncode != 0:
        raise CannotPrepare("The database could not be prepared: the lines above say why.")
    if not simulators:
        return None
    demo: dict[str, Any] = json.loads(made.stdout.decode().strip().splitlines()[-1])
    return demo


def background_specs(
    env: Mapping[str, str], *, data_dir: Path, simulators: Sequence[Simulator], owner_database_url: str = ""
) -> list[ChildSpec]:
    """Return every process but the runtime's workers. The Celery worker keeps the partitions, and so gets the owner."""
    celery = [sys.executable, "-W", "ignore", "-m", "celery", "-q", "-A", "nexus"]
    schedule = str(data_dir / "celerybeat-schedule")
    worker = ["worker", "--loglevel", "WARNING", "--concurrency", str(_CELERY_PROCESSES), "--without-mingle"]
    return [
        ChildSpec("console", manage("serve", "console", "--uds", str(console_socket(data_dir))), env),
        ChildSpec("shipper", manage("ship"), env),
        ChildSpec("worker", [*celery, *worker, "--without-gossip"], owning(env, owner_database_url)),
        ChildSpec("beat", [*celery, "beat", "--loglevel", "WARNING", "--schedule", schedule, "--pidfile", ""], env),
        *(
            ChildSpec(
                f"simulator-{simulator.family}",
                manage("simulate", "--family", simulator.family, "--port", str(simulator.port)),
                env,
            )
            for simulator in simulators
        ),
    ]


def supervisor(children: Sequence[ChildSpec], services: Services, *, drain_seconds: float) -> Supervisor:
    """Return the supervisor of these children and of the embedded servers, which run already."""
    found = Supervisor(
        children,
        foundations=[ServerProcess(services, name) for name in services.names],
        grace_seconds=drain_seconds + STOP_SECONDS,
    )
    for name, process in services.processes.items():
        found.adopt(name, process)
    return found
