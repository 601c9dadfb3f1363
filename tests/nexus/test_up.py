"""`manage.py up` as a user runs it, on servers of its own, and what it decides before it starts anything."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from nexus.announcement import reachable_host, welcome
from nexus.embedded import Endpoints, running
from nexus.launch import allowing, background_specs, default_workers, environment, simulators_on
from nexus.listeners import free_ports, listen_on_port
from nexus.processes import is_alive
from tests.database import DATABASE_URLS

ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """One data directory with its `manage.py up`."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.port = free_ports(1)[0]
        self._log = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _environment(self) -> Mapping[str, str]:
        ours = {name: value for name, value in os.environ.items() if name not in (*DATABASE_URLS, "REDIS_URL")}
        for name in ("SECRET_KEY", "NEXUS_ENCRYPTION_KEYS", "DJANGO_SETTINGS_MODULE", "PYTHONUNBUFFERED"):
            ours.pop(name, None)  # an installation makes its own
        return ours | {"NEXUS_DATA_DIR": str(self.data_dir)}

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", "up", "--workers", "1", *arguments]

    def start(self, *arguments: str) -> None:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command("--port", str(self.port), *arguments),
                cwd=ROOT,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until(lambda: f"NEXUS runs on http://127.0.0.1:{self.port}" in self.log)

    def refusal(self, port: int) -> str:
        """Return what a start beside the running one says."""
        refused = subprocess.run(
            self._command("--no-demo", "--port", str(port)),
            cwd=ROOT, env=self._environment(), capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert refused.returncode == 1, refused.stderr
        assert refused.stdout == ""
        return refused.stderr.strip()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def paste_the_printed_command(self) -> str:
        """Run the curl line of the welcome as a user would; return the answer with its headers."""
        line = self.log[self.log.index("curl ") : self.log.index("\n\nCtrl-C")]
        command = line.replace("curl", "curl --silent --show-error --fail --include", 1)
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=30).stdout

    def children(self) -> list[int]:
        assert self._process is not None
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def end(self, ending: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(ending)
        return self._process.wait(30)

    def kill_if_running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)

    def until(self, condition: Callable[[], Any], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process is not None
            assert self._process.poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.05)

    def status(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionError:
            return 0
        finally:
            connection.close()

    def endpoints(self) -> Endpoints:
        found = running(self.data_dir)
        assert found is not None
        return found

    def query(self, sql: str) -> Any:
        password = (self.data_dir / "pg.password").read_text()
        where: dict[str, Any] = {
            "host": str(self.data_dir / "run"),
            "user": "nexus",
            "password": password,
            "dbname": "nexus",
        }
        with psycopg.connect(**where, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchone() if cursor.description else None


@pytest.fixture
def installation() -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="nexus-up-"))
    folder.chmod(0o755)
    installation = Installation(folder)
    yield installation
    installation.kill_if_running()
    shutil.rmtree(folder)


@pytest.mark.timeout(600)
def test_up_runs_restarts_stops_and_keeps_the_data(installation: Installation) -> None:
    installation.start("--no-demo")
    assert installation.status("/healthz") == 200
    assert installation.status("/accounts/login/") == 200
    installation.query("CREATE TABLE kept AS SELECT 42 AS number")

    already = f"CommandError: NEXUS already runs on {installation.data_dir}: stop it first, or set NEXUS_DATA_DIR"
    assert installation.refusal(free_ports(1)[0]).startswith(already)

    before = installation.endpoints().pids
    os.kill(before["valkey"], signal.SIGKILL)
    installation.until(lambda: running(installation.data_dir) and installation.endpoints().pids != before)
    assert f'child=valkey why="process {before["valkey"]} was killed by SIGKILL" in_seconds=0.5' in installation.log
    installation.until(lambda: installation.status("/readyz") == 200)

    family = installation.children()
    assert installation.end(signal.SIGINT) == 0
    assert not any(is_alive(pid) for pid in family)
    assert running(installation.data_dir) is None

    installation.start()
    assert installation.query("SELECT number FROM kept") == (42,)
    answer = installation.paste_the_printed_command()
    assert "Hello" in answer
    assert "x-nexus-simulated: true" in answer
    family = installation.children()
    installation.end(signal.SIGKILL)
    deadline = time.monotonic() + 120
    while any(is_alive(pid) for pid in family):
        assert time.monotonic() < deadline, "a killed `up` left a process behind"
        time.sleep(0.1)


def test_up_names_the_setting_when_the_port_is_taken(installation: Installation) -> None:
    with listen_on_port("127.0.0.1", installation.port):
        told = installation.refusal(installation.port)

    assert told == (
        f"CommandError: Port {installation.port} is taken by another program: "
        "stop it, or choose another with NEXUS_PORT or --port."
    )
    assert running(installation.data_dir) is None


def test_the_simulators_widen_what_the_operator_allows_by_their_own_addresses_only() -> None:
    simulators = simulators_on([4001, 4002])

    assert allowing("", simulators) == "127.0.0.1:4001,127.0.0.1:4002"
    assert allowing("10.0.0.0/8, ", simulators) == "10.0.0.0/8,127.0.0.1:4001,127.0.0.1:4002"
    assert allowing("10.0.0.0/8", []) == "10.0.0.0/8"


def test_services_that_are_given_by_url_are_handed_on_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://elsewhere/nexus")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")

    env = environment(
        Endpoints("", "unix:///run/valkey.sock", {}), data_dir=tmp_path, port=8000, allow_private_providers=""
    )

    assert (env["DATABASE_URL"], env["REDIS_URL"]) == ("postgres://elsewhere/nexus", "unix:///run/valkey.sock")
    assert env["NEXUS_CONSOLE_SOCKET"].endswith("/console.sock")


def test_the_demo_adds_a_process_for_each_simulated_provider(tmp_path: Path) -> None:
    names = [spec.name for spec in background_specs({}, data_dir=tmp_path, simulators=simulators_on([4001, 4002]))]

    assert names == ["console", "shipper", "worker", "beat", "simulator-openai", "simulator-openai_compatible"]
    assert len(background_specs({}, data_dir=tmp_path, simulators=[])) == 4


def test_there_are_two_runtime_processes_at_most_by_default() -> None:
    assert 1 <= default_workers() <= 2


def test_the_welcome_shows_a_request_that_can_be_pasted_into_a_shell() -> None:
    demo = {"tenant": "demo", "user": "demo@nexus.local", "password": "a-password", "api_key": "nxk_key"}

    text = welcome("http://127.0.0.1:8000", demo)

    command = text[text.index("curl ") : text.index("\n\nCtrl-C")]
    words = subprocess.run(
        ["/bin/sh", "-c", command.replace("curl", "printf '%s\\n'", 1)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words[0] == "http://127.0.0.1:8000/v1/chat/completions"
    assert "Authorization: Bearer nxk_key" in words
    assert '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}' in words
    assert "demo@nexus.local   password  a-password" in text
    assert "nxk_" not in welcome("http://127.0.0.1:8000", None)


def test_a_server_that_listens_everywhere_is_reached_on_the_loopback() -> None:
    assert [reachable_host(host) for host in ("0.0.0.0", "localhost", "10.1.2.3")] == [
        "127.0.0.1",
        "127.0.0.1",
        "10.1.2.3",
    ]
