"""The data plane of a process without a lifespan: it starts with the first request, whatever becomes of that one."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.db import connection

from gateway.spool import Spool
from tests.stack import Stack, eventually, free_port


@pytest.fixture
def silent_redis() -> Iterator[socket.socket]:
    """A server that takes every connection and never answers: whoever needs it waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener


def test_a_client_that_hangs_up_on_the_first_request_leaves_a_process_that_serves(
    committed: None, silent_redis: socket.socket, tmp_path: Path
) -> None:
    redis_url = f"redis://127.0.0.1:{silent_redis.getsockname()[1]}/0"
    stack = Stack(tmp_path, connection.settings_dict["NAME"], {"REDIS_URL": redis_url})
    try:
        console = stack.run("serve", "console", "--port", str(port := free_port()))
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: console.running and answers(f"{url}/accounts/login/"), what="the console")
        with socket.create_connection(("127.0.0.1", port)) as hasty:
            hasty.sendall(f"GET /readyz HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n\r\n".encode())
            silent_redis.accept()  # the start has begun, and waits
        said = httpx.get(f"{url}/readyz", timeout=30)
        assert (said.status_code, said.json()["checks"]["spool"]["ok"]) == (200, True), said.text
    finally:
        stack.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_spool_that_could_not_be_opened_can_be_opened_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")

    def refused() -> None:
        raise OSError(5, "Input/output error")  # a full disk is no reason not to open it

    with monkeypatch.context() as patched:
        patched.setattr(spool, "_create", refused)
        with pytest.raises(OSError, match="Input"):
            spool.open()
    spool.open()
    spool.close()
