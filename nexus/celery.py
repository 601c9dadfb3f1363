"""The Celery application and its schedule. State lives in PostgreSQL; the broker only wakes workers up."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings.console")

app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "maintain-partitions": {"task": "gateway.tasks.maintain_partitions", "schedule": 3600.0},  # seconds
    "forget-config-changes": {"task": "gateway.tasks.forget_config_changes", "schedule": 6 * 3600.0},
}
