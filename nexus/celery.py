"""The Celery application and its schedule. State lives in PostgreSQL; the broker only wakes workers up."""

import os
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging, task_postrun, task_prerun
from django.conf import settings

from nexus.logs import bind, configure

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings.console")


@setup_logging.connect
def log_as_every_process_does(**_: Any) -> None:
    """Set logging up from the settings. Celery leaves its own undone when somebody answers this signal."""
    configure(settings.LOGGING)


@task_prerun.connect
def name_the_task(task_id: str, task: "Task[..., Any]", **_: Any) -> None:
    bind(task=task.name, task_id=task_id)


@task_postrun.connect
def forget_the_task(**_: Any) -> None:
    bind(task=None, task_id=None)


app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "maintain-partitions": {"task": "gateway.tasks.maintain_partitions", "schedule": 3600.0},  # seconds
    "forget-idempotency-claims": {"task": "gateway.tasks.forget_idempotency_claims", "schedule": 3600.0},
    "forget-what-has-run-out": {"task": "accounts.tasks.forget_what_has_run_out", "schedule": 3600.0},
    "forget-config-changes": {"task": "gateway.tasks.forget_config_changes", "schedule": 6 * 3600.0},
}
