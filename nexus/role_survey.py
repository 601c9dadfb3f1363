"""Whether this installation's database roles hold what the walls between tenants promise, and what to set where not.

Nothing is refused for it: one role that does everything works, only without the second wall (docs/security.md).
"""

from dataclasses import dataclass

from django.conf import settings
from django.db import connection, connections

from nexus.database_roles import APP

_FACTS = """
SELECT app.rolname, app.rolsuper OR app.rolbypassrls,
       coalesce((SELECT pg_has_role(app.oid, relowner, 'USAGE') FROM pg_class
                 WHERE oid = to_regclass('django_migrations')), false),
       coalesce((SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %(tenant)s), false)
FROM pg_roles app WHERE app.rolname = coalesce(nullif(%(app)s, ''), current_user)
"""


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What PostgreSQL says about the roles that the settings name. `tenant` is "" where it is the app's."""

    app: str
    app_passes_policies: bool
    app_owns_tables: bool
    tenant: str
    tenant_passes_policies: bool


def survey() -> tuple[str, ...]:
    """Return what is missing, a sentence each; nothing where all is as it should be. One query."""
    app, tenant = connections.settings[APP].get("USER", ""), settings.DATABASE_TENANT_ROLE
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, {"app": app, "tenant": tenant})
        name, app_passes, owns, tenant_passes = cursor.fetchone()
    return shortcomings(RoleFacts(name, app_passes, owns, "" if tenant == name else tenant, tenant_passes))


def shortcomings(roles: RoleFacts) -> tuple[str, ...]:
    """Say what is missing, and which setting brings it. Pure."""
    found = []
    if roles.app_owns_tables:
        found.append(
            f"The role {roles.app} of DATABASE_URL owns the tables and may change them: give that to a role of its own "
            "by NEXUS_OWNER_DATABASE_URL."
        )
    elif roles.app_passes_policies:
        found.append(f"The role {roles.app} of DATABASE_URL passes row security by: it needs NOSUPERUSER NOBYPASSRLS.")
    if not roles.tenant:
        found.append(
            f"Requests of one tenant are asked as the role {roles.app}, which sees every tenant's rows: set "
            "NEXUS_TENANT_DATABASE_URL, and the database keeps tenants apart too."
        )
    elif roles.tenant_passes_policies:
        found.append(
            f"The role {roles.tenant} of NEXUS_TENANT_DATABASE_URL passes row security by: it needs "
            "NOSUPERUSER NOBYPASSRLS."
        )
    return tuple(found)
