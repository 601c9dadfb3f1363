"""Secrets stay where they belong: planted ones are looked for everywhere after traffic of every kind.

They may be where they are used (files of their owner alone, the process's memory) and, as hash or ciphertext, in the
database. Nowhere else, in no form: see tests/walls/canaries.py.
"""

import os
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.database import connect_to
from tests.gateway.outages import Ground, ground
from tests.stack import ROOT, eventually
from tests.upstream import Upstream
from tests.walls.canaries import Canaries, RedisEar, command_lines, files, tables
from tests.walls.echoing_provider import echoing_provider
from tests.walls.visit import CONTENT, Visit, fail_without_the_database, read_everything, use_all_of_it

pytestmark = pytest.mark.timeout(600)  # the first one pays for servers and a database


@pytest.fixture(scope="module")
def own(django_db_setup: None, django_db_blocker: Any) -> Iterator[Ground]:
    with django_db_blocker.unblock(), ground() as made:
        yield made


@pytest.fixture(scope="module")
def visit(own: Ground) -> Iterator[Visit]:
    visit = Visit(own)
    try:
        yield visit
    finally:
        visit.http.close()
        visit.stack.stop()


def test_no_secret_is_anywhere_but_where_it_belongs(visit: Visit) -> None:
    """One long visit: to begin with what people do, then what is left of it in every place."""
    stack, canaries, services = visit.stack, visit.canaries, visit.own.services
    with RedisEar(visit.own.endpoints.redis_url) as ear, echoing_provider() as echo, Upstream("openai") as upstream:
        use_all_of_it(visit, echo, upstream.base_url)
        spooled = dict(files(stack.folder / "spool"))
        stack.run("ship")
        eventually(lambda: len(visit.ask("GET", "/v1/requests", status=200)["data"]) > 10, seconds=30, what="the rows")
        read_everything(visit)
        fail_without_the_database(visit)
        started = dict(command_lines([*stack.pids(), *(each.pid for each in services.processes.values())]))
    visit.http.close()
    stack.stop()
    heard, logs = b"\n".join(ear.heard), stack.logs()
    with connect_to(services.administrator_url()) as administrator:
        dumped = dict(tables(administrator))
        administrator.execute("CHECKPOINT")
    assert any(spooled.values())
    assert (b"PUBLISH" in heard.upper(), "Traceback" in logs, len(dumped) > 30, len(started) > 5) == (True,) * 4
    found = [
        *canaries.seen(visit.completions, but=[CONTENT]),
        *canaries.seen(visit.answers),
        *canaries.seen({"the logs": logs.encode(), "Redis": heard}),
        *canaries.seen(spooled),
        *canaries.seen(dumped),
        *canaries.seen(started),
        *canaries.seen(files(visit.own.folder)),  # the servers' own files with their journals, logs, copies
    ]
    assert found == []


def test_a_secret_that_gets_somewhere_is_found_there(visit: Visit) -> None:
    """The searches themselves: one is put into each place by hand."""
    leak = visit.canaries.made("a leak")
    with connect_to(visit.own.services.administrator_url()) as administrator:
        administrator.execute("CREATE TABLE leak (said jsonb)")
        administrator.execute("INSERT INTO leak VALUES (jsonb_build_object('x', %s::text))", [f"{leak[:40]}…"])
        assert visit.canaries.seen(tables(administrator)) == ["a leak in the table public.leak"]
        administrator.execute("DROP TABLE leak")
    below = visit.stack.folder / "spool" / "deep"
    below.mkdir(parents=True)
    (below / "segment").write_bytes(b"\xff" + b64encode(leak.encode()))
    assert visit.canaries.seen(files(visit.stack.folder)) == ["a leak in the file spool/deep/segment"]
    with RedisEar(visit.own.endpoints.redis_url) as ear, Redis.from_url(visit.own.endpoints.redis_url) as redis:
        redis.publish("x", leak)
    assert visit.canaries.seen({"Redis": b"\n".join(ear.heard)}) == ["a leak in Redis"]
    waits = [sys.executable, "-c", "input()", leak]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as telltale:
        eventually(lambda: visit.canaries.seen(command_lines([telltale.pid])), what="the leak in the command line")
        telltale.communicate(b"\n")
    question = {"model": "fine", "messages": [{"role": "user", "content": "Hello"}]}
    with echoing_provider() as echo:
        told = httpx.post(f"{echo}/chat/completions", json=question, headers={"authorization": f"Bearer {leak}"})
    visit.keep("an answer", told)
    assert [found.partition(" #")[0] for found in visit.canaries.seen(visit.answers)] == ["a leak in an answer"]


REFUSED = {
    "SECRET_KEY": "",
    "NEXUS_ENCRYPTION_KEYS": "{}",
    "DATABASE_URL": "mysql://nexus:{}@db/nexus",
    "NEXUS_OWNER_DATABASE_URL": "mysql://nexus:{}@db/nexus",
    "NEXUS_TENANT_DATABASE_URL": "postgres://nexus:{}@db:port/nexus",
    "REDIS_URL": "http://:{}@redis",
    "EMAIL_URL": "nothing://user:{}@mail",
    "NEXUS_PUBLIC_URL": "ftp://user:{}@host",
    "NEXUS_ALLOW_PRIVATE_PROVIDERS": "http://user:{}@host",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_is_refused_is_not_quoted_with_its_secret(name: str, tmp_path: Path) -> None:
    canaries = Canaries()
    given = {
        "SECRET_KEY": canaries.made("the secret key"),
        "NEXUS_ENCRYPTION_KEYS": urlsafe_b64encode(os.urandom(32)).decode(),
        "DATABASE_URL": f"postgres://nexus:{canaries.made('the database password')}@127.0.0.1:1/nexus",
        "REDIS_URL": f"redis://:{canaries.made('the password of Redis')}@127.0.0.1:1/0",
        "NEXUS_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "nexus.settings.console",
    }
    given[name] = REFUSED[name].format(canaries.made(f"the value of {name}"))
    told = subprocess.run(
        [sys.executable, "manage.py", "check", "--database", "default"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        check=False,
    )
    assert told.returncode != 0
    assert canaries.seen({"what is said": told.stdout + told.stderr}) == []


def test_what_is_looked_for_is_found_in_every_form() -> None:
    """The search itself: a secret that is hidden in each of these ways, and in the middle of something, is seen."""
    canaries = Canaries()
    secret = canaries.made("it")
    hidden = {
        "plain": f"x{secret}y".encode(),
        "its beginning": secret[:30].encode(),
        "its end": secret[-30:].encode(),
        "hex": secret.encode().hex().encode(),
        "escaped": "".join(f"%{ord(letter):02x}" for letter in secret).encode(),
        **{f"base64 at {n}": b64encode(b"u" * n + secret.encode() + b"tail") for n in range(6)},
        **{f"url-safe base64 at {n}": urlsafe_b64encode(b"u" * n + b"\xfb\xff" + secret.encode()) for n in range(6)},
    }
    assert canaries.seen(hidden) == sorted(f"it in {where}" for where in hidden)
    assert canaries.seen({"nothing": b"x" * 1000 + secret[:8].encode()}) == []
