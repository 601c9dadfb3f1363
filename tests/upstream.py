"""A simulated provider in a thread of the test's own process, with its log and counters at hand.

The simulator's loop is its own; everything that is asked of it here runs there, without a connection, so that the
counters show the traffic of the code under test and nothing else.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvloop

from gateway.simulator.registry import DIALECTS
from gateway.simulator.script import Script
from gateway.simulator.server import Behaviour, Simulator


class Upstream:
    """A running simulator. `base_url` stays the same over stop() and start()."""

    def __init__(
        self,
        family: str = "openai",
        *,
        port: int = 0,
        log_limit: int = 20_000,
        tls: ssl.SSLContext | None = None,
        **behaviour: Any,
    ) -> None:
        """Take the simulator's behaviour by the names that `Behaviour` has."""
        self.family = family
        self.port = port
        self._tls = tls
        self._dialect = DIALECTS[family]
        self._simulator = Simulator(self._dialect, Behaviour(log_limit=log_limit, **behaviour))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}{self._dialect.base_path}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port of last time if there was one. The log and the counters are kept."""
        if self._thread is not None:
            return
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"upstream-{self.family}", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(
            self._simulator.start("127.0.0.1", self.port, tls=self._tls), self._loop
        )
        self.port = starting.result(10)

    def stop(self) -> None:
        """Hang up on everybody; from now on connections are refused."""
        if self._thread is None or self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._simulator.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._loop = self._thread = None

    def script(self, *faults: str, repeat: bool = False) -> None:
        """Let the next requests have these faults, one each."""
        script = Script(faults, repeat=repeat)
        self._there(lambda: self._simulator.load(script))

    def log(self) -> list[dict[str, Any]]:
        """Return what was asked and what became of it, oldest first."""
        return self._there(self._simulator.log)

    def stats(self) -> dict[str, int]:
        return self._there(self._simulator.stats)

    def reset(self) -> None:
        """Forget the log, the counters and the script."""
        self._there(self._simulator.reset)

    def _there[Value](self, ask: Callable[[], Value]) -> Value:
        if self._loop is None:
            return ask()  # nothing runs that could interfere

        async def asking() -> Value:
            return ask()

        return asyncio.run_coroutine_threadsafe(asking(), self._loop).result(10)
