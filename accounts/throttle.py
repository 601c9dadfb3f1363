"""How often somebody may try: a cache in PostgreSQL, in which allauth counts attempts to sign in.

A cache in a process's memory would give each process a count of its own, and one in Redis would have none while Redis
is away. Whoever signs in needs PostgreSQL anyway, so the counts are as available as the thing they guard, and exact.
Values are JSON; nothing that is read here is ever executed.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connection

_ADD = """
INSERT INTO accounts_throttle (key, value, expires_at) VALUES (%s, %s, %s)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at
WHERE accounts_throttle.expires_at <= %s
"""
_SET = """
INSERT INTO accounts_throttle (key, value, expires_at) VALUES (%s, %s, %s)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at
"""
_FOREVER = timedelta(days=365)


class ThrottleCache(BaseCache):
    """Django's cache interface over one table. Each call is one statement, committed at once."""

    def __init__(self, _: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Set what is not there; return whether it was not. Of several callers at once one is told so."""
        now = datetime.now(UTC)
        row = [self.make_and_validate_key(key, version), json.dumps(value), self._end(timeout, now), now]
        return _run(_ADD, row) == 1

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT value FROM accounts_throttle WHERE key = %s AND expires_at > %s",
                [self.make_and_validate_key(key, version), datetime.now(UTC)],
            )
            row = cursor.fetchone()
        return default if row is None else json.loads(row[0])

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        end = self._end(timeout, datetime.now(UTC))
        _run(_SET, [self.make_and_validate_key(key, version), json.dumps(value), end])

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        now = datetime.now(UTC)
        changed = "UPDATE accounts_throttle SET expires_at = %s WHERE key = %s AND expires_at > %s"
        return _run(changed, [self._end(timeout, now), self.make_and_validate_key(key, version), now]) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        gone = "DELETE FROM accounts_throttle WHERE key = %s"
        return _run(gone, [self.make_and_validate_key(key, version)]) == 1

    def clear(self) -> None:
        _run("DELETE FROM accounts_throttle", [])

    def _end(self, timeout: Any, now: datetime) -> datetime:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return now + (_FOREVER if seconds is None else timedelta(seconds=float(seconds)))


def forget_past(now: datetime) -> int:
    """Drop what has run out; return how many. Run by the beat."""
    return _run("DELETE FROM accounts_throttle WHERE expires_at <= %s", [now])


def _run(statement: str, values: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        changed: int = cursor.rowcount
    return changed
