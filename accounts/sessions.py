"""Sessions in the database under the hash of their key, so that who reads the table cannot sign in with what is there.

Django's own store keeps the cookie's value itself. Setting: SESSION_ENGINE.
"""

from hashlib import sha256
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone


def stored_key(session_key: str) -> str:
    """Return what the table knows a session by: 160 bits of the key's hash, as many characters as the column has."""
    return sha256(session_key.encode()).hexdigest()[:40]


class SessionStore(db.SessionStore):
    """Knows the key while a request lasts; the table never does."""

    def _get_session_from_db(self) -> Session | None:
        found: Session | None = self._live().first()
        if found is None:
            self._session_key = None  # a key that is none of ours is not taken over
        return found

    async def _aget_session_from_db(self) -> Session | None:
        found: Session | None = await self._live().afirst()
        if found is None:
            self._session_key = None
        return found

    def _live(self) -> Any:
        key = stored_key(self.session_key or "")
        return self.model.objects.filter(session_key=key, expire_date__gt=timezone.now())

    def exists(self, session_key: str) -> bool:
        return super().exists(stored_key(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(stored_key(session_key))

    def create_model_instance(self, data: Any) -> Any:
        row = super().create_model_instance(data)
        row.session_key = stored_key(row.session_key)
        return row

    async def acreate_model_instance(self, data: Any) -> Any:
        row = await super().acreate_model_instance(data)
        row.session_key = stored_key(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(stored_key(key))

    async def adelete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(stored_key(key))
