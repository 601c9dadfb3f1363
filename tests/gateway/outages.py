"""A stack on servers of its own, which a test may stall, kill and start again.

The database is the cluster's own, migrated as an installation would be; rows are written through Django, which is
pointed at it for as long.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from django.db import connection, connections

from nexus.embedded import Endpoints, Services
from nexus.settings.base import database
from tests.gateway.conftest import Client, make_client
from tests.stack import ROOT, Stack

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


class Ground:
    """PostgreSQL and Valkey of a test's own, and stacks on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services = Services(folder, durable=True)
        self.endpoints: Endpoints = self.services.start()
        self._stacks: list[Stack] = []

    def stack(self, name: str = "stack", environment: Mapping[str, str] | None = None) -> Stack:
        """Return a stack with a data folder of its own."""
        given = {
            "DATABASE_URL": self.endpoints.database_url,
            "NEXUS_OWNER_DATABASE_URL": self.endpoints.owner_database_url,
            "NEXUS_TENANT_DATABASE_URL": self.endpoints.tenant_database_url,
            "REDIS_URL": self.endpoints.redis_url,
        }
        stack = Stack(self.folder / name, "unused", {**given, **(environment or {})})
        self._stacks.append(stack)
        return stack

    def migrate(self) -> None:
        for command in ("migrate", "maintain_partitions"):
            made = subprocess.run(
                [sys.executable, "manage.py", command, "-v", "0"],
                cwd=ROOT,
                env={**os.environ, **self.stack("setup").environment},
                capture_output=True,
                text=True,
                check=False,
            )
            assert made.returncode == 0, made.stderr

    def stop(self) -> None:
        for name in self.services.names:
            self.resume(name)
        for stack in self._stacks:
            stack.stop()
        self.services.stop()

    # --- what a test does to the servers

    def stall(self, name: str) -> None:
        """The nasty outage: connections are taken, and nobody answers."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, how: signal.Signals) -> None:
        """Send a signal to every process of a server: PostgreSQL has one per connection."""
        process = self.services.processes.get(name)
        if process is None or process.poll() is not None:
            return
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
        )
        for pid in (process.pid, *map(int, found.stdout.split())):
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                continue

    def kill(self, name: str) -> None:
        connections["default"].close()  # this test's own, which would be a dead one
        process = self.services.processes[name]
        process.kill()
        process.wait()

    def start(self, name: str) -> None:
        """Start a server again and wait until it answers."""
        if name == "postgres":
            (self.folder / "pg" / "postmaster.pid").unlink(missing_ok=True)
        self.services.launch(name)
        self.services._await_ready(name)


@contextmanager
def ground() -> Iterator[Ground]:
    """Give servers of the test's own, migrated, with Django's default connection on them."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    folder.chmod(0o755)  # run by root, the servers are an ordinary user's and must get in
    made = Ground(folder)
    try:
        made.migrate()
        with database_of(made.endpoints.database_url):
            yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


@contextmanager
def database_of(url: str) -> Iterator[None]:
    """Let Django's models speak to another database than the tests'."""
    before = connections["default"]
    settings = {**connection.settings_dict, **database("DATABASE_URL", url), "OPTIONS": {}}
    connections["default"] = before.copy()
    connections["default"].settings_dict = settings
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = before


@dataclass
class Load:
    """Clients that ask all the time, and what they got."""

    url: str
    headers: Mapping[str, str]
    clients: int = 4
    pause_seconds: float = 0.02
    answers: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    ids: list[UUID] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    body: dict[str, Any] = field(default_factory=lambda: dict(BODY))
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def asked(self) -> int:
        return sum(self.answers.values()) + sum(self.broken.values())

    @property
    def succeeded(self) -> int:
        return self.answers[200]

    def percentile(self, share: float) -> float:
        """Return a percentile of the answers' times in milliseconds."""
        ordered = sorted(self.seconds)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self.url, headers=dict(self.headers), timeout=30) as http:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    answer = http.post("/v1/chat/completions", json={**self.body, "stream": number % 2 == 1})
                except httpx.TransportError as error:
                    self.broken[type(error).__name__] += 1
                    continue
                self.seconds.append(time.monotonic() - began)
                self.answers[answer.status_code] += 1
                self.ids.append(UUID(answer.headers["x-request-id"]))
                self._stop.wait(self.pause_seconds)


def check(url: str, name: str) -> dict[str, Any]:
    """Return what /readyz says of one dependency."""
    found: dict[str, Any] = httpx.get(f"{url}/readyz", timeout=5).json()["checks"][name]
    return found


def until_it_says(url: str, name: str, *, ok: bool, seconds: float = 15.0) -> dict[str, Any]:
    """Wait until /readyz says so of one dependency."""
    deadline = time.monotonic() + seconds
    while (said := check(url, name))["ok"] is not ok:
        assert time.monotonic() < deadline, f"{name} says {said}"
        time.sleep(0.05)
    return said


def a_client(*upstreams: Any) -> Client:
    """Make a tenant whose providers are these upstreams, the first preferred."""
    client = make_client()
    for number, upstream in enumerate(upstreams):
        client.add_provider(upstream, name=f"p{number}", family=upstream.family, weight=100 - number)
    return client
