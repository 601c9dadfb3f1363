"""What the database's roles cannot do, told by the database itself."""

import psycopg
import pytest

from accounts.audit import Actor, log
from accounts.models import Tenant
from accounts.walls import raise_walls, tables
from nexus.partitions import existing
from tests.database import Role
from tests.walls.conftest import Roles

DENIED = psycopg.errors.InsufficientPrivilege
DDL = (
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW mine AS SELECT * FROM accounts_tenant",
    "CREATE EXTENSION hstore",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "ALTER TABLE accounts_apikey ADD COLUMN mine int",
    "ALTER TABLE accounts_auditevent DISABLE TRIGGER ALL",
    "ALTER TABLE accounts_auditevent DISABLE TRIGGER append_only",
    "ALTER TABLE accounts_apikey DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE accounts_apikey NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE request_log DETACH PARTITION {partition}",
    "ALTER FUNCTION keep_an_admin() RESET ALL",
    "CREATE OR REPLACE FUNCTION keep_an_admin() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE POLICY mine ON accounts_apikey USING (true)",
    "DROP POLICY own_tenant ON accounts_apikey",
    "CREATE TRIGGER mine BEFORE UPDATE ON accounts_apikey FOR EACH ROW EXECUTE FUNCTION keep_an_admin()",
    "DROP TRIGGER append_only ON accounts_auditevent",
    "CREATE INDEX mine ON accounts_apikey (name)",
    "DROP TABLE request_log",
    "DROP TABLE {partition}",
    "TRUNCATE request_log",
    "TRUNCATE accounts_apikey CASCADE",
    "SET session_replication_role = replica",
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    "COPY accounts_apikey TO PROGRAM 'cat'",
    "COPY accounts_apikey TO '/tmp/keys'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_authid",
    "UPDATE accounts_auditevent SET action = 'x'",
    "DELETE FROM accounts_auditevent",
    "INSERT INTO accounts_auditlink (event_id) VALUES (gen_random_uuid())",
    "UPDATE accounts_auditlink SET hash = ''",
    "DELETE FROM accounts_auditlink",
    "UPDATE accounts_audithead SET length = 0",
    "SELECT append_to_audit_chain(NULL::accounts_auditevent, now())",
    "ALTER TABLE accounts_auditevent DISABLE TRIGGER chained",
    "UPDATE request_log SET status = 200",
    "DELETE FROM request_log",
    "DELETE FROM tenant_daily_spend",
    "UPDATE accounts_configrevision SET revision = 1",
    "INSERT INTO accounts_configchange VALUES (1, gen_random_uuid())",
    "UPDATE django_migrations SET name = 'x'",
    "SELECT * FROM {partition}",
    "INSERT INTO {partition} SELECT * FROM request_log",
)
# What the processes do for all tenants, and no request ever does for one.
BEYOND_REQUESTS = (
    "SELECT * FROM django_session",
    "SELECT * FROM django_migrations",
    "SELECT * FROM auth_permission",
    "SELECT * FROM accounts_configchange",
    "UPDATE accounts_user SET is_superuser = true",
    "INSERT INTO accounts_user (id, email) VALUES (gen_random_uuid(), 'x@y.example')",
    "DELETE FROM accounts_user",
    "INSERT INTO accounts_tenant (id) VALUES (gen_random_uuid())",
    "DELETE FROM accounts_tenant",
    "INSERT INTO request_log (id) VALUES (gen_random_uuid())",
    "INSERT INTO tenant_daily_spend (model) VALUES ('x')",
    "UPDATE tenant_daily_spend SET cost_usd = 0",
    "DELETE FROM gateway_circuitevent",
    "SET row_security = off; SELECT * FROM accounts_apikey",
    "CREATE TEMP TABLE mine (id int)",
    "SET ROLE {app}",
    "SELECT set_config('role', '{app}', false)",
)


def refused(as_role: Roles, role: Role, statement: str) -> None:
    owner, app = as_role("owner"), as_role("app")
    names = {"owner": owner.info.user, "app": app.info.user, "partition": min(existing("request_log"))}
    with pytest.raises(DENIED), as_role(role) as connection:
        connection.execute(statement.format(**names))


@pytest.mark.parametrize("role", ["app", "tenant"])
@pytest.mark.parametrize("statement", DDL)
def test_no_process_may(as_role: Roles, role: Role, statement: str) -> None:
    refused(as_role, role, statement)


@pytest.mark.parametrize("statement", BEYOND_REQUESTS)
def test_no_request_may(as_role: Roles, statement: str) -> None:
    refused(as_role, "tenant", statement)


@pytest.mark.parametrize("role", ["owner", "administrator"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditevent SET action = 'x'",
        "DELETE FROM accounts_auditevent",
        "TRUNCATE accounts_auditevent",
        "SET LOCAL session_replication_role = replica; DELETE FROM accounts_auditevent",
    ],
)
def test_the_audit_log_only_grows_whoever_writes(as_role: Roles, tenant: Tenant, role: Role, statement: str) -> None:
    log(actor=Actor.system("test"), action="test.done", target=tenant, tenant=tenant)
    with pytest.raises(psycopg.Error, match=r"append-only|permission denied"):
        as_role(role).execute(f"BEGIN; {statement}")


def test_a_second_run_changes_nothing(committed: None) -> None:
    assert raise_walls() == []


def test_what_was_granted_by_hand_is_taken_back_and_what_is_missing_is_granted(as_role: Roles) -> None:
    owner, app = as_role("owner"), as_role("app").info.user
    owner.execute(f"GRANT DELETE ON request_log TO {app}")
    owner.execute(f"REVOKE INSERT ON accounts_auditevent FROM {app}")
    owner.execute("ALTER TABLE accounts_apikey NO FORCE ROW LEVEL SECURITY")
    owner.execute("DROP POLICY own_tenant ON accounts_apikey")
    changed = raise_walls()
    assert [change.partition(":")[0] for change in changed] == [
        *("accounts_apikey", "accounts_apikey", "accounts_auditevent", "request_log")
    ]
    assert raise_walls() == []


def test_every_table_of_the_schema_is_known_to_the_walls(as_role: Roles) -> None:
    """One made by raw SQL in a migration would have no privileges, and nobody to miss it until it is used."""
    found = as_role("owner").execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    assert {name for (name,) in found} == {table.name for table in tables()}
