"""The upstream that all targets call: programs/mock.c on a loopback port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.children import Child, answers
from bench.cores import Cores
from bench.targets import direct


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def upstream(program: Path, *, cores: Cores, logs: Path) -> Iterator[int]:
    """Run the mock; give its port."""
    port = free_port()
    child = Child("the mock", [str(program), f"{port}:0:0"], log=logs / "mock.log", cores={cores.load})
    try:
        child.await_that(lambda: answers(direct(port)), seconds=10)
        yield port
    finally:
        child.stop()
