"""The gateway's background work."""

from datetime import UTC, datetime, timedelta

from celery import shared_task
from django.conf import settings

from accounts.models import ConfigChange
from gateway.models import IdempotencyClaim
from nexus import partitions
from nexus.database_roles import as_owner

CONFIG_CHANGE_DAYS = 1  # a process that has been away longer reads the whole configuration anyway


def keep_partitions() -> tuple[list[str], list[str]]:
    """Make the request log's partitions a week ahead and drop those past retention; return both lists of names."""
    today = datetime.now(UTC).date()
    made = partitions.ensure("request_log", today)
    with as_owner():
        dropped = partitions.drop_older("request_log", today - timedelta(days=settings.NEXUS_LOG_RETENTION_DAYS))
    return made, dropped


@shared_task
def maintain_partitions() -> None:
    """Run hourly; safe to run twice and in several workers."""
    keep_partitions()


@shared_task
def forget_config_changes() -> None:
    """Drop the notes of which tenant a revision changed, once every running process has read them."""
    ConfigChange.objects.filter(created_at__lt=datetime.now(UTC) - timedelta(days=CONFIG_CHANGE_DAYS)).delete()


@shared_task
def forget_idempotency_claims() -> None:
    """Drop the answers kept for idempotency keys once they are a day old. One statement; safe to run twice."""
    IdempotencyClaim.objects.filter(expires_at__lt=datetime.now(UTC)).delete()
