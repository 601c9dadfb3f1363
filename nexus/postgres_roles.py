"""The roles of an embedded PostgreSQL: who may change tables, who works in them, who serves one tenant's request.

    nexus          the cluster's superuser, for the supervisor and for repairs; no process of NEXUS works as it
    nexus_owner    owns the database and its tables: migrations, and dropping old partitions
    nexus_app      console, runtime, shipper, worker, commands: the rows of every tenant, no DDL
    nexus_tenant   the requests of console and API: the rows of one tenant, no DDL

What each may do with a table is granted by `manage.py migrate` (accounts/walls.py). docs/security.md has the same
roles as SQL, for a PostgreSQL that is not ours.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

ADMINISTRATOR, OWNER, APP, TENANT = "nexus", "nexus_owner", "nexus_app", "nexus_tenant"
ROLES = (OWNER, APP, TENANT)
# A dump reads partitions too, which no policy covers: the owner passes the policies by.
_ATTRIBUTES = {OWNER: "BYPASSRLS", APP: "NOBYPASSRLS", TENANT: "NOBYPASSRLS"}

# Once everything belonged to the superuser. REASSIGN OWNED refuses that one, so each object is named.
_HAND_OVER = """
DO $$
DECLARE
    owned record;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass('public.django_migrations') AND relowner = 10) THEN
        RETURN;
    END IF;
    FOR owned IN
        SELECT CASE WHEN kind = 'f' THEN 'ROUTINE' WHEN kind = 't' THEN 'TYPE' ELSE 'TABLE' END AS what, name
        FROM (
            SELECT 'r' AS kind, oid, 'pg_class'::regclass AS class, oid::regclass::text AS name FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            UNION ALL
            SELECT 'f', oid, 'pg_proc'::regclass, oid::regprocedure::text FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace AND proowner = 10
            UNION ALL
            SELECT 't', oid, 'pg_type'::regclass, oid::regtype::text FROM pg_type
            WHERE typnamespace = 'public'::regnamespace AND typowner = 10 AND typtype IN ('e', 'd')
        ) AS everything
        WHERE NOT EXISTS (  -- parts of an extension, and sequences that go with their table's column
            SELECT 1 FROM pg_depend d
            WHERE d.classid = everything.class AND d.objid = everything.oid AND d.deptype IN ('e', 'a', 'i')
              AND (d.deptype = 'e' OR EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = d.objid AND c.relkind = 'S'))
        )
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO nexus_owner', owned.what, owned.name);
    END LOOP;
END $$
"""


def ensure_roles(connection: "psycopg.Connection[Any]", passwords: Mapping[str, str]) -> None:
    """Make the roles, or give those that exist the passwords of our files. Needs the superuser."""
    from psycopg import sql  # noqa: PLC0415  (see PostgresCluster.ensure_database)

    for role in ROLES:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        # The server sees the verifier alone: a plaintext could end up in its log.
        verifier = connection.pgconn.encrypt_password(passwords[role].encode(), role.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEROLE {} PASSWORD {}").format(
                sql.SQL("ALTER" if known else "CREATE"),
                sql.Identifier(role),
                sql.SQL(_ATTRIBUTES[role]),
                sql.Literal(verifier.decode()),
            )
        )


def ensure_database(connection: "psycopg.Connection[Any]", name: str) -> None:
    """Make the database where it is missing, the owner's in any case."""
    from psycopg import sql  # noqa: PLC0415

    database, owner = sql.Identifier(name), sql.Identifier(OWNER)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))


def hand_over(connection: "psycopg.Connection[Any]") -> None:
    """Give the owner what an earlier version made as the superuser; nothing to do after the first time."""
    connection.execute(_HAND_OVER)
