"""What allauth tells by signals alone: second factors and passwords that have changed. Each is an audit row."""

from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa import signals as mfa
from django.http import HttpRequest

from accounts.models import User
from accounts.sign_in import session_records, trail


def listen() -> None:
    """Connect; once, when the app is ready."""
    mfa.authenticator_added.connect(_added)
    mfa.authenticator_removed.connect(_removed)
    mfa.authenticator_reset.connect(_made_anew)
    mfa.authentication_failed.connect(_wrong_code)
    password_changed.connect(_new_password)
    password_set.connect(_new_password)
    password_reset.connect(_reset_password)


def _added(*, request: HttpRequest, user: User, authenticator: Any, **_: Any) -> None:
    trail.note(user, "user.second_factor_added", request=request, changes={"kind": [None, authenticator.type]})


def _removed(*, request: HttpRequest, user: User, authenticator: Any, **_: Any) -> None:
    trail.note(user, "user.second_factor_removed", request=request, changes={"kind": [authenticator.type, None]})


def _made_anew(*, request: HttpRequest, user: User, **_: Any) -> None:
    trail.note(user, "user.recovery_codes_made", request=request)


def _wrong_code(*, request: HttpRequest, user: User, **_: Any) -> None:
    trail.note_refusal(user.email, request=request, reason="code")


def _new_password(*, request: HttpRequest, user: User, **_: Any) -> None:
    session_records.follow(request)  # the session has a new key from here on; all others have ended
    trail.note(user, "user.password_changed", request=request)


def _reset_password(*, request: HttpRequest, user: User, **_: Any) -> None:
    trail.note(user, "user.password_reset", request=request)
