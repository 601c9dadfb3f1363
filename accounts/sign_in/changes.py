"""A change of how somebody signs in is one transaction with its audit row: both are there, or neither.

allauth tells of some second factors only after their commit. So what happened to them is read from the database, before
and after, within the transaction; passwords are told of in time (`listeners`).
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.messages import get_messages
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponseBase

from accounts.models import User
from accounts.sign_in import trail

type View = Callable[..., HttpResponseBase]


def as_one(view: View) -> View:
    """Wrap a page that changes a password or a second factor. Three queries more, for a form that is sent."""

    @wraps(view)
    def one_transaction(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        try:
            with transaction.atomic():
                return _noted(request, lambda: view(request, *args, **kwargs))
        except DatabaseError:
            list(get_messages(request))  # reading drops them: they tell of a change that was undone
            raise

    return one_transaction


def _noted(request: HttpRequest, change: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """Do it, and write down which second factors came and went."""
    user = request.user
    if not isinstance(user, User):
        return change()
    User.objects.select_for_update(no_key=True).get(id=user.id)  # one change of a person's at a time
    before = _factors(user)
    response = change()
    after = _factors(user)
    gone = [kind for factor, kind in before.items() if factor not in after]
    new = [kind for factor, kind in after.items() if factor not in before]
    codes = Authenticator.Type.RECOVERY_CODES
    if codes in gone and codes in new:
        trail.note(user, "user.recovery_codes_made", request=request)
        gone.remove(codes)
        new.remove(codes)
    for kind in gone:
        trail.note(user, "user.second_factor_removed", request=request, changes={"kind": [kind, None]})
    for kind in new:
        trail.note(user, "user.second_factor_added", request=request, changes={"kind": [None, kind]})
    return response


def _factors(user: User) -> Mapping[int, str]:
    return dict(Authenticator.objects.filter(user=user).order_by("id").values_list("id", "type"))
