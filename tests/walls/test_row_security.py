"""The second wall by raw SQL: in the role of a request, another tenant's rows are neither seen nor changed nor made.

The tables come from the database's own catalogue: a new one with a tenant is held to the same rules without being named
here, and fails until ROWS knows how to fill it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.apps import apps
from django.db import connection
from psycopg import sql

from accounts.models import Membership, Tenant, User
from accounts.walls import is_tenants
from nexus.database_roles import as_owner
from nexus.partitions import existing as partitions_of
from tests.factories import make_key, make_member, make_tenant
from tests.walls.conftest import Connection, Roles, remove

DENIED = psycopg.errors.InsufficientPrivilege
# Rows that are the installation's, not a tenant's. A model that is neither here nor a tenant's is a mistake.
INSTALLATION_WIDE = {
    "accounts.User",
    "accounts.ConfigRevision",
    "accounts.AuditHead",
    "accounts.SignedInSession",
    "accounts.Throttle",
    # of allauth: about people, who are the installation's
    "account.EmailAddress",
    "account.EmailConfirmation",
    "mfa.Authenticator",
    "socialaccount.SocialAccount",
    "socialaccount.SocialApp",
    "socialaccount.SocialToken",
}

INSERTS = {
    "gateway_provider": "(id, tenant_id, name, family, base_url, api_key_sealed, api_key_last4, weight, enabled, "
    "timeout_s, options, simulated, created_at, updated_at) VALUES (gen_random_uuid(), %(tenant)s, "
    "md5(random()::text), 'openai', 'http://x', '', '', 1, true, 1, '{}', false, now(), now())",
    "request_log": "(id, created_at, tenant_id, endpoint, streamed, status, attempts, usage_estimated, unpriced, "
    "policy_events, simulated) VALUES (gen_random_uuid(), now(), %(tenant)s, 'x', false, 200, '[]', false, false, "
    "'[]', false)",
    "gateway_circuitevent": "(id, tenant_id, provider_id, created_at, from_state, to_state, reason) VALUES "
    "(gen_random_uuid(), %(tenant)s, gen_random_uuid(), now(), 'closed', 'open', 'x')",
    "gateway_idempotencyclaim": "(id, tenant_id, key_id, key_hash, fingerprint, claimed_at, leased_until, expires_at) "
    "VALUES (gen_random_uuid(), %(tenant)s, gen_random_uuid(), 'x', 'x', now(), now(), now())",
    "tenant_daily_spend": "(tenant_id, day, provider, model, requests, unpriced_requests, input_tokens, output_tokens, "
    "cost_usd) VALUES (%(tenant)s, current_date, 'x', 'x', 1, 0, 0, 0, 0)",
    "key_monthly_use": "(key_id, month, process, tenant_id) VALUES (gen_random_uuid(), current_date, '', %(tenant)s)",
    "accounts_auditevent": "(id, tenant_id, created_at, actor_kind, actor_label, action, target_kind, target_id, "
    "target_label, changes) VALUES (gen_random_uuid(), %(tenant)s, now(), 'system', 'x', 'x', 'x', 'x', 'x', '{}')",
    "accounts_auditlink": "(event_id, tenant_id, place, chained_at, previous_hash, hash) VALUES (gen_random_uuid(), "
    "%(tenant)s, 1000, now(), '', '')",
    "accounts_configchange": "(revision, tenant_id) VALUES (-(random() * 1e9)::bigint, %(tenant)s)",
    "accounts_apikey": "(id, tenant_id, name, prefix, key_hash, scopes, created_at) VALUES (gen_random_uuid(), "
    "%(tenant)s, 'x', 'x', md5(random()::text), '{}', now())",
    "accounts_membership": "(id, tenant_id, user_id, role, created_at) SELECT gen_random_uuid(), %(tenant)s, id, "
    "'viewer', now() FROM accounts_user WHERE email = %(other)s",
    "accounts_invitation": "(id, tenant_id, email, role, token_hash, created_at, expires_at) VALUES "
    "(gen_random_uuid(), %(tenant)s, md5(random()::text), 'viewer', md5(random()::text), now(), now())",
    "gateway_modelroute": "(id, tenant_id, provider_id, public_name, upstream_name) SELECT gen_random_uuid(), "
    "%(tenant)s, id, md5(random()::text), 'x' FROM gateway_provider LIMIT 1",
    "accounts_tenant": "(id, slug, name, routing_strategy, max_attempts, deadline_s, log_content, "
    "gitops_secret_sealed, default_embedding, is_demo, created_at) VALUES (gen_random_uuid(), "
    "left(md5(random()::text), 20), 'x', 'priority', 4, 120, false, '', '', false, now())",
}


@dataclass(frozen=True)
class Pair:
    """A tenant, another one, and a row of each in every table."""

    mine: Tenant
    theirs: Tenant


@pytest.fixture(scope="module")
def pair(django_db_setup: None, django_db_blocker: Any) -> Iterator[Pair]:
    with django_db_blocker.unblock():
        pair = Pair(*(furnished(name) for name in ("wall-mine", "wall-theirs")))
        yield pair
        with as_owner(), connection.cursor() as cursor:
            for table in ("request_log", "tenant_daily_spend", "key_monthly_use", "accounts_configchange"):
                cursor.execute(f"DELETE FROM {table} WHERE tenant_id = ANY(%s)", [[pair.mine.id, pair.theirs.id]])
        remove(pair.mine)
        remove(pair.theirs)


def furnished(slug: str) -> Tenant:
    tenant = make_tenant(slug)
    make_key(tenant, make_member(tenant, f"ada@{slug}.example"))
    User.objects.create(email=f"nobody@{slug}.example")
    values: dict[str, Any] = {"tenant": tenant.id, "other": f"nobody@{slug}.example"}
    with as_owner(), connection.cursor() as cursor:
        for table, insert in INSERTS.items():
            if table not in ("accounts_tenant", "accounts_auditlink"):  # the audit rows have links of their own
                cursor.execute(f"INSERT INTO {table} {insert}", values)
    return tenant


def tables_of_tenants() -> dict[str, str]:
    """Return the tables that have a tenant in each row, each with the column that names it."""
    owned = [model for model in apps.get_models() if is_tenants(model)]
    return {model._meta.db_table: "id" if model is Tenant else "tenant_id" for model in owned}


TABLES = sorted(tables_of_tenants())


def column_of(table: str) -> str:
    return tables_of_tenants()[table]


@contextmanager
def as_tenant(as_role: Roles, tenant: Tenant | None) -> Iterator[Connection]:
    """Give a transaction in the role of a request for this tenant, undone in the end."""
    request = as_role("tenant")
    with request.transaction(force_rollback=True):
        if tenant is not None:
            request.execute("SELECT set_config('nexus.tenant', %s, true)", [str(tenant.id)])
        yield request


def tenants_in(request: Connection, table: str) -> set[UUID]:
    """Return whose rows a table shows; none where the role may not read it at all."""
    try:
        with request.transaction():
            return {tenant for (tenant,) in request.execute(f"SELECT {column_of(table)} FROM {table}")}
    except DENIED:
        return set()


def attempt(request: Connection, statement: str, **values: Any) -> int:
    """Return how many rows a statement changed; none where it is refused."""
    try:
        with request.transaction():
            return request.execute(statement, values).rowcount
    except DENIED:  # no privilege, or "new row violates row-level security policy"
        return 0


def test_every_model_is_a_tenants_or_known_to_be_the_installations() -> None:
    ours = [model for model in apps.get_models() if model.__module__.partition(".")[0] in OUR_APPS]
    assert {model._meta.label for model in ours if not is_tenants(model)} == INSTALLATION_WIDE


OUR_APPS = {config.name for config in apps.get_app_configs() if "." not in config.name}


def test_every_table_with_a_tenant_has_its_wall(as_role: Roles) -> None:
    found = as_role("owner").execute(
        """
        SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
               ARRAY(SELECT r.rolname::text FROM pg_policy p JOIN pg_roles r ON r.oid = ANY(p.polroles)
                     WHERE p.polrelid = c.oid AND p.polname = 'own_tenant')
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        """
    )
    walls = {table: (protected, roles) for table, protected, roles in found}
    expected = (True, [as_role("tenant").info.user])
    assert walls == {table: expected for table in TABLES if table != "accounts_tenant"}


def test_every_such_table_has_rows_to_test_it_with() -> None:
    assert set(INSERTS) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_ones_own_are_all_that_is_seen(as_role: Roles, pair: Pair, table: str) -> None:
    everybody = as_role("app").execute(f"SELECT {column_of(table)} FROM {table}")
    assert {pair.mine.id, pair.theirs.id} <= {tenant for (tenant,) in everybody}
    with as_tenant(as_role, pair.mine) as request:
        hidden = table in ("accounts_configchange", "gateway_idempotencyclaim")  # no request has any business there
        assert tenants_in(request, table) == (set() if hidden else {pair.mine.id})


@pytest.mark.parametrize("table", TABLES)
def test_without_a_tenant_there_is_nothing(as_role: Roles, pair: Pair, table: str) -> None:
    with as_tenant(as_role, None) as request:
        assert tenants_in(request, table) == set()
        for unset in ("", str(uuid4())):
            request.execute("SELECT set_config('nexus.tenant', %s, true)", [unset])
            assert tenants_in(request, table) == set()


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_others_can_neither_be_changed_nor_taken_nor_deleted(as_role: Roles, pair: Pair, table: str) -> None:
    column = column_of(table)
    others = {"theirs": pair.theirs.id, "mine": pair.mine.id}
    with as_tenant(as_role, pair.mine) as request:
        for statement in (
            f"UPDATE {table} SET {column} = {column} WHERE {column} = %(theirs)s",
            f"UPDATE {table} SET {column} = %(mine)s WHERE {column} = %(theirs)s",
            f"UPDATE {table} SET {column} = %(theirs)s WHERE {column} = %(mine)s",
            f"UPDATE {table} SET {column} = {column} WHERE {column} <> %(mine)s",
            f"DELETE FROM {table} WHERE {column} = %(theirs)s",
            f"DELETE FROM {table} WHERE {column} <> %(mine)s",
            f"SELECT 1 FROM {table} WHERE {column} = %(theirs)s FOR UPDATE",
            f"MERGE INTO {table} USING (SELECT 1) AS x ON {column} = %(theirs)s WHEN MATCHED THEN DELETE",
        ):
            assert attempt(request, statement, **others) == 0, statement


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_made_for_another(as_role: Roles, pair: Pair, table: str) -> None:
    statement = f"INSERT INTO {table} {INSERTS[table]}"
    own, foreign = ({"tenant": each.id, "other": "nobody@wall-mine.example"} for each in (pair.mine, pair.theirs))
    may_insert = as_role("owner").execute(
        "SELECT has_table_privilege(%s, %s, 'INSERT')", [as_role("tenant").info.user, table]
    ).fetchone() == (True,)  # fmt: skip
    with as_tenant(as_role, pair.mine) as request:
        if table == "accounts_membership":  # nobody is a member twice
            request.execute("DELETE FROM accounts_membership WHERE role = 'viewer'")
        assert attempt(request, statement, **foreign) == 0
        assert attempt(request, statement, **own) == int(may_insert)


PROBES = {
    "a subquery": "SELECT (SELECT count(*) FROM accounts_apikey WHERE tenant_id <> %(mine)s)",
    "a join": "SELECT count(*) FROM accounts_tenant t JOIN accounts_apikey k ON k.tenant_id = t.id "
    "WHERE t.id <> %(mine)s",
    "an unfiltered count": "SELECT count(*) - count(*) FILTER (WHERE tenant_id = %(mine)s) FROM request_log",
    "a function that tells what it sees": "SELECT count(*) FROM accounts_apikey "
    "WHERE pg_sleep(0) IS NOT NULL AND tenant_id <> %(mine)s",
    "a lateral": "SELECT count(*) FROM accounts_tenant t, LATERAL (SELECT 1 FROM gateway_provider p "
    "WHERE p.tenant_id <> t.id) AS x",
}


@pytest.mark.parametrize("probe", PROBES)
def test_there_is_no_way_round_within_a_statement(as_role: Roles, pair: Pair, probe: str) -> None:
    with as_tenant(as_role, pair.mine) as request:
        found = request.execute(PROBES[probe], {"mine": pair.mine.id}).fetchone()
    assert found == (0,)


def test_a_partition_is_not_reached_past_its_parent(as_role: Roles, pair: Pair) -> None:
    partitions = partitions_of("request_log")
    assert len(partitions) > 7
    for role in (as_role("tenant"), as_role("app")):
        for partition in partitions:
            with pytest.raises(DENIED):
                role.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(partition)))


def test_a_tenant_does_not_outlive_its_transaction_on_a_pooled_connection(as_role: Roles, pair: Pair) -> None:
    """What a pooler in transaction mode does: the next client gets the same session."""
    pooled = as_role("tenant")
    for ending in ("COMMIT", "ROLLBACK"):
        pooled.execute("BEGIN")
        pooled.execute("SELECT set_config('nexus.tenant', %s, true)", [str(pair.theirs.id)])
        pooled.execute("SELECT set_config('nexus.person', %s, true)", [str(uuid4())])
        assert tenants_in(pooled, "accounts_apikey") == {pair.theirs.id}
        pooled.execute(ending)
        assert tenants_in(pooled, "accounts_apikey") == set()
        assert tenants_in(pooled, "accounts_tenant") == set()


def test_a_person_sees_where_they_belong_before_they_say_which_tenant_they_mean(as_role: Roles, pair: Pair) -> None:
    person = Membership.objects.get(tenant=pair.theirs, user__email="ada@wall-theirs.example").user_id
    with as_tenant(as_role, pair.mine) as request:
        request.execute("SELECT set_config('nexus.person', %s, true)", [str(person)])
        assert tenants_in(request, "accounts_membership") == {pair.mine.id, pair.theirs.id}
        assert tenants_in(request, "accounts_tenant") == {pair.mine.id, pair.theirs.id}
        assert tenants_in(request, "accounts_apikey") == {pair.mine.id}
        changed = "UPDATE accounts_membership SET role = 'viewer' WHERE tenant_id = %(theirs)s"
        assert attempt(request, changed, theirs=pair.theirs.id) == 0
        assert attempt(request, "UPDATE accounts_tenant SET name = 'x' WHERE id = %(id)s", id=pair.theirs.id) == 0


def test_who_holds_a_key_learns_its_tenant_and_nobody_else_does(as_role: Roles, pair: Pair) -> None:
    (digest,) = as_role("owner").execute(
        "SELECT key_hash FROM accounts_apikey WHERE tenant_id = %s AND length(key_hash) = 64", [pair.theirs.id]
    ).fetchone() or ("",)  # fmt: skip
    request = as_role("tenant")
    assert request.execute("SELECT tenant_of_key(%s)", [digest]).fetchone() == (pair.theirs.id,)
    for wrong in (digest[:-1], digest.upper(), "", "%", None):
        assert request.execute("SELECT tenant_of_key(%s)", [wrong]).fetchone() == (None,)


def test_the_wall_costs_one_comparison(as_role: Roles, pair: Pair) -> None:
    """The setting is read once for a statement, and an index of the tenant's is still used, whichever that is."""
    with as_tenant(as_role, pair.mine) as request:
        request.execute("SET LOCAL enable_seqscan = off")
        (plan,) = request.execute(
            "EXPLAIN (FORMAT json) SELECT * FROM accounts_apikey WHERE tenant_id = %s ORDER BY created_at DESC",
            [pair.mine.id],
        ).fetchone() or ("",)  # fmt: skip
    told = json.dumps(plan)
    assert '"Index Cond": "(tenant_id = ' in told
    assert told.count('"Parent Relationship": "InitPlan"') == 1
    assert "SubPlan" not in told
