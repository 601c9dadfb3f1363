"""Where the operator asks for a second factor: who has none gets no further than to the page where one is added.

Setting: NEXUS_MFA_REQUIRED. A session that began by single sign-on has it from there: providers ask for their own.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from accounts.models import User
from nexus.errors import Forbidden
from nexus.http import API_PREFIX, error_response
from nexus.middleware import Middleware

NOBODY, OPERATORS, EVERYBODY = CHOICES = ("nobody", "operators", "everybody")
_OPEN = ("/accounts/", "/profile/", "/theme/", "/docs", "/healthz", "/readyz", "/metrics")


class SecondFactorRequired(Forbidden):
    code = "SECOND_FACTOR_REQUIRED"


class SecondFactorMiddleware(Middleware):
    """Costs nothing where nobody is asked, else one query for each request of a session."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        if settings.NEXUS_MFA_REQUIRED == NOBODY:
            raise MiddlewareNotUsed
        super().__init__(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        response: HttpResponseBase | Awaitable[HttpResponseBase] = self.get_response(request)
        return response

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Stop who lacks one. API keys and strangers are none of its business."""
        if request.path.startswith(_OPEN) or not lacks(request):
            return None
        if request.path.startswith(API_PREFIX):
            return error_response(SecondFactorRequired("Add a second factor in the console first."), request)
        there = reverse("mfa_index")
        if getattr(request, "htmx", None):
            return HttpResponse(status=401, headers={"HX-Redirect": there})
        return HttpResponseRedirect(there)


def lacks(request: HttpRequest) -> bool:
    """Return whether the signed-in person must add a second factor. One query at most."""
    user = request.user
    if settings.NEXUS_MFA_REQUIRED == NOBODY or not isinstance(user, User):
        return False
    if settings.NEXUS_MFA_REQUIRED == OPERATORS and not user.is_staff:
        return False
    if any(each["method"] == "socialaccount" for each in get_authentication_records(request, user)):
        return False
    factors = Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES)
    return not factors.exists()
