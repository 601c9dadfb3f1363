"""`manage.py seed_demo`: a demo tenant with two simulated providers."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway.demo import seed_demo
from nexus.errors import NexusError


class Command(BaseCommand):
    help = "Make the demo tenant, or point it at simulators that have moved. Prints the login and an API key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--simulators", nargs=2, required=True, metavar="URL", help="base URLs of two simulators")
        parser.add_argument("--json", action="store_true", help="print one line of JSON and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        primary_url, backup_url = options["simulators"]
        try:
            demo = seed_demo(primary_url=primary_url, backup_url=backup_url)
        except NexusError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(demo))
            return
        self.stdout.write(f"Tenant {demo['tenant']}: log in as {demo['email']}, password {demo['password']}")
        self.stdout.write(f"API key: {demo['api_key']}")
