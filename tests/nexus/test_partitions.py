"""Partitions of the request log: made ahead, dropped past retention, by several processes at once, under writers."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, connections

from gateway.plane import connection_parameters
from nexus import partitions
from nexus.database_roles import as_owner
from tests.database import connect

PARENT = "partition_probe"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def parent(committed: None) -> Iterator[str]:
    """A partitioned table of this test's own: retention needs autocommit, and must not touch other tests' rows."""
    with connect("owner") as owner:
        owner.execute(
            f"CREATE TABLE {PARENT} (id uuid, created_at timestamptz NOT NULL, n int CHECK (n >= 0), "
            "PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
        )
        owner.execute(f"GRANT SELECT, INSERT ON {PARENT} TO {connection.settings_dict['USER']}")
        try:
            yield PARENT
        finally:
            owner.execute(f"DROP TABLE {PARENT} CASCADE")


def drop_older(parent: str, than: date) -> list[str]:
    with as_owner():
        return partitions.drop_older(parent, than)


def name_of(days: int) -> str:
    return f"{PARENT}_p{TODAY + timedelta(days=days):%Y%m%d}"


def write(day: date, n: int = 1) -> None:
    with connection.cursor() as cursor:
        moment = datetime(day.year, day.month, day.day, 23, 59, 59, 999999, UTC)
        cursor.execute(f"INSERT INTO {PARENT} VALUES (gen_random_uuid(), %s, %s)", [moment, n])


def test_a_week_ahead_is_made_once(parent: str) -> None:
    made = partitions.ensure(parent, TODAY)
    assert made == [name_of(days) for days in range(-1, 8)]
    assert partitions.ensure(parent, TODAY) == []
    assert partitions.ensure(parent, TODAY + timedelta(days=1)) == [name_of(8)]
    for day in (TODAY - timedelta(days=1), TODAY + timedelta(days=7)):
        write(day)
    with pytest.raises(Exception, match="no partition of relation"):
        write(TODAY + timedelta(days=9))


def test_a_partition_keeps_the_tables_constraints(parent: str) -> None:
    partitions.ensure(parent, TODAY)
    with pytest.raises(Exception, match="check constraint"):
        write(TODAY, n=-1)


def test_day_ninety_stays_and_day_ninety_one_goes(parent: str) -> None:
    kept, gone = TODAY - timedelta(days=90), TODAY - timedelta(days=91)
    partitions.ensure_days(parent, [TODAY, kept, gone])
    write(kept)
    write(gone)
    assert drop_older(parent, kept) == [partitions.partition_name(parent, gone)]
    assert set(partitions.existing(parent)) == {partitions.partition_name(parent, day) for day in (TODAY, kept)}
    assert drop_older(parent, kept) == []


def test_a_drop_that_was_interrupted_is_finished(parent: str) -> None:
    """A DETACH CONCURRENTLY that ends half-way leaves its partition pending, and nothing else may be detached."""
    old = TODAY - timedelta(days=100)
    partitions.ensure_days(parent, [old, TODAY])
    name = partitions.partition_name(parent, old)
    with psycopg.connect(**connection_parameters()) as reader:
        reader.execute(f"SELECT count(*) FROM {parent}")  # an open transaction, which the detaching waits for
        with connect("owner") as owner:
            owner.execute("SET statement_timeout = '300ms'")
            with pytest.raises(Exception, match="statement timeout"):
                owner.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY")
    assert partitions.existing(parent)[name] is True
    assert drop_older(parent, TODAY) == [name]
    assert name not in partitions.existing(parent)


def test_many_processes_may_make_them_at_once(parent: str, django_db_blocker: Any) -> None:
    made: list[str] = []

    def make() -> None:
        with django_db_blocker.unblock():
            try:
                made.extend(partitions.ensure(parent, TODAY))
            finally:
                connections.close_all()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(partitions.existing(parent))
    assert len(made) == 9


def test_writers_go_on_while_partitions_come_and_go(parent: str) -> None:
    partitions.ensure(parent, TODAY)
    stop, slowest, written = threading.Event(), [0.0], [0]
    noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)

    def writer() -> None:
        with psycopg.connect(**connection_parameters(), autocommit=True) as own:
            while not stop.is_set():
                began = time.monotonic()
                own.execute(f"INSERT INTO {parent} VALUES (gen_random_uuid(), %s, 1)", [noon])
                slowest[0] = max(slowest[0], time.monotonic() - began)
                written[0] += 1

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        old = [TODAY - timedelta(days=days) for days in range(95, 125)]
        partitions.ensure_days(parent, old)
        dropped = drop_older(parent, TODAY - timedelta(days=90))
    finally:
        stop.set()
        thread.join()
    assert len(dropped) == 30
    assert written[0] > 50
    assert slowest[0] < 1.0  # not one waited for a lock's time limit


def test_who_does_not_own_the_table_drops_nothing_and_is_told_of_the_setting(parent: str) -> None:
    partitions.ensure_days(parent, [TODAY - timedelta(days=100)])
    with pytest.raises(partitions.NotTheOwner, match=r"does not own partition_probe.*NEXUS_OWNER_DATABASE_URL"):
        partitions.drop_older(parent, TODAY)
    assert set(partitions.existing(parent)) == {name_of(-100)}


@pytest.mark.parametrize(
    ("table", "days"),
    [
        (PARENT, -3661),
        (PARENT, 33),
        ("accounts_tenant", 0),
        ("pg_class", 0),
        ("nothing", 0),
        ("request_log; DROP TABLE x", 0),
        (PARENT.upper(), 0),
        ("pg_temp.decoy", 0),
    ],
)
def test_the_right_to_make_partitions_makes_nothing_else(parent: str, table: str, days: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS decoy (at timestamptz) PARTITION BY RANGE (at)")
        with pytest.raises(Exception, match=r"no partition is made for|is no table of ours"):
            cursor.execute("SELECT make_partition(%s, %s)", [table, TODAY + timedelta(days=days)])
    assert partitions.existing(parent) == {}


def test_a_name_of_the_callers_choosing_leads_nowhere(parent: str) -> None:
    """Whoever may make temporary tables could otherwise put one in the place of the table that is meant."""
    with connect("app") as app:
        app.execute(f"CREATE TEMP TABLE {PARENT} (created_at timestamptz) PARTITION BY RANGE (created_at)")
        app.execute("SET search_path = pg_temp")
        assert app.execute("SELECT public.make_partition(%s, %s)", [PARENT, TODAY]).fetchone() == (True,)
    assert set(partitions.existing(parent)) == {name_of(0)}


def test_the_command_makes_what_is_missing_and_says_so(committed: None) -> None:
    out = StringIO()
    call_command("maintain_partitions", stdout=out)
    assert out.getvalue().strip().endswith("dropped")
    today = datetime.now(UTC).date()
    for ahead in range(8):
        day = today + timedelta(days=ahead)
        assert partitions.partition_name("request_log", day) in partitions.existing("request_log")
