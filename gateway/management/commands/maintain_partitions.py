"""`manage.py maintain_partitions`: what the hourly task does, by hand and at every start."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway.tasks import keep_partitions
from nexus.partitions import NotTheOwner


class Command(BaseCommand):
    help = "Make the request log's partitions a week ahead, and drop those past NEXUS_LOG_RETENTION_DAYS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made, dropped = keep_partitions()
        except NotTheOwner as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{len(made)} partitions made, {len(dropped)} dropped")
