"""`manage.py up`: the whole of NEXUS on one machine, in the foreground."""

import os
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway.egress import Allowance
from nexus import launch
from nexus.announcement import await_answers, reachable_host, welcome
from nexus.binaries import ServicesError
from nexus.embedded import Services
from nexus.listeners import CannotListen, free_ports, listen_on_port
from nexus.serving import worker_specs
from nexus.supervisor import Supervisor

_ANSWER_SECONDS = 120.0


class Command(BaseCommand):
    help = "Run everything on this machine: services where none are configured, runtime, console, worker, beat."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=settings.NEXUS_PORT, help="TCP port (default: NEXUS_PORT)")
        parser.add_argument("--no-demo", action="store_true", help="no demo tenant and no simulated providers")
        parser.add_argument("--workers", type=int, default=0, help="runtime processes (default: NEXUS_RUNTIME_WORKERS)")

    def handle(self, *, host: str, port: int, no_demo: bool, workers: int, **_options: Any) -> None:
        signal.signal(signal.SIGTERM, _leave)  # until the supervisor listens: whatever runs by then is stopped in order
        data_dir = Path(settings.NEXUS_DATA_DIR)
        services = Services(
            data_dir, postgres=not os.environ.get("DATABASE_URL"), valkey=not os.environ.get("REDIS_URL")
        )
        simulators = [] if no_demo else launch.simulators_on(free_ports(launch.simulator_count()))
        try:
            endpoints = services.start()
            env = launch.environment(
                endpoints, data_dir=data_dir, port=port, allow_private_providers=_allowing(simulators)
            )
            owner = endpoints.owner_database_url or settings.NEXUS_OWNER_DATABASE_URL
            with listen_on_port(host, port) as listener:
                demo = launch.prepare(launch.owning(env, owner), simulators)
                workers = workers or settings.NEXUS_RUNTIME_WORKERS or launch.default_workers()
                children = [
                    *worker_specs("runtime", listener, workers=workers, env=env),
                    *launch.background_specs(env, data_dir=data_dir, simulators=simulators, owner_database_url=owner),
                ]
                supervisor = launch.supervisor(children, services, drain_seconds=settings.NEXUS_DRAIN_SECONDS)
                self._supervise(supervisor, host, port, demo)
        except (ServicesError, CannotListen, launch.CannotPrepare) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        finally:
            services.stop()

    def _supervise(self, supervisor: Supervisor, host: str, port: int, demo: Mapping[str, Any] | None) -> None:
        """Run until a signal comes; a thread beside tells the user when the system answers."""
        ended = threading.Event()
        shown = reachable_host(host)

        def announce() -> None:
            if await_answers(shown, port, seconds=_ANSWER_SECONDS, ended=ended.is_set):
                self.stdout.write(welcome(f"http://{shown}:{port}", demo))
                self.stdout.flush()  # a script that reads the key has a pipe here
            elif not ended.is_set():
                self.stderr.write(f"NEXUS does not answer after {_ANSWER_SECONDS:.0f} s: the lines above say why.")

        threading.Thread(target=announce, daemon=True).start()
        try:
            supervisor.run()
        finally:
            ended.set()


def _allowing(simulators: Sequence[launch.Simulator]) -> str:
    """Return the operator's setting, widened by the simulators' addresses and by nothing else."""
    operator = settings.NEXUS_ALLOW_PRIVATE_PROVIDERS
    allowance = Allowance.parse(operator)
    if allowance.everything:
        return str(operator)
    return launch.allowing(operator if allowance.hosts or allowance.networks else "", simulators)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
