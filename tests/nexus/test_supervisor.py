"""The supervisor with real processes: restarts, back-off, an orderly stop, and what a killed one leaves: nothing."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nexus.listeners import CannotListen, free_ports, inherited, listen_on_path, listen_on_port
from nexus.processes import is_alive
from nexus.supervisor import Backoff, ChildSpec, Supervisor, describe_exit

ROOT = Path(__file__).resolve().parents[2]
QUICK = Backoff(first=0.01, longest=0.05, steady=30)


def child(name: str, program: str, *arguments: str, pass_fds: Sequence[int] = ()) -> ChildSpec:
    return ChildSpec(name, [sys.executable, "-c", program, *arguments], os.environ, pass_fds)


def until(condition: Callable[[], bool], seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.02)


def run_until(supervisor: Supervisor, condition: Callable[[], bool], ending: signal.Signals = signal.SIGTERM) -> None:
    """Run in this thread, which is where signals arrive, and send one from beside when the condition holds."""
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            until(condition)
        except BaseException as failure:  # noqa: BLE001  (handed to the test's own thread below)
            failures.append(failure)
        os.kill(os.getpid(), ending)

    watcher = threading.Thread(target=watch)
    watcher.start()
    supervisor.run()
    watcher.join()
    assert not failures, failures


APPEND_PID = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
STAY = APPEND_PID + "import time; time.sleep(600)"


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_wait_doubles_up_to_its_limit_and_starts_over_after_a_long_life() -> None:
    backoff = Backoff()
    waits = [0.0]
    for _ in range(8):
        waits.append(backoff.after(waits[-1], lived=1))

    assert waits[1:] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(30, lived=29.9) == 30
    assert backoff.after(30, lived=30) == 0.5


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL"),
        (-44, "was killed by signal 44"),
    ],
)
def test_an_exit_is_told_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def told(caplog: pytest.LogCaptureFixture, *fields: str) -> list[tuple[Any, ...]]:
    """Return these fields of each line that tells of a restart."""
    restarts = [record for record in caplog.records if record.getMessage() == "A process is started again."]
    return [tuple(getattr(record, field) for field in fields) for record in restarts]


def test_a_killed_child_is_started_again_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = tmp_path / "pids"
    supervisor = Supervisor([child("runtime", STAY, str(seen))], backoff=QUICK)
    killed: list[int] = []

    def restarted() -> bool:
        if pids(seen) and not killed:
            killed.append(pids(seen)[0])
            os.kill(killed[0], signal.SIGKILL)
        return len(pids(seen)) == 2

    with caplog.at_level(logging.WARNING):
        run_until(supervisor, restarted)

    assert told(caplog, "child", "why")[0] == ("runtime", f"process {killed[0]} was killed by SIGKILL")
    assert not any(is_alive(pid) for pid in pids(seen))


def test_a_child_that_always_fails_is_tried_ever_less_often(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = tmp_path / "pids"
    failing = child("worker", APPEND_PID + "sys.exit(3)", str(seen))

    with caplog.at_level(logging.WARNING):
        run_until(Supervisor([failing], backoff=Backoff(first=0.1, longest=0.4)), lambda: len(pids(seen)) == 4)

    assert [wait for why, wait in told(caplog, "why", "in_seconds") if "exit code 3" in why][:3] == [0.1, 0.2, 0.4]


def test_a_program_that_does_not_exist_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = ChildSpec("beat", [str(tmp_path / "missing")], os.environ)

    with caplog.at_level(logging.WARNING):
        run_until(Supervisor([missing], backoff=QUICK), lambda: len(caplog.messages) > 2)

    ((child_name, why), *_) = told(caplog, "child", "why")
    assert child_name == "beat"
    assert why.startswith("it could not be started")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_every_child_in_order(tmp_path: Path, ending: signal.Signals) -> None:
    seen, left = tmp_path / "pids", tmp_path / "left"
    orderly = (
        "import signal, sys, time\n"
        "def leave(*_): open(sys.argv[2], 'a').write('bye\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n" + STAY
    )
    children = [child(f"child-{number}", orderly, str(seen), str(left)) for number in range(3)]

    run_until(Supervisor(children), lambda: len(pids(seen)) == 3, ending)

    assert left.read_text() == "bye\n" * 3
    assert not any(is_alive(pid) for pid in pids(seen))


def test_a_child_that_ignores_the_signal_is_killed_after_the_grace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = tmp_path / "pids"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAY

    run_until(Supervisor([child("deaf", deaf, str(seen))], grace_seconds=0.2), lambda: bool(pids(seen)))

    assert not is_alive(pids(seen)[0])
    assert caplog.messages[-1] == "A process did not stop in time and is killed."


def test_foundations_are_restarted_but_left_to_their_owner(tmp_path: Path) -> None:
    seen = tmp_path / "pids"
    foundation = child("postgres", STAY, str(seen))
    running = foundation.spawn()
    supervisor = Supervisor([], foundations=[foundation], backoff=QUICK)
    supervisor.adopt("postgres", running)

    def restarted() -> bool:
        if pids(seen) == [running.pid]:
            running.kill()
        return len(pids(seen)) == 2

    run_until(supervisor, restarted)

    survivor = pids(seen)[1]
    assert is_alive(survivor)
    os.kill(survivor, signal.SIGKILL)
    os.waitpid(survivor, 0)


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    seen = tmp_path / "pids"
    program = (
        "import os, sys\n"
        "from nexus.supervisor import ChildSpec, Supervisor\n"
        f"argv = [sys.executable, '-c', {STAY!r}, sys.argv[1]]\n"
        "Supervisor([ChildSpec(str(n), argv, os.environ) for n in range(2)]).run()\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", program, str(seen)], cwd=ROOT)
    until(lambda: len(pids(seen)) == 2)
    supervisor.kill()
    supervisor.wait()

    until(lambda: not any(is_alive(pid) for pid in pids(seen)))


def test_a_killed_worker_loses_no_connection_that_waits_in_the_socket(tmp_path: Path) -> None:
    answering = (
        "import socket, sys\n"
        "listener = socket.socket(fileno=int(sys.argv[1]))\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    if connection.recv(4) == b'kill': import os; os._exit(1)\n"
        "    connection.sendall(b'here'); connection.close()\n"
    )
    with listen_on_port("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        worker = child("runtime", answering, str(listener.fileno()), pass_fds=[listener.fileno()])
        answers: list[bytes] = []

        def ask() -> bool:
            with socket.create_connection(address) as fatal, socket.create_connection(address) as waiting:
                fatal.sendall(b"kill")
                waiting.sendall(b"what")
                waiting.settimeout(10)
                answers.append(waiting.recv(4))
            return True

        run_until(Supervisor([worker], backoff=QUICK), ask)

    assert answers == [b"here"]


def test_a_taken_port_is_told_with_the_setting_to_change() -> None:
    with (
        listen_on_port("127.0.0.1", 0) as taken,
        pytest.raises(
            CannotListen, match=r"^Port \d+ is taken by another program: stop it, or .* NEXUS_PORT or --port"
        ),
    ):
        listen_on_port("127.0.0.1", taken.getsockname()[1])


def test_a_host_that_is_not_this_machine_s_is_told() -> None:
    with pytest.raises(CannotListen, match="correct --host"):
        listen_on_port("203.0.113.1", 0)


def test_a_unix_socket_is_private_and_replaces_a_leftover(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_on_path(path).close()
    with listen_on_path(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_inherited_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(CannotListen, match="is no socket"):
        inherited(file.fileno())


def test_free_ports_differ() -> None:
    assert len(set(free_ports(4))) == 4
