"""Mail to people: plain text from `templates/mail/<name>.txt`, whose first line is the subject.

Links begin with NEXUS_PUBLIC_URL, never with what a request called us.
"""

import logging
from collections.abc import Mapping
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

logger = logging.getLogger(__name__)


class NotSent(Exception):
    """The mail server did not take it. The message says why, without any of the mail's content."""


def send(to: str, name: str, context: Mapping[str, Any]) -> None:
    """Hand a mail over. Raises NotSent."""
    text = render_to_string(f"mail/{name}.txt", {"public_url": settings.NEXUS_PUBLIC_URL, **context})
    subject, _, body = text.strip().partition("\n")
    message = EmailMessage(" ".join(subject.split()), body.strip() + "\n", settings.DEFAULT_FROM_EMAIL, [to])
    try:
        message.send()
    except (SMTPException, OSError) as error:
        logger.warning("mail not sent", extra={"mail": name, "reason": type(error).__name__})
        raise NotSent(str(error)) from error
