"""How a server process ends: nothing that was begun is lost, and nothing that is cut looks finished.

uvicorn closes an idle connection at once, even if a request is on its way over it, drops a request whose body is still
coming, and cuts what runs when the time is up. Here:

1. The listening socket is let go. Other workers of the same socket, or the next process, take what waits there.
2. What runs goes on. Each connection may have one more request, whose answer says `connection: close`, so that busy
   clients move on by themselves; a connection that has been quiet for a while is closed.
3. When the time of grace is over, requests under way get an error and streams an error event; then all is closed.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, override

import uvicorn

from nexus.guarded_http import GuardedHttpProtocol

logger = logging.getLogger(__name__)
TICK_SECONDS = 0.05
FAREWELL_SECONDS = 2.0  # for the last words to reach their clients


def _nothing() -> None:
    """What a role does that has nothing to do."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server with that end. `on_drain` is called at its begin, `on_grace_end` when requests must end."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        grace_seconds: float,
        on_drain: Callable[[], None] = _nothing,
        on_grace_end: Callable[[], None] = _nothing,
    ) -> None:
        super().__init__(config)
        self._grace_seconds = grace_seconds
        self._on_drain = on_drain
        self._on_grace_end = on_grace_end

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._on_drain()
        await self._drain(self._grace_seconds)
        if self._connections:
            logger.warning(
                "The time of grace is over: what still runs is told so.", extra={"connections": len(self._connections)}
            )
            self._on_grace_end()
            for connection in self._connections:
                connection.give_notice()
            await self._drain(FAREWELL_SECONDS)
        for connection in self._connections:
            connection.transport.abort()
        for task in self.server_state.tasks:
            task.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        await asyncio.sleep(TICK_SECONDS)  # what is cut writes its record
        await self.lifespan.shutdown()

    @property
    def _connections(self) -> list[GuardedHttpProtocol]:
        connections: set[Any] = self.server_state.connections
        return list(connections)

    async def _drain(self, seconds: float) -> None:
        """Wait until no connection is left, for so long at most. A second Ctrl-C ends the wait."""
        loop = asyncio.get_running_loop()
        ends_at, dated_at = loop.time() + seconds, 0.0
        while self._connections and loop.time() < ends_at and not self.force_exit:
            now = loop.time()
            if now - dated_at >= 1 and self.config.date_header:
                dated_at = now
                self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            for connection in self._connections:
                connection.drain(now)
            await asyncio.sleep(TICK_SECONDS)
