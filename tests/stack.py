"""The running system as the tests use it: real server processes and a shipper on the test database.

Nothing here is rolled back: whoever uses it makes a tenant of its own, whose rows no other test looks at.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.database import database_urls

ROOT = Path(__file__).resolve().parents[1]
MANAGE = ("manage.py",)
# Below those that a system gives to clients and to who asks for any: between the look and the use, nobody gets one.
PORTS = range(20_000, 32_000)


def eventually[Value](look: Callable[[], Value | None], *, seconds: float = 30.0, what: str = "it") -> Value:
    """Return the first truthy value that `look` gives; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Process:
    """One child process of the stack, its output kept for the failure message."""

    def __init__(
        self, arguments: list[str], *, log: Path, environment: Mapping[str, str], program: tuple[str, ...] = MANAGE
    ) -> None:
        self.log = log
        self._arguments = " ".join(arguments)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def children(self) -> list[int]:
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.tell(sign)
        return self.wait()

    def tell(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self.running:
            self._process.send_signal(sign)

    def wait(self) -> int:
        """Wait for its end, and return its status."""
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"{self._arguments} did not stop:\n{self.log.read_text()[-3000:]}") from None


def stop_together(processes: Sequence[Process]) -> None:
    for process in processes:
        process.tell()
    for process in processes:
        process.wait()


class Server(Process):
    """A server process that answers on a loopback port."""

    workers = 1

    def __init__(self, role: str, *, log: Path, environment: Mapping[str, str], workers: int = 1) -> None:
        self.port = free_port()
        self.workers = workers
        self.base_url = f"http://127.0.0.1:{self.port}"
        arguments = ["serve", role, "--port", str(self.port), "--workers", str(workers)]
        super().__init__(arguments, log=log, environment=environment)

    def wait_until_ready(self, *, statuses: tuple[int, ...] = (200,)) -> None:
        """Wait until /readyz answers with one of these statuses."""

        def ready() -> bool:
            if not self.running:
                raise AssertionError(f"the server died:\n{self.log.read_text()[-3000:]}")
            try:
                return http.get("/readyz").status_code in statuses
            except httpx.TransportError:
                return False

        with httpx.Client(base_url=self.base_url, timeout=5) as http:
            try:
                eventually(ready, seconds=60, what=f"the start of {self._arguments}")
            except AssertionError as error:
                raise AssertionError(f"{error}:\n{self.log.read_text()[-3000:]}") from None


class ForeignServer(Server):
    """The ASGI application in a server that knows nothing of NEXUS: uvicorn as it comes."""

    def __init__(self, *, log: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        arguments = ["nexus.asgi:application", "--port", str(self.port), "--log-level", "warning"]
        Process.__init__(self, arguments, log=log, environment=environment, program=("-m", "uvicorn"))


class AstrayServer(Server):
    """Our own server on a machine whose clock is wrong by so many seconds."""

    def __init__(self, seconds: int, *, log: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        arguments = [str(seconds), "serve", "all", "--port", str(self.port)]
        Process.__init__(self, arguments, log=log, environment=environment, program=("-m", "tests.astray"))


class Stack:
    """Both doors and a shipper on one database and one data folder."""

    def __init__(self, folder: Path, database: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = {
            **database_urls(database),
            "NEXUS_DATA_DIR": str(folder),
            "NEXUS_ALLOW_PRIVATE_PROVIDERS": "true",
            "DJANGO_SETTINGS_MODULE": "nexus.settings.console",
            "NEXUS_LOG_LEVEL": "INFO",
            **(environment or {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._processes: list[Process] = []

    def serve(self, role: str, *, workers: int = 1, environment: Mapping[str, str] | None = None) -> Server:
        server = self._server(role, workers, environment)
        server.wait_until_ready()
        return server

    def serve_together(
        self, *roles: str, workers: int = 1, environment: Mapping[str, str] | None = None
    ) -> list[Server]:
        """Start several servers at the same time, which takes about as long as one."""
        servers = [self._server(role, workers, environment) for role in roles]
        for server in servers:
            server.wait_until_ready()
        return servers

    @contextmanager
    def serving(
        self, *roles: str, workers: int = 1, environment: Mapping[str, str] | None = None
    ) -> Iterator[list[Server]]:
        """Start servers, and stop those that still run: one that nobody needs takes its time from the others."""
        servers = self.serve_together(*roles, workers=workers, environment=environment)
        try:
            yield servers
        finally:
            stop_together(servers)

    def start_unready(self, role: str, *, environment: Mapping[str, str] | None = None) -> Server:
        """Start a server that is expected to say that it is not ready."""
        server = self._server(role, 1, environment)
        server.wait_until_ready(statuses=(503,))
        return server

    def _server(self, role: str, workers: int, environment: Mapping[str, str] | None) -> Server:
        server = Server(
            role,
            log=self.folder / f"{role}-{len(self._processes)}.log",
            environment={**self.environment, **(environment or {})},
            workers=workers,
        )
        self._processes.append(server)
        return server

    def serve_elsewhere(self) -> Server:
        """Start the ASGI application in another server than our own."""
        log = self.folder / f"foreign-{len(self._processes)}.log"
        server = ForeignServer(log=log, environment=self.environment)
        self._processes.append(server)
        server.wait_until_ready()
        return server

    def serve_astray(self, *seconds: int) -> list[Server]:
        """Start our own server under clocks that are wrong by so many seconds, at the same time."""
        servers: list[Server] = []
        for each in seconds:
            log = self.folder / f"astray-{len(self._processes)}.log"
            servers.append(AstrayServer(each, log=log, environment=self.environment))
            self._processes.append(servers[-1])
        for server in servers:
            server.wait_until_ready()
        return servers

    def run(
        self, *arguments: str, program: tuple[str, ...] = MANAGE, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program beside the servers: a command of manage.py, or another one."""
        process = Process(
            list(arguments),
            log=self.folder / f"{arguments[0]}.log",
            environment={**self.environment, **(environment or {})},
            program=program,
        )
        self._processes.append(process)
        return process

    def pids(self) -> list[int]:
        """Return the running processes, those included that they started."""
        running = [process for process in self._processes if process.running]
        return [pid for process in running for pid in (process.pid, *process.children())]

    def stop(self) -> None:
        stop_together(self._processes[::-1])

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))


def as_json(response: httpx.Response) -> Any:
    return json.loads(response.content)
