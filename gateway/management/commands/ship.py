"""`manage.py ship`: move request records from this machine's spool to PostgreSQL."""

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from gateway.plane import shipper_of


class Command(BaseCommand):
    help = "Ship request records from this machine's spool (NEXUS_DATA_DIR) to PostgreSQL. Runs until SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="ship what is there and end")

    def handle(self, *args: Any, **options: Any) -> None:
        shipper = shipper_of(settings.NEXUS_DATA_DIR / "spool")
        if options["once"]:
            self.stdout.write(f"{shipper.ship()} records shipped")
            return
        stopping = False

        def stop(*_: object) -> None:
            nonlocal stopping
            stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        shipper.run(until=lambda: stopping)
