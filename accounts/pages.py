"""Who may open which page: the decorator of every view under `/t/<slug>/`.

    @tenant_page({"GET": "keys:read", "POST": "keys:write"})
    def key_list(request: TenantRequest) -> HttpResponse: ...

Deny by default: a method that declares no scope is answered 405, a tenant that is not the user's 404, a scope that
their role lacks 403 with the roles that have it and the admins who can give one. A signed-out browser goes to the
sign-in; a poll of a signed-out page is told to, because a sign-in form must never be swapped into a panel.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django_htmx.middleware import HtmxDetails

from accounts.auth import ANY_SCOPE
from accounts.middleware import choose_tenant
from accounts.models import Membership, Role, Tenant, User
from accounts.rbac import ROLE_SCOPES
from nexus.logs import bind
from nexus.tenancy import told

ADMINS_NAMED = 3


class TenantRequest(HttpRequest):
    """A request of a member, as views under `/t/<slug>/` get it."""

    user: User
    htmx: HtmxDetails
    membership: Membership
    tenant: Tenant
    role: str
    scopes: frozenset[str]


type View = Callable[..., HttpResponseBase]


def tenant_page(scopes: Mapping[str, str]) -> Callable[[View], View]:
    """Guard a view by the scope it declares per method; HEAD counts as GET. One query beside the session's two."""

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, slug: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            response: HttpResponseBase = _refusal(request, slug, scopes) or view(request, *args, **kwargs)
            add_never_cache_headers(response)
            patch_vary_headers(response, ["HX-Request"])
            return response

        guarded.scopes = dict(scopes)  # type: ignore[attr-defined]  # read by the tests of access
        return guarded

    return guard


def _refusal(request: Any, slug: str, scopes: Mapping[str, str]) -> HttpResponse | None:
    """Return the answer to who may not; give the request its tenant and return None for who may."""
    scope = scopes.get("GET" if request.method == "HEAD" else request.method)
    if scope is None:
        return HttpResponseNotAllowed(scopes)
    if not isinstance(request.user, User) or not request.user.is_active:
        return _to_sign_in(request)
    request.membership = choose_tenant(request, slug)
    request.tenant = request.membership.tenant
    bind(tenant=slug)
    request.role = request.membership.role
    request.scopes = ROLE_SCOPES[request.role]
    if scope != ANY_SCOPE and scope not in request.scopes:
        return _forbidden(request, scope)
    return None


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if not getattr(request, "htmx", False):
        return redirect_to_login(request.get_full_path())
    shown: str = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]  # of HtmxMiddleware
    return HttpResponse(status=401, headers={"HX-Redirect": redirect_to_login(shown).headers["location"]})


def _forbidden(request: TenantRequest, scope: str) -> HttpResponse:
    """Return the page that says what is lacking and who can give it. Two queries."""
    with told():  # a view that is no transaction has none to ask in
        return _forbidden_page(request, scope)


def _forbidden_page(request: TenantRequest, scope: str) -> HttpResponse:
    admins = Membership.objects.for_tenant(request.tenant).filter(role=Role.ADMIN, user__is_active=True)
    named = admins.select_related("user").order_by("created_at", "id")
    context = {
        "roles": [role for role in Role.values if scope in ROLE_SCOPES[role]],
        "admins": [each.user.name or each.user.email for each in named[:ADMINS_NAMED]],
        "more_admins": max(admins.count() - ADMINS_NAMED, 0),
    }
    return render(request, "accounts/forbidden.html", context, status=403)
