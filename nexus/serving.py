"""One server process: uvicorn on uvloop and httptools, on a socket that is bound already."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

import uvicorn

from nexus.draining import DrainingServer
from nexus.guarded_http import GuardedHttpProtocol
from nexus.listeners import BACKLOG
from nexus.supervisor import ChildSpec

APPLICATIONS = {"runtime": "nexus.asgi:runtime", "console": "nexus.asgi:console", "all": "nexus.asgi:application"}
_KEEP_ALIVE_SECONDS = 75  # longer than clients keep an idle connection, so that it is they who close it
_MANAGE = Path(__file__).resolve().parents[1] / "manage.py"


def serve(
    role: str,
    listener: socket.socket,
    *,
    protocol: Callable[..., GuardedHttpProtocol],
    drain_seconds: float,
    on_drain: Callable[[], None],
    on_grace_end: Callable[[], None],
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve a role's application until SIGTERM or SIGINT; then see nexus/draining.py.

    `protocol` is called for each connection, as uvicorn's own would be.
    Who a client is, X-Forwarded-For says only for a connection from one of `trusted_proxies` (addresses or networks).
    """
    # Only our own runtime reaches a Unix socket, and it says who the client is.
    believed = "*" if listener.family == socket.AF_UNIX else ",".join(trusted_proxies)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    _spare_the_garbage_collector()
    config = uvicorn.Config(
        APPLICATIONS[role],
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        proxy_headers=bool(believed),
        forwarded_allow_ips=believed,
    )
    server = DrainingServer(config, grace_seconds=drain_seconds, on_drain=on_drain, on_grace_end=on_grace_end)
    server.run(sockets=[listener])


def _spare_the_garbage_collector() -> None:
    """Keep what the start has made out of every collection, and collect seldom.

    A full collection walks all of Django, for tens of milliseconds in which no request moves. What requests leave
    behind is freed by counting references, since the data plane makes no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End in order. uvicorn raises the signal that stopped it once more when it has finished."""
    raise SystemExit(0)


def manage(*arguments: str) -> list[str]:
    """Return the command line of a management command run by this Python."""
    return [sys.executable, str(_MANAGE), *arguments]


def worker_specs(role: str, listener: socket.socket, *, workers: int, env: Mapping[str, str]) -> Sequence[ChildSpec]:
    """Return the processes that share a listening socket."""
    descriptor = listener.fileno()
    argv = manage("serve", role, "--fd", str(descriptor))
    names = [role] if workers == 1 else [f"{role}-{number}" for number in range(1, workers + 1)]
    return [ChildSpec(name, argv, env, (descriptor,)) for name in names]
