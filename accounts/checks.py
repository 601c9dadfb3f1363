"""System checks that ask the database: run by `manage.py migrate` and `manage.py check --database default`."""

from collections.abc import Sequence
from typing import Any

from django.core import checks

from nexus.database_roles import APP
from nexus.role_survey import survey


def check_roles(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Warn of database roles that leave tenants with the first wall alone."""
    if APP not in (databases or ()):
        return []
    return [
        checks.Warning(sentence, hint="docs/security.md, “Database roles”, has the SQL.", id="nexus.W001")
        for sentence in survey()
    ]
