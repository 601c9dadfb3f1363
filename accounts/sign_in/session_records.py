"""Sessions as people see them: where they are signed in, since when, and how to end that.

A session ends when nobody has used it for NEXUS_SESSION_IDLE_MINUTES, and NEXUS_SESSION_HOURS after it began, whatever
happens. Both are the one expiry that the sessions' table has: it is put off while the session is in use, never past its
last moment.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from accounts.models import SignedInSession, User
from accounts.sessions import stored_key
from nexus.http import client_ip

NOTED_EVERY = timedelta(minutes=1)
_RECORD = "record"  # in the session: [id, last moment, when its use was last noted], the moments in Unix seconds
_METHODS = {"password": "password", "socialaccount": "single sign-on", "password_reset": "new password"}
_FACTORS = {"totp": "code", "recovery_codes": "recovery code", "webauthn": "security key"}


def begin(request: HttpRequest, user: User) -> SignedInSession:
    """Write down a session that has just begun. One query."""
    now = datetime.now(UTC)
    last_moment = now + timedelta(hours=settings.NEXUS_SESSION_HOURS)
    record = SignedInSession.objects.create(
        user=user,
        session_key=_known_as(request),
        method=how(get_authentication_records(request, user)),
        ip=client_ip(request),
        agent=request.headers.get("user-agent", "")[:200],
    )
    _put_off(request, record.id, last_moment, now)
    return record


def note_use(request: HttpRequest) -> None:
    """Put the session's end off, and write when it was used; once a minute at most. No query otherwise.

    A request that has not looked at its session is none of a person's.
    """
    session: Any = getattr(request, "session", None)
    if session is None or not session.accessed:
        return
    kept = session.get(_RECORD)
    now = datetime.now(UTC)
    if kept is None or now.timestamp() - kept[2] < NOTED_EVERY.total_seconds():
        return
    _put_off(request, UUID(kept[0]), datetime.fromtimestamp(kept[1], UTC), now)
    follow(request)


def follow(request: HttpRequest) -> None:
    """Write down the session's present key, which changes with the password. One query."""
    kept = request.session.get(_RECORD)
    if kept is not None:
        SignedInSession.objects.filter(id=kept[0]).update(
            session_key=_known_as(request), seen_at=datetime.now(UTC), ip=client_ip(request)
        )


def of(user: User) -> QuerySet[SignedInSession]:
    """Return where a person is signed in now, the last used first."""
    alive = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=datetime.now(UTC))
    return SignedInSession.objects.filter(Exists(alive), user=user).order_by("-seen_at", "-id")


def current(request: HttpRequest) -> UUID | None:
    """Return the record of the session that asks."""
    kept = request.session.get(_RECORD)
    return UUID(kept[0]) if kept else None


def end(records: QuerySet[SignedInSession]) -> int:
    """End sessions, in every process from its next request on; return how many. Two queries."""
    keys = list(records.values_list("session_key", flat=True))
    SignedInSession.objects.filter(session_key__in=keys).delete()
    return Session.objects.filter(session_key__in=keys).delete()[0]


def forget(record: UUID) -> None:
    """Drop the record of a session that somebody has ended themselves."""
    SignedInSession.objects.filter(id=record).delete()


def forget_past(now: datetime) -> None:
    """Drop what has run out. Run by the beat."""
    Session.objects.filter(expire_date__lte=now).delete()
    alive = Session.objects.filter(session_key=OuterRef("session_key"))
    SignedInSession.objects.filter(~Exists(alive), seen_at__lt=now - timedelta(hours=1)).delete()


def how(records: list[dict[str, Any]]) -> str:
    """Say by what somebody proved who they are: "password and code". Pure."""
    words = []
    for record in records:
        if record["method"] == "mfa":
            word = "passkey" if record.get("passwordless") else _FACTORS.get(record.get("type", ""), "code")
        else:
            word = _METHODS.get(record["method"], record["method"])
        if word not in words:
            words.append(word)
    return " and ".join(words)[:40]


def _put_off(request: HttpRequest, record: UUID, last_moment: datetime, now: datetime) -> None:
    request.session[_RECORD] = [str(record), last_moment.timestamp(), now.timestamp()]
    request.session.set_expiry(min(last_moment, now + timedelta(minutes=settings.NEXUS_SESSION_IDLE_MINUTES)))


def _known_as(request: HttpRequest) -> str:
    if request.session.session_key is None:
        request.session.save()  # so that there is a key
    return stored_key(str(request.session.session_key))
