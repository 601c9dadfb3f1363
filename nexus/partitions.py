"""Tables partitioned by day: how they are made, kept ahead of time, and dropped when they are old.

No DEFAULT partition: it would forbid DETACH CONCURRENTLY. New partitions are built aside and attached, which locks the
table less than CREATE … PARTITION OF. All of it may run in several processes at once.

Any process may have a partition made: it adds nothing but room, and the shipper must not wait for anybody. A function
of the database does it with the owner's rights (gateway/migrations/0004_make_partition.py). Dropping old ones is for
the owner's own connection: it destroys, and DETACH CONCURRENTLY cannot run within a function.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection, migrations
from psycopg import sql

DAYS_AHEAD = 7
DAYS_BEHIND = 1
_LOCK_TIMEOUT = "2s"


class NotTheOwner(Exception):
    """The message is one sentence that names the setting."""


class CreatePartitionedModel(migrations.CreateModel):
    """CreateModel for a table PARTITION BY RANGE of one column: Django writes the columns, we add the clause."""

    def __init__(self, *args: Any, partition_by: str, **kwargs: Any) -> None:
        self.partition_by = partition_by
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        name, args, kwargs = super().deconstruct()
        return name, list(args), {**kwargs, "partition_by": self.partition_by}

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        template = schema_editor.sql_create_table
        column = schema_editor.quote_name(self.partition_by)
        schema_editor.sql_create_table = f"{template} PARTITION BY RANGE ({column})"
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = template


def partition_name(parent: str, day: date) -> str:
    """Return the name of a day's partition, `request_log_p20261124`."""
    return f"{parent}_p{day:%Y%m%d}"


def existing(parent: str) -> dict[str, bool]:
    """Return the attached partitions by name, and whether a detaching of theirs was interrupted. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, i.inhdetachpending FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass",
            [parent],
        )
        return dict(cursor.fetchall())


def ensure(parent: str, today: date, *, ahead: int = DAYS_AHEAD, behind: int = DAYS_BEHIND) -> list[str]:
    """Make the missing partitions around a day; return their names. Idempotent."""
    return ensure_days(parent, [today + timedelta(days=offset) for offset in range(-behind, ahead + 1)])


def ensure_days(parent: str, days: Iterable[date]) -> list[str]:
    """Make the missing partitions of some days; return their names. Idempotent."""
    have = existing(parent)
    missing = [day for day in sorted(days) if partition_name(parent, day) not in have]
    return [partition_name(parent, day) for day in missing if _make(parent, day)]


def drop_older(parent: str, than: date) -> list[str]:
    """Drop the partitions of days before `than`; return their names. Needs autocommit, and the table's owner."""
    old = [(name, interrupted) for name, interrupted in sorted(existing(parent).items()) if _day_of(name) < than]
    if old:
        _require_ownership(parent)
    dropped = []
    for name, interrupted in old:
        how = "FINALIZE" if interrupted else "CONCURRENTLY"
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            try:
                detach = sql.SQL("ALTER TABLE {} DETACH PARTITION {} " + how)
                cursor.execute(detach.format(sql.Identifier(parent), sql.Identifier(name)))
                cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
            finally:
                cursor.execute("RESET lock_timeout")
        dropped.append(name)
    return dropped


def _make(parent: str, day: date) -> bool:
    """Have one partition made by the database, which gives this right and no other; False if it was there already."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT make_partition(%s, %s)", [parent, day])
        return bool(cursor.fetchone()[0])


def _require_ownership(parent: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(%s)", [parent]
        )
        role, owns = cursor.fetchone()
    if not owns:
        raise NotTheOwner(
            f"The role {role} does not own {parent}, so it cannot drop old partitions: "
            "set NEXUS_OWNER_DATABASE_URL for this process."
        )


def _day_of(name: str) -> date:
    return datetime.strptime(name.rsplit("_p", 1)[1], "%Y%m%d").date()  # noqa: DTZ007  (a day, not a moment)
