"""Mail as files, for an installation without a mail server: `.eml` in NEXUS_DATA_DIR/mail.

They hold links that let somebody in, so nobody else on the machine may read them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from nexus.ids import uuid7
from nexus.private_files import write_private


class EmailBackend(BaseEmailBackend):
    """Writes each message to a file of its own, named by when it was sent."""

    def __init__(self, *, directory: str, **options: Any) -> None:
        super().__init__(**options)
        self.directory = Path(directory)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message in email_messages:
            name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid7().hex[-8:]}.eml"
            write_private(self.directory / name, [message.message().as_bytes()])
        return len(email_messages)
