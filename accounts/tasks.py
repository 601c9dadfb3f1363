"""The background work of accounts."""

from datetime import UTC, datetime

from celery import Task, shared_task

from accounts import throttle
from accounts.sign_in import mail, reset, session_records

MAIL_RETRIES = 5
_FIRST_RETRY_SECONDS = 30


@shared_task(bind=True, max_retries=MAIL_RETRIES)
def send_password_reset(self: "Task[..., None]", *, email: str) -> None:
    """Send the link to choose a new password; again, ever later, while the mail server is away."""
    try:
        reset.send(email)
    except mail.NotSent as error:
        raise self.retry(exc=error, countdown=_FIRST_RETRY_SECONDS * 2**self.request.retries) from error


@shared_task
def forget_what_has_run_out() -> None:
    """Drop sessions and counts of attempts that have run out. Run hourly; safe to run twice."""
    now = datetime.now(UTC)
    session_records.forget_past(now)
    throttle.forget_past(now)
