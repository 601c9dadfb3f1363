"""What allauth tells by signals alone: new passwords, within the transaction of the change, and wrong codes.

Second factors that come and go are seen by `changes`: allauth tells of some of them after the commit.
"""

from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa.signals import authentication_failed
from django.http import HttpRequest

from accounts.models import User
from accounts.sign_in import session_records, trail


def listen() -> None:
    """Connect; once, when the app is ready."""
    authentication_failed.connect(_wrong_code)
    password_changed.connect(_new_password)
    password_set.connect(_new_password)
    password_reset.connect(_reset_password)


def _wrong_code(*, request: HttpRequest, user: User, **_: Any) -> None:
    trail.note_refusal(user.email, request=request, reason="code")


def _new_password(*, request: HttpRequest, user: User, **_: Any) -> None:
    session_records.follow(request)  # the session has a new key from here on; all others have ended
    trail.note(user, "user.password_changed", request=request)


def _reset_password(*, request: HttpRequest, user: User, **_: Any) -> None:
    trail.note(user, "user.password_reset", request=request)
