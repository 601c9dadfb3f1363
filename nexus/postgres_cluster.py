"""One PostgreSQL cluster on the disk: made once, checked before each start, and how its server is called.

Which process runs it, and when, is `nexus/embedded.py`'s business.
"""

import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nexus import postgres_roles
from nexus.binaries import ServicesError, postgres_directory, postgres_major
from nexus.postgres_roles import ADMINISTRATOR
from nexus.private_files import write_private

if TYPE_CHECKING:
    import psycopg

_DATABASE = "nexus"
_FIRST_WITH_BUILTIN_LOCALES = 17
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # names the socket; no port is opened
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "password_encryption": "scram-sha-256",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_THROWAWAY_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that run a program as this account, or as ourselves."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def last_line(text: str) -> str:
    """Return what a program said last, for one sentence about its failure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """The cluster of a data directory: its files, its sockets' directory and the account it belongs to."""

    data_dir: Path
    sockets: Path
    account: pwd.struct_passwd | None
    durable: bool

    @property
    def directory(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.data_dir / "pg"

    def _password_file(self, role: str) -> Path:
        return self.data_dir / ("pg.password" if role == ADMINISTRATOR else f"pg.{role}.password")

    def url(self, role: str) -> str:
        """Return the URL of our database for a role, in the form that django-environ understands for a socket."""
        password = self._password_file(role).read_text()
        return f"postgres://{role}:{password}@/{quote(str(self.sockets))}/{_DATABASE}"

    def prepare(self) -> None:
        """Make the cluster on the first start; on later ones refuse data that our programs cannot read."""
        programs = postgres_directory(self.data_dir, self.account)
        major = postgres_major(programs)
        for role in postgres_roles.ROLES:
            if not self._password_file(role).exists():
                write_private(self._password_file(role), secrets.token_urlsafe(24))
        if not self.directory.exists():
            self._initialise(programs, major)
            return
        have = (self.directory / "PG_VERSION").read_text().strip()
        if have != str(major):
            raise ServicesError(
                f"The data in {self.directory} is of PostgreSQL {have} and the programs are {major}: "
                f"set NEXUS_PG_BINDIR to PostgreSQL {have}, or move the data by pg_dump."
            )
        password = self._password_file(ADMINISTRATOR)
        if not password.exists():
            raise ServicesError(f"{password} is missing: restore it, or set NEXUS_DATA_DIR elsewhere.")

    def _initialise(self, programs: Path, major: int) -> None:
        """Make the cluster under another name and rename it, so that a killed first start leaves no half of one."""
        password = secrets.token_urlsafe(24)
        partial = self.data_dir / "pg.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        handed = self.sockets / "password"
        write_private(handed, password)
        if self.account is not None:
            for path in (partial, handed):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        try:
            made = subprocess.run(
                self._initdb(programs, major, partial, handed),
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                **as_account(self.account),
            )
        finally:
            handed.unlink()
        if made.returncode != 0:
            raise ServicesError(f"PostgreSQL could not be initialised in {self.data_dir}: {last_line(made.stderr)}")
        write_private(self._password_file(ADMINISTRATOR), password)
        partial.rename(self.directory)

    def _initdb(self, programs: Path, major: int, partial: Path, password: Path) -> list[str]:
        provider = ["--locale-provider=builtin"] if major >= _FIRST_WITH_BUILTIN_LOCALES else []
        command = [str(programs / "initdb"), "-D", str(partial), "-U", ADMINISTRATOR, "-A", "scram-sha-256"]
        command += [f"--pwfile={password}", "-E", "UTF8", *provider, "--locale=C.UTF-8", "--data-checksums"]
        return command if self.durable else [*command, "--no-sync"]

    def command(self) -> list[str]:
        """Return the command line of the server."""
        settings = _SETTINGS | {"unix_socket_directories": str(self.sockets)}
        if not self.durable:
            settings |= _THROWAWAY_SETTINGS
        program = postgres_directory(self.data_dir, self.account) / "postgres"
        return [str(program), "-D", str(self.directory), *(f"--{name}={value}" for name, value in settings.items())]

    def postmaster(self) -> int:
        """Return the process id that the last server left or holds; 0 without one."""
        try:
            return int((self.directory / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return 0

    def is_ready(self, pid: int) -> bool:
        """Return whether the server with this process id accepts connections."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def ensure_database(self) -> None:
        """Make roles and database as this version wants them, also in a cluster that an earlier one made."""
        passwords = {role: self._password_file(role).read_text() for role in postgres_roles.ROLES}
        with self._administer("postgres") as connection:
            postgres_roles.ensure_roles(connection, passwords)
            postgres_roles.ensure_database(connection, _DATABASE)
        with self._administer(_DATABASE) as connection:
            postgres_roles.hand_over(connection)

    def _administer(self, database: str) -> "psycopg.Connection[Any]":
        import psycopg  # noqa: PLC0415  (every process reads this module through its settings; only the owner connects)

        password = self._password_file(ADMINISTRATOR).read_text()
        return psycopg.connect(
            host=str(self.sockets), user=ADMINISTRATOR, password=password, dbname=database, autocommit=True
        )

    def clear_leftovers(self) -> None:
        """Remove what a killed server left: its process id may be another program's by now."""
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        for leftover in self.sockets.glob(".s.PGSQL.*"):
            leftover.unlink()
