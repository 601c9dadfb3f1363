"""PostgreSQL and Valkey beside the checkout: start, watch and stop them, and find those that run.

They listen on Unix sockets in a private directory, never on a port. Whoever starts them holds `<data>/.lock`; any
other process finds them through `<data>/services.json`. When the owner is killed the kernel tells both to shut down
(Linux), or the next start does (macOS), so that no acknowledged write is lost.
"""

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import signal
import socket
import stat
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from nexus import postgres_roles
from nexus.binaries import ServicesError, is_reachable, service_account, valkey_program
from nexus.postgres_cluster import PostgresCluster, as_account, last_line
from nexus.private_files import write_private
from nexus.processes import ends_with_parent, is_alive, runs_with

POSTGRES, VALKEY = "postgres", "valkey"
_START_SECONDS = 60.0  # crash recovery of a large write-ahead log takes a while
_STOP_SECONDS = 20.0
_ORPHAN_SECONDS = 20.0
_POLL_SECONDS = 0.01
_LONGEST_SOCKET_DIRECTORY = 85  # characters; a socket's whole path is limited to 103 on macOS, 107 on Linux
_LOG_BYTES = 16 * 1024 * 1024
_STOP_SIGNALS = {POSTGRES: signal.SIGINT, VALKEY: signal.SIGTERM}  # SIGINT is PostgreSQL's "fast" shutdown
_VALKEY_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",  # a broker that evicts loses tasks
}


class AlreadyRunning(ServicesError):
    """Another process owns the services of this data directory."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How to reach the servers that run, PostgreSQL as each of our roles. A URL is empty without its server."""

    database_url: str
    redis_url: str
    pids: Mapping[str, int]
    owner_database_url: str = ""
    tenant_database_url: str = ""


def running(data_dir: Path) -> Endpoints | None:
    """Return the services of a data directory when all of them are alive. Reads one small file; opens no connection."""
    state = _read_state(data_dir)
    if state is None or not all(is_alive(pid) for pid in state.pids.values()):
        return None
    return state


def ensure_data_directory(data_dir: Path) -> None:
    """Make the data directory: ours alone, or for root such that the account of the servers can enter it."""
    if data_dir.exists():
        return
    data_dir.mkdir(parents=True)
    data_dir.chmod(0o755 if os.geteuid() == 0 else 0o700)


def ensure_secrets(data_dir: Path) -> None:
    """Write `<data>/secrets.env` with random secrets on an embedded installation's first start."""
    path = data_dir / "secrets.env"
    if path.exists():
        return
    ensure_data_directory(data_dir)
    signing, encryption = secrets.token_urlsafe(50), urlsafe_b64encode(secrets.token_bytes(32)).decode()
    write_private(path, f"SECRET_KEY={signing}\nNEXUS_ENCRYPTION_KEYS={encryption}\n")


def run_directory(data_dir: Path) -> Path:
    """Return where a data directory's sockets lie: beside the data, or in the temporary directory for a long path."""
    beside = data_dir.absolute() / "run"
    if len(os.fsencode(beside)) <= _LONGEST_SOCKET_DIRECTORY:
        return beside
    identity = data_dir.stat()
    return Path(tempfile.gettempdir()) / f"nexus-{identity.st_dev:x}-{identity.st_ino:x}"


class Services:
    """The servers of one data directory, owned by this process. With neither asked for, it only holds the lock.

    Start them from the main thread: they end with the thread that started them (see `ends_with_parent`).
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, postgres: bool = True, valkey: bool = True) -> None:
        self.names = tuple(name for name, wanted in ((POSTGRES, postgres), (VALKEY, valkey)) if wanted)
        self._data = data_dir.absolute()
        self._durable = durable
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: int | None = None
        # Both are known once the data directory exists.
        self._account: pwd.struct_passwd | None = None
        self._cluster = PostgresCluster(self._data, self._data / "run", None, durable)

    def start(self) -> Endpoints:
        """Start what was asked for and return once it answers. Raises AlreadyRunning or ServicesError."""
        try:
            self._prepare()
            for name in self.names:
                self.launch(name)
            for name in self.names:
                self._await_ready(name)
            if POSTGRES in self.names:
                self._cluster.ensure_database()
        except PermissionError as error:
            self.stop()
            raise ServicesError(
                f"{error.filename or self._data} belongs to another user: "
                "set NEXUS_DATA_DIR to a directory of your own, or run NEXUS as that user."
            ) from None
        except BaseException:
            self.stop()
            raise
        return self.endpoints()

    def endpoints(self) -> Endpoints:
        """Return where the servers listen."""
        app, owner, tenant = (
            self._cluster.url(role) if POSTGRES in self.names else ""
            for role in (postgres_roles.APP, postgres_roles.OWNER, postgres_roles.TENANT)
        )
        return Endpoints(
            database_url=app,
            redis_url=f"unix://{quote(str(self._valkey_socket))}?db=0" if VALKEY in self.names else "",
            pids={name: process.pid for name, process in self._processes.items()},
            owner_database_url=owner,
            tenant_database_url=tenant,
        )

    def administrator_url(self) -> str:
        """Return the URL of our database for the superuser, as which no process of NEXUS works."""
        return self._cluster.url(postgres_roles.ADMINISTRATOR)

    @property
    def processes(self) -> Mapping[str, "subprocess.Popen[bytes]"]:
        """The servers that were started, dead ones included."""
        return self._processes

    def launch(self, name: str) -> subprocess.Popen[bytes]:
        """Start one server, at first or after its death, and return its process at once."""
        arguments = self._cluster.command() if name == POSTGRES else self._valkey_command()
        process = self._spawn(arguments, self._data / f"{name}.log", _STOP_SIGNALS[name])
        self._processes[name] = process
        _write_state(self._data, self.endpoints())
        return process

    def stop(self) -> None:
        """Shut the servers down cleanly and give the data directory free. Safe to call twice."""
        for name, process in self._processes.items():
            if process.poll() is None:
                process.send_signal(_STOP_SIGNALS[name])
        for process in self._processes.values():
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if self._lock is not None:
            (self._data / "services.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    # --- before the servers start -------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self.names or self._cluster.directory.exists():  # with servers elsewhere, any account will do
            self._account = service_account(self._cluster.directory)
        self._require_reachable()
        ensure_data_directory(self._data)
        self._take_lock()
        sockets = run_directory(self._data)
        self._cluster = PostgresCluster(self._data, sockets, self._account, self._durable)
        self._own_directory(sockets)
        if VALKEY in self.names:
            self._own_directory(self._data / VALKEY)
        self._end_orphans()
        if POSTGRES in self.names:
            self._cluster.prepare()

    def _require_reachable(self) -> None:
        if self._account is None:
            return
        existing = self._data
        while not existing.exists():
            existing = existing.parent
        if not is_reachable(existing, self._account):
            raise ServicesError(
                f"User {self._account.pw_name}, as which PostgreSQL runs, cannot enter {existing}: "
                "set NEXUS_DATA_DIR to a directory that it can reach, for instance /var/lib/nexus."
            )

    def _take_lock(self) -> None:
        lock = os.open(self._data / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise AlreadyRunning(
                f"NEXUS already runs on {self._data}: stop it first, or set NEXUS_DATA_DIR to another directory."
            ) from None
        self._lock = lock

    def _own_directory(self, path: Path) -> None:
        """Make a private directory of the service account, refusing one that somebody else has put there."""
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
        owners = {os.geteuid()} | ({self._account.pw_uid} if self._account else set())
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
            raise ServicesError(
                f"{path} belongs to another user: remove it, or set NEXUS_DATA_DIR to another directory."
            )
        path.chmod(0o700)
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _end_orphans(self) -> None:
        """Let the servers of a killed owner finish: they hold the files that ours are about to open."""
        state = _read_state(self._data)
        found = {**(state.pids if state else {}), POSTGRES: self._cluster.postmaster()}
        orphans = {name: pid for name, pid in found.items() if name in _STOP_SIGNALS and self._is_ours(name, pid)}
        for name, pid in orphans.items():
            os.kill(pid, _STOP_SIGNALS[name])
        deadline = time.monotonic() + _ORPHAN_SECONDS
        for name, pid in orphans.items():
            while self._is_ours(name, pid):
                if time.monotonic() > deadline:
                    raise ServicesError(f"A {name} of an earlier start (process {pid}) does not end: stop it by hand.")
                time.sleep(_POLL_SECONDS)
        self._cluster.clear_leftovers()

    def _is_ours(self, name: str, pid: int) -> bool:
        """Return whether this process is such a server of this data directory: process ids are used again."""
        return runs_with(pid, self._cluster.directory if name == POSTGRES else self._valkey_socket)

    # --- processes ----------------------------------------------------------------------------------------------------

    @property
    def _valkey_socket(self) -> Path:
        return self._cluster.sockets / "valkey.sock"

    def _valkey_command(self) -> list[str]:
        self._valkey_socket.unlink(missing_ok=True)
        settings = _VALKEY_SETTINGS | {
            "unixsocket": str(self._valkey_socket),
            "dir": str(self._data / VALKEY),
            "appendonly": "yes" if self._durable else "no",
        }
        program = valkey_program(self._data, self._account)
        return [str(program), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def _spawn(self, command: list[str], log: Path, ending: signal.Signals) -> subprocess.Popen[bytes]:
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",  # the account may be unable to enter ours
                process_group=0,  # Ctrl-C in the terminal is for the owner, which stops them in order
                preexec_fn=ends_with_parent(ending),  # noqa: PLW1509  (it takes no lock; there is no other way)
                **as_account(self._account),
            )

    def _await_ready(self, name: str) -> None:
        process = self._processes[name]
        log = self._data / f"{name}.log"
        deadline = time.monotonic() + _START_SECONDS
        while not (self._cluster.is_ready(process.pid) if name == POSTGRES else self._valkey_answers()):
            if process.poll() is not None:
                raise ServicesError(f"{name} did not start: {last_line(log.read_text(errors='replace'))} (see {log})")
            if time.monotonic() > deadline:
                raise ServicesError(f"{name} did not answer within {_START_SECONDS:.0f} s (see {log}).")
            time.sleep(_POLL_SECONDS)

    def _valkey_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            try:
                client.connect(str(self._valkey_socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")  # "-LOADING" while the append-only file is read
            except OSError:
                return False


def _read_state(data_dir: Path) -> Endpoints | None:
    try:
        state = json.loads((data_dir / "services.json").read_text())
        roles = (state.get("owner_database_url", ""), state.get("tenant_database_url", ""))
        return Endpoints(state["database_url"], state["redis_url"], state["pids"], *roles)
    except (FileNotFoundError, NotADirectoryError, PermissionError, json.JSONDecodeError, KeyError):
        return None  # nothing runs here, or nothing that this user may use


def _write_state(data_dir: Path, endpoints: Endpoints) -> None:
    write_private(data_dir / "services.json", json.dumps(asdict(endpoints)))
