"""Redis clients with the patience of a hot path: a server that does not answer at once is treated as away.

redis-py's own defaults wait a minute for a stalled server and try again; ours give up after 100 ms. Commands of Redis
6.2 are all that is used, so that a distribution's own server will do.
"""

from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 0.1  # a near server answers within a millisecond; the rest is for a process that is late itself
TLS_CONNECT_SECONDS = 0.25  # a handshake is two more round trips and its arithmetic; once per connection
_SUBSCRIBER_CONNECT_SECONDS = 1.0
_HEALTH_CHECK_SECONDS = 5


@lru_cache(maxsize=4)
def sync_client(url: str) -> redis.Redis:
    """Return this process's client for views, tasks and commands."""
    return redis.Redis.from_url(
        url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=_connect_seconds(url), retry=Retry(NoBackoff(), 0)
    )


def async_client(url: str) -> redis.asyncio.Redis:
    """Return a client for the running event loop. Whoever makes it closes it."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=_connect_seconds(url),
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
    )


def subscriber_client(url: str) -> redis.asyncio.Redis:
    """Return a client for a subscription, whose reads wait for as long as nothing happens."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=_SUBSCRIBER_CONNECT_SECONDS,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        health_check_interval=_HEALTH_CHECK_SECONDS,
    )


def celery_url(url: str) -> str:
    """Return the same server as Celery's broker URL: kombu spells Unix sockets differently."""
    if not url.startswith("unix://"):
        return url
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={database}"


def _connect_seconds(url: str) -> float:
    return TLS_CONNECT_SECONDS if url.startswith("rediss://") else TIMEOUT_SECONDS
