"""Pytest plugin that gives the tests real servers: one throw-away PostgreSQL and Valkey, or the environment's.

The database is used in the three roles of a production installation. On a server of the environment's, whose role must
be able to make roles, they are made for the tests and dropped after them.

It is loaded by `-p tests.services`, ahead of pytest-django, which reads the settings, and so the URLs, at the start.
Where several processes share the tests (`-n 2`), each has servers of its own, and the one that deals them out has none.
It also turns skipped tests into a failure where CI or NEXUS_FAIL_ON_SKIP is set: a skipped test proves nothing.
"""

import os
import secrets
import shutil
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from nexus.embedded import Services
from nexus.postgres_roles import ROLES
from tests.database import DATABASE_URLS, connect_to


@dataclass(slots=True)
class _Running:
    services: Services | None
    directory: Path
    administrator_url: str = ""  # of a server that is not ours
    borrowed: list[str] = field(default_factory=list)  # the roles made there


_SERVERS = ("DATABASE_URL", "REDIS_URL")
_NOWHERE = dict.fromkeys(DATABASE_URLS, "postgres://nobody@/none") | {"REDIS_URL": "unix:///nonexistent/valkey.sock"}
_RUNNING: list[_Running] = []
_SKIPPED: list[str] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    worker = "PYTEST_XDIST_WORKER" in os.environ
    deals = not worker and bool(getattr(early_config.known_args_namespace, "numprocesses", None))
    given = {} if worker else {name: os.environ[name] for name in _SERVERS if os.environ.get(name)}
    if deals and given:
        raise pytest.UsageError("-n starts servers for each process: unset " + " and ".join(given))
    try:
        _start(_NOWHERE if deals else given)
        yield
    except BaseException:  # a conftest that fails to import: pytest_unconfigure does not come
        _stop()
        raise


def pytest_unconfigure() -> None:
    _stop()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _SKIPPED.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _SKIPPED.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    wanted = os.environ.get("CI") == "true" or os.environ.get("NEXUS_FAIL_ON_SKIP") == "1"
    if wanted and _SKIPPED and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for node in _SKIPPED:
        terminalreporter.write_line(f"skipped, which counts as a failure in CI: {node}", yellow=True)


def _start(given: dict[str, str]) -> None:
    """Start the servers that are not given, and lead the settings to all of them."""
    if _RUNNING:
        return
    directory = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    directory.chmod(0o755)  # run by root, the servers are an ordinary user's and must get in
    running = _Running(None, directory)
    _RUNNING.append(running)
    settings = _start_services(running, given)
    if "NEXUS_OWNER_DATABASE_URL" not in settings:
        settings |= _borrow_roles(running, settings["DATABASE_URL"])
    os.environ.update(settings)
    os.environ["NEXUS_DATA_DIR"] = str(directory)
    os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "x" * 40
    os.environ["NEXUS_ENCRYPTION_KEYS"] = urlsafe_b64encode(b"k" * 32).decode()
    os.environ["NEXUS_ALLOW_PRIVATE_PROVIDERS"] = "true"
    os.environ.pop("SSL_CERT_FILE", None)  # every client of httpx would read it, which may take longer than its request


def _start_services(running: _Running, given: dict[str, str]) -> dict[str, str]:
    """Start what is not given; return the settings that lead to the servers."""
    if all(name in given for name in _SERVERS):
        return dict(given)
    services = Services(
        running.directory, durable=False, postgres="DATABASE_URL" not in given, valkey="REDIS_URL" not in given
    )
    running.services = services
    endpoints = services.start()
    settings = {"REDIS_URL": endpoints.redis_url, **given}
    if not endpoints.database_url:
        return settings
    settings |= {
        "DATABASE_URL": endpoints.database_url,
        "NEXUS_OWNER_DATABASE_URL": endpoints.owner_database_url,
        "NEXUS_TENANT_DATABASE_URL": endpoints.tenant_database_url,
        "NEXUS_TEST_ADMINISTRATOR_URL": services.administrator_url(),
    }
    with connect_to(settings["NEXUS_TEST_ADMINISTRATOR_URL"]) as administrator:
        _enable_tests(administrator, *ROLES)
    return settings


def _enable_tests(administrator: "psycopg.Connection[Any]", owner: str, app: str, tenant: str) -> None:
    """Let the owner make the test database, and the tests' own process take the tenant's role on its one connection."""
    administrator.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(owner)))
    administrator.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(tenant), sql.Identifier(app)))


def _borrow_roles(running: _Running, url: str) -> dict[str, str]:
    """Make the three roles on a server that is not ours; return the URLs by their settings."""
    suffix, password = secrets.token_hex(4), secrets.token_hex(16)
    roles = [f"{role}_{suffix}" for role in ROLES]
    with connect_to(url) as administrator:
        for role in roles:
            made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
            administrator.execute(made)
        _enable_tests(administrator, *roles)
    running.administrator_url, running.borrowed = url, roles
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    owner, app, tenant = (parts._replace(netloc=f"{role}:{password}@{host}").geturl() for role in roles)
    return {
        "DATABASE_URL": app,
        "NEXUS_OWNER_DATABASE_URL": owner,
        "NEXUS_TENANT_DATABASE_URL": tenant,
        "NEXUS_TEST_ADMINISTRATOR_URL": url,
    }


def _stop() -> None:
    while _RUNNING:
        running = _RUNNING.pop()
        if running.borrowed:
            with connect_to(running.administrator_url) as administrator:
                for role in running.borrowed:
                    administrator.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        if running.services is not None:
            running.services.stop()
        shutil.rmtree(running.directory)
