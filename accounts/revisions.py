"""Telling the runtime processes that the configuration has changed.

The truth is the revision in the database, which a trigger raises and every process polls. The push sent from here
only makes the next poll come at once.
"""

import logging

from django.conf import settings
from django.db import transaction
from redis.exceptions import RedisError

from nexus.redis_clients import sync_client

logger = logging.getLogger(__name__)
CHANNEL = "nexus:config"


def announce() -> None:
    """Push, once the current transaction is committed."""
    transaction.on_commit(_push)


def _push() -> None:
    try:
        sync_client(settings.REDIS_URL).publish(CHANNEL, b"1")
    except RedisError as error:
        # Harmless: without the push the change is in force half a second later.
        logger.warning("The push of a configuration change failed.", extra={"error": type(error).__name__})
