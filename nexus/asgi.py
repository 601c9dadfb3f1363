"""The ASGI applications of the process roles (`manage.py serve runtime|console|all`).

    runtime      the data plane; other paths go to the console process, where one is given (NEXUS_CONSOLE_SOCKET)
    console      Django: pages, management API, admin, and the data plane's Django views
    application  both in one process, for small installations and any ASGI host

Importing this module sets Django up; the data plane starts with the server's lifespan.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.asgi import get_asgi_application

# asgiref's types are narrower than what servers pass: any mapping will do.
_django: Callable[[Any, Any, Any], Awaitable[None]] = get_asgi_application()

# Django must be set up before anything that imports models.
from django.conf import settings  # noqa: E402

from gateway.door import Receive, RuntimeDoor, Scope, Send, is_data_plane  # noqa: E402
from gateway.plane import data_plane  # noqa: E402
from nexus.front import ConsoleFront  # noqa: E402


async def _lifespan(receive: Receive, send: Send, *, with_plane: bool) -> None:
    """Start and stop the data plane with the server. Django itself answers a lifespan with ValueError."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            if with_plane:
                await data_plane().start()
            await send({"type": "lifespan.startup.complete"})
        else:
            if with_plane:
                await data_plane().stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


class _Roles:
    """Chooses by path between the data plane's door and everything else."""

    def __init__(self, *, elsewhere: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._elsewhere = elsewhere
        self._door: RuntimeDoor | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, with_plane=True)
            return
        if scope["type"] == "http" and is_data_plane(scope["path"]):
            if self._door is None:
                self._door = RuntimeDoor(data_plane(), max_body_bytes=settings.NEXUS_MAX_BODY_BYTES)
            await self._door(scope, receive, send)
            return
        await self._elsewhere(scope, receive, send)


async def console(scope: Scope, receive: Receive, send: Send) -> None:
    """Django alone."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send, with_plane=False)
        return
    await _django(scope, receive, send)


async def _to_console(scope: Scope, receive: Receive, send: Send) -> None:
    socket_path = os.environ.get("NEXUS_CONSOLE_SOCKET")
    if socket_path and scope["type"] == "http":
        await ConsoleFront(socket_path, data_plane().transport)(scope, receive, send)
        return
    await _django(scope, receive, send)  # answers what is unknown with our 404


application = _Roles(elsewhere=console)
runtime = _Roles(elsewhere=_to_console)
