"""The walls between tenants as the database knows them: for every table, who may do what with which rows.

Driven by the models, so that a new table gets its wall with its migration: one with a tenant shows a request the rows
of its tenant only, one without shows requests nothing. A model says otherwise by `database_privileges`.
"""

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings
from django.db import connection, connections, models, transaction

from accounts.models import Membership, Tenant
from nexus.database_roles import APP, as_owner
from nexus.row_security import NOTHING, READ, Policy, Privileges, Roles, Table, apply, restrict_temporary_tables

# Init-plans: evaluated once for a statement, not for every row. Unset is NULL or, later in a session, the empty string.
_TENANT = "(SELECT nullif(current_setting('nexus.tenant', true), '')::uuid)"
_PERSON = "(SELECT nullif(current_setting('nexus.person', true), '')::uuid)"
ALL_TENANTS = Policy("all_tenants", ("app", "owner"), "true")
_LOCK_TIMEOUT = "5s"
FUNCTIONS = ("tenant_of_key(text)", "make_partition(text, date)")


def raise_walls() -> list[str]:
    """Bring the schema's privileges and policies about, as its owner; return what had to change.

    Table by table, each in a transaction of its own: the locks are short, and a running system goes on.
    """
    changes: list[str] = []
    with as_owner():
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            roles = _roles(owner=cursor.fetchone()[0])
            changes += restrict_temporary_tables(cursor, roles)
        for part in [*([table] for table in tables()), []]:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                changes += apply(cursor, part, roles, () if part else FUNCTIONS)
    return changes


def _roles(owner: str) -> Roles:
    app = connections.settings[APP].get("USER") or owner
    tenant = settings.DATABASE_TENANT_ROLE
    return Roles(owner=owner, app=app, tenant="" if tenant in (app, owner) else tenant)


def tables() -> Iterator[Table]:
    """Yield every table of the models, and Django's own list of migrations."""
    for model in apps.get_models(include_auto_created=True):
        if model._meta.managed and not model._meta.proxy:
            yield Table(model._meta.db_table, _privileges(model), tuple(_policies(model)))
    yield Table("django_migrations", Privileges(app=READ, tenant=NOTHING))


def is_tenants(model: type[models.Model]) -> bool:
    """Return whether each row of a model belongs to one tenant."""
    return model is Tenant or any(field.column == "tenant_id" for field in model._meta.local_concrete_fields)


def _privileges(model: type[models.Model]) -> Privileges:
    declared: Privileges | None = getattr(model, "database_privileges", None)
    return declared or (Privileges() if is_tenants(model) else Privileges(tenant=NOTHING))


def _policies(model: type[models.Model]) -> Iterator[Policy]:
    if not is_tenants(model):
        return
    yield ALL_TENANTS
    yield Policy("own_tenant", ("tenant",), f"{'id' if model is Tenant else 'tenant_id'} = {_TENANT}")
    # Whoever signs in belongs to several tenants, perhaps, and has yet to say which they mean.
    if model is Membership:
        yield Policy("own_memberships", ("tenant",), f"user_id = {_PERSON}", "SELECT")
    if model is Tenant:
        mine = f"SELECT tenant_id FROM accounts_membership WHERE user_id = {_PERSON}"  # noqa: S608  (all ours)
        yield Policy("own_memberships", ("tenant",), f"id IN ({mine})", "SELECT")
