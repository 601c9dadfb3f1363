"""`manage.py migrate`: Django's own, run as the owner of the tables, and then the privileges of the other roles."""

from typing import Any

from django.core.management.commands import migrate

from accounts.walls import raise_walls
from nexus.database_roles import as_owner


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with as_owner():
            super().handle(*args, **options)
            if options["plan"] or options["check_unapplied"]:
                return
            changes = raise_walls()
        if options["verbosity"] >= 1:
            self.stdout.write(f"Privileges and row security: {len(changes)} changes")
        if options["verbosity"] >= 2:
            self.stdout.writelines(f"  {change}" for change in changes)
