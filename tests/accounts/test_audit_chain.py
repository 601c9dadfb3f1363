"""Whether `manage.py verify_audit` finds what the owner of the tables does to the audit log with all triggers off."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from accounts.audit import Actor, log
from accounts.audit_chain import Anchors, Head, examine
from accounts.audit_rows import CONTENT, chains, links, unchained
from accounts.models import AuditEvent, AuditHead, AuditLink, Tenant
from nexus.database_roles import as_owner
from tests.accounts.test_keys_api import call
from tests.database import DATABASE_URLS, connect
from tests.factories import make_key, make_member, make_tenant
from tests.stack import ROOT

ROWS = 5
TABLES = ("accounts_auditevent", "accounts_auditlink")
ALWAYS = {
    "accounts_auditevent": ("append_only", "append_only_truncate"),
    "accounts_auditlink": ("append_only", "append_only_truncate"),
}
Tamper = Callable[..., None]


@pytest.fixture
def told(tenant: Tenant) -> list[str]:
    """The ids of a tenant's audit rows, in their order."""
    for number in range(ROWS):
        write(tenant, number)
    return [
        str(id_) for id_ in AuditLink.objects.filter(tenant=tenant).order_by("place").values_list("event_id", flat=True)
    ]


def write(tenant: Tenant, number: int) -> None:
    actor = Actor("user", tenant.id, "ada@acme.example", ip="192.0.2.7", request_id=tenant.id)
    changes = {"n": [None, number], "ü": ["1,5:", 1.50]}
    log(actor=actor, action="test.done", target=tenant, tenant=tenant, changes=changes)


@pytest.fixture
def tamper(tenant: Tenant) -> Iterator[Tamper]:
    """Run SQL as the owner with the triggers off, and put the rows back in the end."""
    with connect("owner") as owner:

        def run(statement: str, *, triggers: bool = False, **values: object) -> None:
            with owner.transaction():
                for table in TABLES if not triggers else ():
                    owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                owner.execute(statement, {"tenant": tenant.id, **values})
                owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
                for table in TABLES if not triggers else ():
                    owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
                    for name in ALWAYS[table]:
                        owner.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")

        yield run


def verify(*arguments: str) -> tuple[list[str], bool]:
    """Return the lines of the command, and whether it found a break."""
    out = StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=out)
    except CommandError as error:
        if error.returncode != 1:
            raise
        return out.getvalue().splitlines(), True
    return out.getvalue().splitlines(), False


def broken(tenant: Tenant, *arguments: str) -> list[str]:
    """Return the findings in a tenant's chain, which is known to be broken."""
    lines, found = verify("--tenant", tenant.slug, *arguments)
    assert found, lines
    assert re.fullmatch(rf"{tenant.slug}: \d+ rows, BROKEN: {len(lines) - 1} findings", lines[-1])
    return [line.removeprefix(f"{tenant.slug}: ") for line in lines[:-1]]


def test_a_log_that_is_as_it_was_written_is_whole(tenant: Tenant, told: list[str]) -> None:
    head = AuditHead.objects.get(id=tenant.id)
    assert (len(told), head.length) == (ROWS, ROWS)
    assert verify("--tenant", tenant.slug) == ([f"{tenant.slug}: {ROWS} rows, whole, ends in {head.hash}"], False)


CHANGES = {
    "id": "gen_random_uuid()",
    "tenant_id": "NULL",
    "created_at": "created_at + interval '1 microsecond'",
    "actor_kind": "'key'",
    "actor_id": "gen_random_uuid()",
    "actor_label": "'eve@acme.example'",
    "action": "'test.nothing'",
    "target_kind": "'key'",
    "target_id": "'1'",
    "target_label": "''",
    "changes": "changes || '{\"n\": [null, 9]}'",
    "ip": "NULL",
    "request_id": "NULL",
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_change_of_any_column_is_found_and_told_with_its_row(
    tenant: Tenant, told: list[str], tamper: Tamper, column: str
) -> None:
    tamper(f"UPDATE accounts_auditevent SET {column} = {CHANGES[column]} WHERE id = %(id)s", id=told[2])
    assert any(finding.startswith(f"row 3 {told[2]} ") for finding in broken(tenant))
    assert {finding.split()[1] for finding in broken(tenant)} <= {"3", "row"}


def test_a_row_cannot_write_lines_of_the_commands_own(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    forged = f"eve\n{tenant.slug}: {ROWS} rows, whole\x1b[2J"
    tamper("UPDATE accounts_auditevent SET actor_label = %(label)s WHERE id = %(id)s", id=told[2], label=forged)
    (finding,) = broken(tenant)
    assert f"eve\\n{tenant.slug}: {ROWS} rows, whole\\x1b[2J" in finding


def test_no_column_is_left_out_of_the_hash(committed: None) -> None:
    """One that is added later would be free to change."""
    columns = [field.column for field in AuditEvent._meta.concrete_fields]
    assert set(CONTENT) == set(CHANGES) == set(columns)


def test_a_row_that_was_deleted_is_found(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    tamper("DELETE FROM accounts_auditevent WHERE id = %(id)s", id=told[1])
    assert broken(tenant) == [f"row 2 {told[1]} is gone from the log"]


def test_a_row_that_was_deleted_with_its_link_is_found(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    tamper("DELETE FROM accounts_auditevent WHERE id = %(id)s", id=told[1])
    tamper("DELETE FROM accounts_auditlink WHERE event_id = %(id)s", id=told[1])
    assert broken(tenant) == [f"row 3 {told[2]} follows row 1 at once: what was between them was taken from the chain"]


def test_a_gap_that_was_closed_is_found(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    tamper("DELETE FROM accounts_auditevent WHERE id = %(id)s", id=told[1])
    tamper("DELETE FROM accounts_auditlink WHERE event_id = %(id)s", id=told[1])
    tamper("UPDATE accounts_auditlink SET place = -place + 1 WHERE tenant_id = %(tenant)s AND place > 2")
    tamper("UPDATE accounts_auditlink SET place = -place WHERE tenant_id = %(tenant)s AND place < 0")
    assert f"row 2 {told[2]} does not follow the row before it: one of the two was added or moved" in broken(tenant)


@pytest.mark.parametrize("links_too", [False, True])
def test_the_last_row_cannot_be_taken_unnoticed(
    tenant: Tenant, told: list[str], tamper: Tamper, links_too: bool
) -> None:
    tamper("DELETE FROM accounts_auditevent WHERE id = %(id)s", id=told[-1])
    if links_too:
        tamper("DELETE FROM accounts_auditlink WHERE event_id = %(id)s", id=told[-1])
    (finding,) = broken(tenant)
    assert finding.startswith(f"row {ROWS} ")


def test_a_log_that_was_emptied_is_found(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    for table in TABLES:
        tamper(f"DELETE FROM {table} WHERE tenant_id = %(tenant)s")
    assert broken(tenant) == [
        f"row {ROWS} should be the last, and the chain ends with row 0: the end was taken or added to"
    ]


COPY = """
INSERT INTO accounts_auditevent (id, tenant_id, created_at, actor_kind, actor_label, action, target_kind, target_id,
                                 target_label, changes)
VALUES (%(id)s, %(tenant)s, now() - %(ago)s::interval, 'user', 'eve', 'test.faked', 'x', 'x', 'x', '{}')
"""


def test_a_row_that_was_slipped_in_is_found(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    tamper(COPY, id=str(tenant.id), ago="0 s")
    (finding,) = broken(tenant)
    assert finding.startswith(f"a row {tenant.id} is in the log without a place in the chain: test.faked by eve")


def test_a_row_under_a_false_date_is_found_although_the_trigger_chained_it(
    tenant: Tenant, told: list[str], tamper: Tamper
) -> None:
    tamper(COPY, id=str(tenant.id), ago="2 days", triggers=True)
    (finding,) = broken(tenant)
    assert re.match(rf"row {ROWS + 1} {tenant.id} was written at .* under another date: test.faked by eve", finding)


def test_a_row_that_the_owner_chained_under_a_false_date_is_found(
    tenant: Tenant, told: list[str], tamper: Tamper
) -> None:
    """By the function that the trigger calls, with a time of the owner's choice."""
    tamper(COPY, id=str(tenant.id), ago="2 days")
    tamper(
        "SELECT append_to_audit_chain(e, e.created_at) FROM accounts_auditevent e WHERE id = %(id)s", id=str(tenant.id)
    )
    (finding,) = broken(tenant)
    assert finding.startswith(f"row {ROWS + 1} {tenant.id} is dated before the rows that it follows, to ")


def test_a_row_that_passes_for_a_replicated_one_is_found(tenant: Tenant, told: list[str]) -> None:
    """What a replica is given is not chained there, or its links would be made twice."""
    with connect("administrator") as administrator:
        administrator.execute("SET session_replication_role = replica")
        administrator.execute(COPY, {"id": tenant.id, "tenant": tenant.id, "ago": "0 s"})
    (finding,) = broken(tenant)
    assert finding.startswith(f"a row {tenant.id} is in the log without a place in the chain: test.faked by eve")


def test_what_was_written_before_there_was_a_chain_is_chained_by_the_migration(tenant: Tenant, told: list[str]) -> None:
    stranger = make_tenant(f"c{secrets.token_hex(6)}")
    write(stranger, 0)
    with as_owner(), transaction.atomic(), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM accounts_auditlink")
        cursor.execute("DELETE FROM accounts_audithead")
        cursor.execute(import_module("accounts.migrations.0006_audit_chain").BACKFILL)
        made = {chain.tenant_id: chain for chain in chains()}
        assert (made[tenant.id].head.length, made[stranger.id].head.length) == (ROWS, 1)
        for chain in made.values():
            assert list(examine(links(chain), head=chain.head)) == []
            assert list(unchained(chain)) == []
        transaction.set_rollback(True)
    assert not verify("--tenant", tenant.slug)[1]


def test_rows_that_changed_places_are_found(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    swap = "UPDATE accounts_auditlink SET place = %(to)s WHERE event_id = %(id)s"
    for id_, place in ((told[1], 99), (told[2], 2), (told[1], 3)):
        tamper(swap, id=id_, to=place)
    assert {finding.split()[1] for finding in broken(tenant)} == {"2", "3", "4"}


def test_a_row_that_was_hashed_anew_breaks_with_the_next(tenant: Tenant, told: list[str], tamper: Tamper) -> None:
    tamper("UPDATE accounts_auditevent SET actor_label = 'eve' WHERE id = %(id)s", id=told[2])
    tamper(REHASH, id=told[2])
    assert broken(tenant) == [
        f"row 4 {told[3]} does not follow the row before it: one of the two was added or moved",
    ]


REHASH = """
UPDATE accounts_auditlink l SET hash = audit_digest(e, l.previous_hash, l.place, l.chained_at)
FROM accounts_auditevent e WHERE e.id = l.event_id AND l.event_id = %(id)s
"""


def rewrite(tenant: Tenant, tamper: Tamper, ids: list[str]) -> None:
    """Make the chain right again from these rows alone, as its owner could."""
    tamper("UPDATE accounts_audithead SET length = 0, hash = repeat('0', 64) WHERE id = %(tenant)s")
    tamper("DELETE FROM accounts_auditlink WHERE tenant_id = %(tenant)s")
    for id_ in ids:
        tamper("SELECT append_to_audit_chain(e, e.created_at) FROM accounts_auditevent e WHERE id = %(id)s", id=id_)


def empty(folder: Path) -> Path:
    (folder / "anchors").touch()
    return folder / "anchors"


@pytest.mark.parametrize("how", ["changed", "shortened"])
def test_a_chain_that_was_rewritten_as_a_whole_is_found_by_an_anchor(
    tenant: Tenant, told: list[str], tamper: Tamper, tmp_path: Path, how: str
) -> None:
    anchors = empty(tmp_path)
    assert not verify("--tenant", tenant.slug, "--anchors", str(anchors))[1]
    head = AuditHead.objects.get(id=tenant.id)
    assert Anchors.parse(anchors.read_text()).heads == {str(tenant.id): Head(ROWS, head.hash)}
    kept = told if how == "changed" else told[:-1]
    tamper("UPDATE accounts_auditevent SET actor_label = 'eve' WHERE id = %(id)s", id=told[2])
    if how == "shortened":
        tamper("DELETE FROM accounts_auditevent WHERE id = %(id)s", id=told[-1])
    rewrite(tenant, tamper, kept)
    assert not verify("--tenant", tenant.slug)[1]  # the database alone cannot tell
    before = anchors.read_text()
    (finding,) = broken(tenant, "--anchors", str(anchors))
    assert finding.startswith(f"row {ROWS} ")
    assert "was written down" in finding or "that was written down" in finding
    assert anchors.read_text() == before


def test_an_anchor_stays_good_while_the_chain_grows_and_moves_on_with_it(
    tenant: Tenant, told: list[str], tmp_path: Path
) -> None:
    anchors = empty(tmp_path)
    for length in (ROWS, ROWS + 1):
        assert not verify("--tenant", tenant.slug, "--anchors", str(anchors))[1]
        assert Anchors.parse(anchors.read_text()).heads[str(tenant.id)].length == length
        write(tenant, 0)


def test_the_chain_of_a_tenant_that_is_gone_is_kept_and_found_by_its_id(tenant: Tenant, told: list[str]) -> None:
    Tenant.objects.filter(id=tenant.id).delete()
    (line,), found = verify("--tenant", str(tenant.id))
    assert not found
    assert "(deleted)" in line


def test_what_could_not_be_verified_is_told_apart_from_what_is_broken(committed: None, tmp_path: Path) -> None:
    """Also a file that was there the last time: a missing one is never begun again in silence."""
    (tmp_path / "x").write_text("not an anchor\n")
    for arguments, said in (
        (("--tenant", "nobody"), "There is no audit log of a tenant nobody"),
        (("--anchors", str(tmp_path / "x")), "is no file of anchors"),
        (("--anchors", str(tmp_path / "gone")), "There is no file .*/gone. For the first time, make an empty one"),
    ):
        with pytest.raises(CommandError, match=said) as raised:
            call_command("verify_audit", *arguments)
        assert raised.value.returncode == 2
    assert not (tmp_path / "gone").exists()


def test_a_database_that_is_away_is_no_broken_log() -> None:
    away = dict.fromkeys(DATABASE_URLS, "postgres://nexus:x@127.0.0.1:1/nexus")
    told = subprocess.run(
        [sys.executable, "manage.py", "verify_audit"],
        cwd=ROOT,
        env={**os.environ, **away},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("CommandError: The database could not be asked: ")


def test_what_is_undone_leaves_no_gap(tenant: Tenant, told: list[str]) -> None:
    with transaction.atomic():
        write(tenant, 1)
        transaction.set_rollback(True)
    write(tenant, 2)
    lines, found = verify("--tenant", tenant.slug)
    assert not found
    assert lines[0].startswith(f"{tenant.slug}: {ROWS + 1} rows, whole")


def test_a_request_chains_its_row_in_the_tenants_role(tenant: Tenant) -> None:
    key = make_key(tenant, make_member(tenant, f"ada@{tenant.slug}.example"))
    assert call(key, "PATCH", "/v1/settings", {"max_attempts": 3}).status_code == 200
    assert AuditLink.objects.filter(tenant=tenant).count() == AuditEvent.objects.filter(tenant=tenant).count() > 0
    assert not verify("--tenant", tenant.slug)[1]


def test_many_writers_of_several_tenants_at_once_make_whole_chains(tenant: Tenant) -> None:
    """Some change the configuration before they log and some after, which is where two could wait for each other."""
    tenants = [tenant, *(make_tenant(f"c{secrets.token_hex(6)}") for _ in range(2))]

    def work(number: int) -> None:
        chosen = tenants[number % 3]
        try:
            for turn in range(8):
                with transaction.atomic():
                    if number % 2:
                        write(chosen, turn)
                    Tenant.objects.filter(id=chosen.id).update(name=f"{number} {turn}")
                    write(chosen, turn)
                    write(tenants[turn % 3], turn)
        finally:
            connection.close()

    write(tenant, 0)
    with ThreadPoolExecutor(6) as pool:
        working = [pool.submit(work, number) for number in range(6)]
        looks = 0
        while not all(worker.done() for worker in working):  # a look at chains that grow sees them whole
            assert not verify("--tenant", tenant.slug)[1]
            looks += 1
        for worker in working:
            worker.result()
    assert looks
    lengths = [AuditHead.objects.get(id=each.id).length for each in tenants]
    assert sum(lengths) == 1 + 6 * 8 * 2 + 3 * 8
    for each in tenants:
        assert not verify("--tenant", each.slug)[1]
