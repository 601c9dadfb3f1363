"""`manage.py ship`: between this machine's disk and PostgreSQL: request records there, the configuration here."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from gateway.plane import shipper_of, snapshot_file
from gateway.snapshot_file import SnapshotWriter


class Command(BaseCommand):
    help = (
        "Ship request records from this machine's spool (NEXUS_DATA_DIR) to PostgreSQL, and keep a copy of the "
        "configuration there, with which the runtime can start while PostgreSQL is away. Runs until SIGTERM."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="ship what is there and end")

    def handle(self, *args: Any, **options: Any) -> None:
        shipper = shipper_of(settings.NEXUS_DATA_DIR / "spool")
        if options["once"]:
            self.stdout.write(f"{shipper.ship()} records shipped")
            return
        stopping = threading.Event()

        def stop(*_: object) -> None:
            stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        writer = SnapshotWriter(snapshot_file())
        threading.Thread(target=writer.run, kwargs={"until": stopping.wait}, name="snapshot", daemon=True).start()
        shipper.run(until=stopping.is_set, pause=stopping.wait)
