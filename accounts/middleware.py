"""Gives pages their tenant, `request.membership`, looked up when it is first used; and keeps sessions in use alive."""

from collections.abc import Awaitable

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

from accounts.auth import SESSION_TENANT, chosen_membership, current_membership
from accounts.models import Membership, User
from accounts.sign_in import session_records
from nexus.middleware import Middleware


class TenantMiddleware(Middleware):
    """Costs nothing where no page asks."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        request.membership = SimpleLazyObject(lambda: _membership(request))  # type: ignore[attr-defined]  # ours
        response: HttpResponseBase | Awaitable[HttpResponseBase] = self.get_response(request)
        return response


class SessionUseMiddleware(Middleware):
    """Puts off the end of a session in use, and notes that it is; costs nothing but once in some minutes."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._later(request)
        response: HttpResponseBase = self.get_response(request)
        session_records.note_use(request)
        return response

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self.get_response(request)
        await sync_to_async(session_records.note_use)(request)
        return response


def _membership(request: HttpRequest) -> Membership | None:
    if not isinstance(request.user, User):
        return None
    return current_membership(request, request.user)


def choose_tenant(request: HttpRequest, slug: str) -> Membership:
    """Make a tenant the session's own, to which it comes back. Raises NotFound for one the user does not belong to."""
    assert isinstance(request.user, User)
    membership = current_membership(request, request.user, slug=slug)
    assert membership is not None
    if chosen_membership(request, request.user) != membership:  # written only when it changes: pages are reads
        request.session[SESSION_TENANT] = str(membership.tenant_id)
    return membership
