"""Who calls the management API, and what they may do: by API key or by the console's session.

Deny by default: a view that declares no scope for a method answers nobody.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.audit import Actor
from accounts.keys import hash_key
from accounts.models import ApiKey, Membership, Tenant, User
from accounts.rbac import ROLE_SCOPES, effective_scopes
from nexus import tenancy
from nexus.errors import Forbidden, InvalidApiKey, NotFound, ScopeRequired
from nexus.http import client_ip, request_id
from nexus.logs import bind

if TYPE_CHECKING:  # at run time rest_framework.views imports this module, through its settings
    from rest_framework.views import APIView

ANY_SCOPE = ""  # declared by views that every member and every live key of the tenant may use
TENANT_HEADER = "x-nexus-tenant"
SESSION_TENANT = "tenant"
USE_NOTED_EVERY = timedelta(minutes=1)


class CsrfFailed(Forbidden):
    code = "CSRF_FAILED"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one management request, at this moment."""

    tenant: Tenant
    role: str | None
    scopes: frozenset[str]
    actor: Actor
    user: User | None = None
    key: ApiKey | None = None

    @property
    def person(self) -> User | None:
        """The one whose role bounds the caller: who is signed in, or who made the key. No query."""
        return self.key.created_by if self.key else self.user


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer nxk_…`. A key may do what its creator's present role allows, at most."""

    def authenticate(self, request: Request) -> tuple[User | None, Principal] | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer":
            raise InvalidApiKey
        with tenancy.told():
            digest = hash_key(value.strip())
            tenancy.enter_by("tenant_of_key(%s)", digest)
            key = _key_of(digest)
            if key is None or key.revoked_at is not None or _is_past(key.expires_at):
                raise InvalidApiKey
            bind(tenant=key.tenant.slug)
            role = _role_of_creator(key)
        _note_use(key)
        actor = Actor.of_key(key, ip=client_ip(request._request), request_id=request_id(request._request))
        return None, Principal(key.tenant, role, effective_scopes(key.scopes, role), actor, key=key)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(BaseAuthentication):
    """The console's session, with CSRF. The tenant: the X-Nexus-Tenant header, else the one chosen in the console."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.is_active:
            return None
        _enforce_csrf(request._request)
        membership = current_membership(request._request, user, slug=request.headers.get(TENANT_HEADER))
        if membership is None:
            raise Forbidden("You are not a member of any tenant. Ask an admin to add you.")
        bind(tenant=membership.tenant.slug)
        actor = Actor.of_user(user, ip=client_ip(request._request), request_id=request_id(request._request))
        role = membership.role
        return user, Principal(membership.tenant, role, ROLE_SCOPES[role], actor, user=user)


class ScopePermission(BasePermission):
    """Checks the scope that the view declares for the method: `scopes = {"GET": "keys:read"}`."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        principal = request.auth
        if not isinstance(principal, Principal):
            raise InvalidApiKey
        method = "GET" if request.method == "HEAD" else request.method or ""
        scope = getattr(view, "scopes", {}).get(method)
        if scope is None and not hasattr(view, method.lower()):
            return True  # nobody is let in: the view has nothing for this method, and the framework says so with a 405
        if scope is None:
            raise Forbidden("Nobody may do this.")
        if principal.role is None:
            raise Forbidden("Whoever made this key has left the tenant, so it can do nothing any more. Make a new key.")
        if scope != ANY_SCOPE and scope not in principal.scopes:
            raise ScopeRequired(scope)
        return True


def caller(request: Request) -> Principal:
    """Return who calls, behind ScopePermission, which lets nobody else through."""
    assert isinstance(request.auth, Principal)
    return request.auth


def current_membership(request: HttpRequest, user: User, *, slug: str | None = None) -> Membership | None:
    """Return the membership a session works in: the tenant asked for, else the chosen one, else the first.

    From then on the request sees that tenant's rows. Raises NotFound for a tenant that is not the user's. One query,
    where memberships_of has not made it before.
    """
    with tenancy.told():
        if slug is None:
            found = chosen_membership(request, user)
        else:
            found = next((each for each in memberships_of(request, user) if each.tenant.slug == slug), None)
            if found is None:
                raise NotFound("There is no such tenant, or you are not a member of it.")
        if found is not None:
            tenancy.enter(found.tenant_id)
    return found


def chosen_membership(request: HttpRequest, user: User) -> Membership | None:
    """Return the membership of the tenant in which the session last worked, else the first."""
    memberships = memberships_of(request, user)
    chosen = request.session.get(SESSION_TENANT)
    by_choice = (each for each in memberships if str(each.tenant_id) == chosen)
    return next(by_choice, memberships[0] if memberships else None)


def _key_of(digest: str) -> ApiKey | None:
    """Return the key that has this secret, or had it and is in grace. One query."""
    either = Q(key_hash=digest) | Q(previous_hash=digest, previous_expires_at__gt=datetime.now(UTC))
    return ApiKey.objects.filter(either).select_related("tenant", "created_by").first()


def memberships_of(request: HttpRequest, user: User) -> list[Membership]:
    """Return all memberships of the signed-in user with their tenants, oldest first. One query per request."""
    known = known_memberships(request)
    if known is None:
        known = list(Membership.objects.filter(user=user).select_related("tenant").order_by("created_at", "id"))
        request.memberships = known  # type: ignore[attr-defined]  # ours
    return known


def known_memberships(request: HttpRequest) -> list[Membership] | None:
    """Return what memberships_of has found for this request; None if nobody asked."""
    return getattr(request, "memberships", None)


def _role_of_creator(key: ApiKey) -> str | None:
    """Return the present role of whoever made the key; None if they have left the tenant."""
    if key.created_by_id is None:
        return None
    creator = Membership.objects.filter(tenant=key.tenant_id, user=key.created_by_id, user__is_active=True)
    role: str | None = creator.values_list("role", flat=True).first()
    return role


def _note_use(key: ApiKey) -> None:
    """Write down that the key is in use, once a minute at most, so that reading stays reading.

    Also of a request that is refused, and so undone: a key in wrong hands is in use too.
    """
    now = datetime.now(UTC)
    if key.last_used_at is None or now - key.last_used_at >= USE_NOTED_EVERY:
        with tenancy.every_tenant():
            ApiKey.objects.filter(id=key.id).update(last_used_at=now)


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and moment <= datetime.now(UTC)


def _enforce_csrf(request: HttpRequest) -> None:
    def unused(_: HttpRequest) -> Any:  # the middleware's get_response, never called by process_view
        raise AssertionError

    check = CsrfViewMiddleware(unused)
    check.process_request(request)
    refusal = check.process_view(request, unused, (), {})
    if refusal is not None:
        raise CsrfFailed("The CSRF token is missing or wrong. Send the header X-CSRFToken, or use an API key.")
