"""What each database role may do with which rows: privileges and row-level policies, brought about by the owner.

Declared for the whole schema at once and compared with the catalogue, so that a second run changes and locks nothing.
Which tables there are, and which policies they need, is said by accounts/walls.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from django.db.backends.utils import CursorWrapper
from psycopg import sql

READ = frozenset({"SELECT"})
APPEND = READ | {"INSERT"}
EVERYTHING = APPEND | {"UPDATE", "DELETE"}
NOTHING: frozenset[str] = frozenset()
_MARK = "nexus "  # begins the comment of every policy that is ours


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the roles. `tenant` is "" where there is none; `app` is the owner where that one does all."""

    owner: str
    app: str
    tenant: str = ""

    def names(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Return the names of roles given by what they are: owner, app or tenant."""
        return tuple(sorted({name for part in parts if (name := getattr(self, part))}))


@dataclass(frozen=True, slots=True)
class Privileges:
    """What may be done with the rows of one table, as long as its policies let them be seen."""

    app: frozenset[str] = EVERYTHING
    tenant: frozenset[str] = EVERYTHING


@dataclass(frozen=True, slots=True)
class Policy:
    """Which rows some roles see and write."""

    name: str
    roles: tuple[str, ...]  # of: owner, app, tenant
    rows: str  # SQL over the table's columns
    command: str = "ALL"

    def digest(self, roles: Sequence[str]) -> str:
        return sha256(repr((self.rows, self.command, tuple(roles))).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its privileges; one with policies shows nothing to a role that none of them names."""

    name: str
    privileges: Privileges = field(default_factory=Privileges)
    policies: tuple[Policy, ...] = ()


def owners_rights(*functions: str) -> str:
    """Return SQL that makes functions run with their owner's rights, found and looking things up in one schema only.

    A function that runs with more rights than its caller must not let the caller choose what a name in it means.
    """
    return "\n".join(
        f"DO $$ BEGIN EXECUTE format('ALTER FUNCTION {function} SECURITY DEFINER "
        "SET search_path = pg_catalog, %I, pg_temp', current_schema()); END $$;\n"
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC;"
        for function in functions
    )


def restrict_temporary_tables(cursor: CursorWrapper, roles: Roles) -> list[str]:
    """Leave temporary tables to the app role, whose shipper needs them: a request's role gets by without any DDL."""
    cursor.execute(
        "SELECT current_database(), pg_has_role(datdba, 'USAGE') AND has_database_privilege(%s, oid, 'TEMPORARY') "
        "FROM pg_database WHERE datname = current_database()",
        [roles.tenant or roles.owner],
    )
    name, possible = cursor.fetchone()
    if not (roles.tenant and possible):
        return []
    _run(cursor, "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", sql.Identifier(name))
    _run(cursor, "GRANT TEMPORARY ON DATABASE {} TO {}", sql.Identifier(name), sql.Identifier(roles.app))
    return [f"temporary tables: {roles.app} alone may make them"]


def apply(cursor: CursorWrapper, tables: Iterable[Table], roles: Roles, functions: Iterable[str]) -> list[str]:
    """Bring privileges and policies about; return what had to change. Run it as the owner, in a transaction.

    `functions` are those that every role may call. Partitions are left alone: reached by their parent, whose policies
    count, they need no privilege, and reached directly they would be free of them.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('nexus.walls'))")  # two migrations at once take turns
    present = _tables(cursor)
    changes: list[str] = []
    for table in tables:
        if table.name in present:
            changes += _grant(cursor, table, roles)
            changes += _protect(cursor, table, roles)
    for function in functions:
        changes += _allow_call(cursor, function, roles)
    return changes


def _tables(cursor: CursorWrapper) -> set[str]:
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    return {name for (name,) in cursor.fetchall()}


def _grant(cursor: CursorWrapper, table: Table, roles: Roles) -> list[str]:
    changes = []
    for part in ("app", "tenant"):
        role, wanted = getattr(roles, part), getattr(table.privileges, part)
        if role in ("", roles.owner) or _granted(cursor, table.name, role) == wanted:
            continue
        name, grantee = sql.Identifier(table.name), sql.Identifier(role)
        _run(cursor, "REVOKE ALL ON {} FROM {}", name, grantee)
        if wanted:
            _run(cursor, "GRANT {} ON {} TO {}", sql.SQL(", ".join(sorted(wanted))), name, grantee)
        changes.append(f"{table.name}: {role} may {', '.join(sorted(wanted)) or 'nothing'}")
    return changes


def _granted(cursor: CursorWrapper, table: str, role: str) -> set[str]:
    cursor.execute(
        "SELECT privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass(quote_ident(%s)) "
        "AND grantee = (SELECT oid FROM pg_roles WHERE rolname = %s)",
        [table, role],
    )
    return {privilege for (privilege,) in cursor.fetchall()}


def _protect(cursor: CursorWrapper, table: Table, roles: Roles) -> list[str]:
    if not table.policies:
        return []
    changes = []
    name = sql.Identifier(table.name)
    cursor.execute(
        "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = to_regclass(quote_ident(%s))",
        [table.name],
    )
    if cursor.fetchone() != (True,):
        _run(cursor, "ALTER TABLE {} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", name)
        changes.append(f"{table.name}: row security is on")
    known = _policies(cursor, table.name)
    wanted = {policy.name: policy for policy in table.policies if roles.names(policy.roles)}
    for gone in sorted(known.keys() - wanted.keys()):
        _run(cursor, "DROP POLICY {} ON {}", sql.Identifier(gone), name)
        changes.append(f"{table.name}: policy {gone} is gone")
    for policy in wanted.values():
        named = roles.names(policy.roles)
        if known.get(policy.name) != policy.digest(named):
            _make_policy(cursor, name, policy, named, anew=policy.name in known)
            changes.append(f"{table.name}: policy {policy.name} for {', '.join(named)}")
    return changes


def _policies(cursor: CursorWrapper, table: str) -> dict[str, str]:
    """Return our policies on a table, each with the digest of what it was made from."""
    cursor.execute(
        "SELECT polname, obj_description(oid, 'pg_policy') FROM pg_policy "
        "WHERE polrelid = to_regclass(quote_ident(%s))",
        [table],
    )
    return {name: note[len(_MARK) :] for name, note in cursor.fetchall() if note and note.startswith(_MARK)}


def _make_policy(
    cursor: CursorWrapper, table: sql.Identifier, policy: Policy, roles: Sequence[str], *, anew: bool
) -> None:
    name, rows = sql.Identifier(policy.name), sql.SQL(policy.rows)  # ours, never a user's
    if anew:
        _run(cursor, "DROP POLICY {} ON {}", name, table)
    _run(
        cursor,
        "CREATE POLICY {} ON {} FOR {} TO {} USING ({})" + ("" if policy.command == "SELECT" else " WITH CHECK ({})"),
        *(name, table, sql.SQL(policy.command), sql.SQL(", ").join(map(sql.Identifier, roles)), rows),
        *(() if policy.command == "SELECT" else (rows,)),
    )
    _run(cursor, "COMMENT ON POLICY {} ON {} IS {}", name, table, sql.Literal(_MARK + policy.digest(roles)))


def _allow_call(cursor: CursorWrapper, function: str, roles: Roles) -> list[str]:
    changes = []
    for role in roles.names(("app", "tenant")):
        cursor.execute(
            "SELECT to_regprocedure(%s) IS NULL OR has_function_privilege(%s, to_regprocedure(%s)::oid, 'EXECUTE')",
            [function, role, function],
        )
        if cursor.fetchone() == (False,):
            grant = "GRANT EXECUTE ON FUNCTION {} TO {}"
            _run(cursor, grant, sql.SQL(function), sql.Identifier(role))
            changes.append(f"{function}: {role} may call it")
    return changes


def _run(cursor: CursorWrapper, template: str, *parts: Any) -> None:
    cursor.execute(sql.SQL(template).format(*parts))
