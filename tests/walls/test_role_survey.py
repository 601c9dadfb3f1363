"""What is said of an installation whose database roles do not hold the second wall: nothing is refused for it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from nexus.role_survey import RoleFacts, shortcomings, survey
from tests.database import database_urls
from tests.stack import ROOT, Stack
from tests.walls.conftest import Roles

GOOD = {
    "app": "app",
    "app_passes_policies": False,
    "app_owns_tables": False,
    "tenant": "tenant",
    "tenant_passes_policies": False,
}


def lacking(**facts: str | bool) -> list[str]:
    return [sentence.partition(": ")[0] for sentence in shortcomings(RoleFacts(**{**GOOD, **facts}))]  # type: ignore[arg-type]


def test_of_three_roles_as_they_should_be_there_is_nothing_to_say() -> None:
    assert lacking() == []


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"app_owns_tables": True}, "The role app of DATABASE_URL owns the tables and may change them"),
        ({"app_passes_policies": True}, "The role app of DATABASE_URL passes row security by"),
        ({"tenant": ""}, "Requests of one tenant are asked as the role app, which sees every tenant's rows"),
        ({"tenant_passes_policies": True}, "The role tenant of NEXUS_TENANT_DATABASE_URL passes row security by"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(facts: dict[str, str | bool], sentence: str) -> None:
    assert lacking(**facts) == [sentence]


def test_the_roles_of_these_tests_are_as_they_should_be(committed: None) -> None:
    assert survey() == ()


@pytest.fixture
def one_role(as_role: Roles) -> Iterator[dict[str, str]]:
    """An empty database and the environment of an installation that has one role for everything."""
    name = f"one_role_{secrets.token_hex(4)}"
    owner = as_role("owner")
    owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    urls = database_urls(name)
    yield dict.fromkeys(urls, "") | {"DATABASE_URL": urls["NEXUS_OWNER_DATABASE_URL"]}
    # Sessions of other roles may take a moment to end, and only a superuser may end them.
    as_role("administrator").execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "DJANGO_SETTINGS_MODULE": "nexus.settings.console"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + (done.stderr if arguments[0] == "check" else "")


def test_one_role_for_everything_works_and_is_told_of(one_role: dict[str, str], tmp_path: Path) -> None:
    manage(one_role, "migrate")
    told = manage(one_role, "check", "--database", "default")
    assert "owns the tables and may change them" in told
    assert "set NEXUS_TENANT_DATABASE_URL" in told
    assert "0 partitions made" in manage(one_role, "maintain_partitions")
    who = ("--tenant", "acme", "--email", "ada@acme.example", "--password", secrets.token_urlsafe(16))
    key = json.loads(manage(one_role, "bootstrap", *who, "--scopes", "members:read", "--json"))["api_key"]
    stack = Stack(tmp_path, "unused", one_role)
    try:
        server = stack.serve("all")
        roles = httpx.get(f"{server.base_url}/readyz").json()["checks"]["roles"]
        members = httpx.get(f"{server.base_url}/v1/members", headers={"authorization": f"Bearer {key}"})
    finally:
        stack.stop()
    assert roles["ok"] is False
    assert "manage.py check --database default" in roles["detail"]
    assert members.status_code == 200, stack.logs()
    assert [member["email"] for member in members.json()["data"]] == ["ada@acme.example"]


def test_the_roles_may_be_added_to_a_database_that_had_one(one_role: dict[str, str], as_role: Roles) -> None:
    """From one role to three: migrations run as the owner, and the wall stands with the next `migrate`."""
    manage(one_role, "migrate")
    name = one_role["DATABASE_URL"].rpartition("/")[2]
    three = database_urls(name)
    changed = manage(three, "migrate", "-v", "2")
    assert f"accounts_apikey: policy own_tenant for {as_role('tenant').info.user}" in changed
    assert "owns the tables" not in manage(three, "check", "--database", "default")
    own = as_role("tenant").info
    with (
        psycopg.connect(host=own.host, port=own.port, user=own.user, password=own.password, dbname=name) as tenant,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        tenant.execute("SELECT * FROM django_session")
