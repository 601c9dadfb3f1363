"""`manage.py serve`: one role of NEXUS as a server process, or as several that share one socket."""

import os
import socket
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway.lane import lane_protocol
from gateway.plane import data_plane
from nexus.guarded_http import ClientLimits, guarded_protocol
from nexus.listeners import CannotListen, inherited, listen_on_path, listen_on_port
from nexus.serving import APPLICATIONS, serve, worker_specs
from nexus.supervisor import STOP_SECONDS, Supervisor


class Command(BaseCommand):
    help = "Serve the runtime (data plane), the console, or all of both in one process."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("role", choices=sorted(APPLICATIONS))
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--port", type=int, default=settings.NEXUS_PORT, help="TCP port (default: NEXUS_PORT)")
        where.add_argument("--uds", type=Path, help="Unix socket to listen on instead of a port")
        where.add_argument("--fd", type=int, help="descriptor of a listening socket that the parent has bound")
        parser.add_argument("--workers", type=int, default=1, help="processes on the one socket (default: 1)")

    def handle(self, *, role: str, workers: int, **options: Any) -> None:
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        try:
            listener = _listener(**options)
        except CannotListen as error:
            raise CommandError(str(error)) from None
        if workers > 1:
            specs = worker_specs(role, listener, workers=workers, env=os.environ)
            Supervisor(specs, grace_seconds=settings.NEXUS_DRAIN_SECONDS + STOP_SECONDS).run()
            return
        limits = ClientLimits(settings.NEXUS_MAX_BODY_BYTES, seconds=settings.NEXUS_CLIENT_SECONDS)
        plane = data_plane()  # the data plane has a lane of its own; a console may have some of its requests too
        serve(
            role,
            listener,
            protocol=guarded_protocol(limits) if role == "console" else lane_protocol(plane, limits),
            drain_seconds=settings.NEXUS_DRAIN_SECONDS,
            on_drain=plane.drain,
            on_grace_end=plane.interrupt,
            trusted_proxies=settings.NEXUS_TRUSTED_PROXIES,
        )


def _listener(*, host: str, port: int, uds: Path | None, fd: int | None, **_others: Any) -> socket.socket:
    if fd is not None:
        return inherited(fd)
    if uds is not None:
        return listen_on_path(uds)
    return listen_on_port(host, port)
