"""Pytest plugin that gives the tests real servers: one throw-away PostgreSQL and Valkey, or the environment's.

It is loaded by `-p tests.services`, ahead of pytest-django, which reads the settings, and so the URLs, at the start.
It also turns skipped tests into a failure where CI or NEXUS_FAIL_ON_SKIP is set: a skipped test proves nothing.
"""

import os
import shutil
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus.embedded import Services


@dataclass(slots=True)
class _Running:
    services: Services | None
    directory: Path


_RUNNING: list[_Running] = []
_SKIPPED: list[str] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    try:
        _start()
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


def _start() -> None:
    if _RUNNING:
        return
    directory = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    directory.chmod(0o755)  # run by root, the servers are an ordinary user's and must get in
    given = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    services = None
    _RUNNING.append(_Running(None, directory))
    if not all(given.values()):
        services = Services(directory, durable=False, postgres=not given["DATABASE_URL"], valkey=not given["REDIS_URL"])
        _RUNNING[0].services = services
        endpoints = services.start()
        given = {
            "DATABASE_URL": given["DATABASE_URL"] or endpoints.database_url,
            "REDIS_URL": given["REDIS_URL"] or endpoints.redis_url,
        }
    os.environ.update(given)
    os.environ["NEXUS_DATA_DIR"] = str(directory)
    os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "x" * 40
    os.environ["NEXUS_ENCRYPTION_KEYS"] = urlsafe_b64encode(b"k" * 32).decode()
    os.environ["NEXUS_ALLOW_PRIVATE_PROVIDERS"] = "true"


def _stop() -> None:
    while _RUNNING:
        running = _RUNNING.pop()
        if running.services is not None:
            running.services.stop()
        shutil.rmtree(running.directory)
