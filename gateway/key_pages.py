"""API keys: made and shown once, limited, rotated, revoked. What they have used is the gateway's to tell."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q, QuerySet, Sum
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from accounts import services
from accounts.api import KeyInput, RotationInput
from accounts.forms import actor_of, fault_of, faults_of
from accounts.models import ApiKey, Membership, Role, Tenant
from accounts.pages import TenantRequest, tenant_page
from console.palette import Item
from gateway.examples import served_model
from gateway.key_forms import body, initial, posted, scope_groups, snippets
from gateway.models import KeyUse
from gateway.request_filters import changed
from gateway.request_search import Search, find
from nexus.errors import NexusError, NotFound
from nexus.htmx import STOP_POLLING, page
from nexus.queries import with_changes
from nexus.rest import Place

PAGE = 50  # rows
WAIT = timedelta(minutes=10)  # for a first request
_FIRST_BUDGET = 2_000  # rows that are looked through for it
_ADMINS_NAMED = 3
GRACES: Mapping[str, str] = {
    "0": "None: the old secret ends now", "3600": "1 hour", "86400": "24 hours", "604800": "7 days",
}  # fmt: skip
STATES: Mapping[str, str] = {"live": "Live", "expired": "Expired", "revoked": "Revoked"}


@tenant_page({"GET": "keys:read"})
def key_list(request: TenantRequest) -> HttpResponse:
    """Show the keys, newest first, revoked ones too. Two queries, and one for who can make them."""
    text, state = request.GET.get("q", "").strip(), request.GET.get("state", "")
    keys = _found(request.tenant, text, state).select_related("created_by")
    place = Place.read(request.GET["cursor"]) if request.GET.get("cursor") else None
    if place is not None:
        keys = keys.filter(place.older)
    rows = list(keys.order_by("-created_at", "-id")[: PAGE + 1])
    further = Place.of(rows[PAGE - 1]) if len(rows) > PAGE else None
    context = {
        **_frame(request),
        "lines": _lines(request.tenant, rows[:PAGE]),
        "asked": text,
        "state": state if state in STATES else "",
        "states": [(key, word, changed(request.GET, state=key)) for key, word in STATES.items()],
        "all_url": changed(request.GET, state=None),
        "clear_url": reverse("keys", args=[request.tenant.slug]),
        "next_url": with_changes(request.GET, cursor=further.cursor) if further else "",
        "first_url": changed(request.GET) if place else "",
        "admins": [] if "keys:write" in request.scopes else _admins(request.tenant),
    }
    return page(request, "gateway/keys.html", context)


@tenant_page({"GET": "keys:write", "POST": "keys:write"})
def key_new(request: TenantRequest) -> HttpResponse:
    """Make a key. The answer to the form has it in its body, once: no redirect, no address, nothing kept."""
    if request.method != "POST":
        return _form(request, initial(None))
    values = posted(request.POST)
    reader = KeyInput(data=body(values))
    if not reader.is_valid():
        return _form(request, values, faults_of(reader))
    try:
        key, secret = services.issue_key(
            request.tenant, actor=actor_of(request), holder=request.user, held=request.scopes, **reader.validated_data
        )
    except NexusError as error:
        return _form(request, values, fault_of(error))
    return _revealed(request, key, secret, waits=True)


@tenant_page({"GET": "keys:read"})
def key_detail(request: TenantRequest, key_id: UUID) -> HttpResponse:
    """Show a key by its prefix: what it may do, what it has used, and what can be done to it."""
    return _detail(request, find_key(request.tenant, key_id))


@tenant_page({"GET": "keys:write", "POST": "keys:write"})
def key_edit(request: TenantRequest, key_id: UUID) -> HttpResponse:
    """Change a live key."""
    key = find_key(request.tenant, key_id)
    if request.method != "POST":
        return _form(request, initial(key), key=key)
    values = posted(request.POST)
    reader = KeyInput(data=body(values))
    if not reader.is_valid():
        return _form(request, values, faults_of(reader), key=key)
    given = dict(reader.validated_data)
    if values["expires_at"] == initial(key)["expires_at"]:
        del given["expires_at"]  # the field has minutes, the key has more; and one in the past may stay
    try:
        services.update_key(key_id, request.tenant, actor=actor_of(request), held=request.scopes, **given)
    except NexusError as error:
        return _form(request, values, fault_of(error), key=key)
    messages.success(request, f"{given['name']} is saved. It holds within a second.")
    return _to(request, key_id)


@tenant_page({"POST": "keys:write"})
def key_rotate(request: TenantRequest, key_id: UUID) -> HttpResponse:
    """Give a key a new secret, shown once; the old one may stay good for a while."""
    key = find_key(request.tenant, key_id)
    reader = RotationInput(data={"grace_s": request.POST.get("grace_s", "0")})
    if not reader.is_valid():
        return _detail(request, key, faults_of(reader)["grace_s"])
    try:
        key, secret = services.rotate_key(
            key_id, request.tenant, actor=actor_of(request), held=request.scopes,
            grace_seconds=reader.validated_data["grace_s"], now=datetime.now(UTC),
        )  # fmt: skip
    except NexusError as error:
        return _detail(request, key, error.message)
    return _revealed(request, key, secret, waits=False)


@tenant_page({"POST": "keys:write"})
def key_revoke(request: TenantRequest, key_id: UUID) -> HttpResponse:
    """Revoke a key."""
    key = find_key(request.tenant, key_id)
    services.revoke_key(key_id, request.tenant, actor=actor_of(request))
    messages.success(request, f"{key.name} is revoked. Requests with it fail within a second.")
    return _to(request, key_id)


@tenant_page({"GET": "keys:read"})
def key_first(request: TenantRequest, key_id: UUID) -> HttpResponse:
    """Say whether a new key's first request has come; the last answer ends the poll. Two queries."""
    context = {**_frame(request), **_first(request.tenant, find_key(request.tenant, key_id))}
    if not request.htmx:
        return redirect("key", request.tenant.slug, key_id)
    return page(request, "gateway/key_first.html", context, status=200 if context["waiting"] else STOP_POLLING)


def find_key(tenant: Tenant, key_id: UUID) -> ApiKey:
    """Return a tenant's key. Raises NotFound. One query."""
    key: ApiKey | None = ApiKey.objects.for_tenant(tenant).select_related("created_by").filter(id=key_id).first()
    if key is None:
        raise NotFound("There is no such key, or it is not yours.")
    return key


def find_keys(request: TenantRequest, text: str) -> list[Item]:
    """Find keys by name or prefix, for the palette."""
    if not text or "keys:read" not in request.scopes:
        return []
    found = _found(request.tenant, text, "").order_by("-created_at", "-id")[:8]
    slug = request.tenant.slug
    return [Item(key.name, reverse("key", args=[slug, key.id]), "key-round", hint=f"{key.prefix}…") for key in found]


def _found(tenant: Tenant, text: str, state: str) -> QuerySet[ApiKey]:
    keys: QuerySet[ApiKey] = ApiKey.objects.for_tenant(tenant)
    if text:
        keys = keys.filter(Q(name__icontains=text) | Q(prefix__startswith=text[:8]))
    past = Q(expires_at__lte=timezone.now())
    match state:
        case "live":
            return keys.filter(revoked_at=None).exclude(past)
        case "expired":
            return keys.filter(past, revoked_at=None)
        case "revoked":
            return keys.exclude(revoked_at=None)
    return keys


def _lines(tenant: Tenant, keys: Collection[ApiKey]) -> list[dict[str, Any]]:
    """Return keys with their state and what they have used this month. One query."""
    month = datetime.now(UTC).date().replace(day=1)
    uses = KeyUse.objects.for_tenant(tenant).filter(month=month, key_id__in=[key.id for key in keys])
    used = dict(uses.values_list("key_id").annotate(Sum("requests")).order_by()) if keys else {}
    return [_line(key, used.get(key.id, 0)) for key in keys]


def _line(key: ApiKey, used: int) -> dict[str, Any]:
    now, quota = timezone.now(), key.monthly_request_quota
    share = min(100, round(100 * used / quota)) if quota else None
    state = "revoked" if key.revoked_at else "expired" if key.expires_at and key.expires_at <= now else "live"
    return {
        "key": key,
        "used": used,
        "share": share,
        "tone": "" if share is None or share < 80 else "bad" if share >= 100 else "warn",
        "state": state,
        "in_grace": state == "live" and key.previous_expires_at is not None and key.previous_expires_at > now,
    }


def _frame(request: TenantRequest) -> dict[str, Any]:
    return {"slug": request.tenant.slug, "may_write": "keys:write" in request.scopes}


def _admins(tenant: Tenant) -> list[str]:
    admins = Membership.objects.for_tenant(tenant).filter(role=Role.ADMIN, user__is_active=True)
    named = admins.select_related("user").order_by("created_at", "id")[:_ADMINS_NAMED]
    return [each.user.name or each.user.email for each in named]


def _to(request: TenantRequest, key_id: UUID) -> HttpResponse:
    response = redirect("key", request.tenant.slug, key_id)
    response.status_code = 303
    return response


def _detail(request: TenantRequest, key: ApiKey, fault: str = "") -> HttpResponse:
    (line,) = _lines(request.tenant, [key])
    requests = f"{reverse('requests', args=[request.tenant.slug])}?range=30d&key_id={key.id}"
    context = {**_frame(request), "line": line, "graces": GRACES, "fault": fault, "requests_url": requests}
    return render(request, "gateway/key.html", context, status=422 if fault else 200)


def _form(
    request: TenantRequest,
    values: Mapping[str, Any],
    faults: Mapping[str, str] | None = None,
    *,
    key: ApiKey | None = None,
) -> HttpResponse:
    context = {
        **_frame(request),
        "values": values,
        "faults": faults or {},
        "key": key,
        "groups": scope_groups(request.scopes, values["scopes"]),
    }
    return render(request, "gateway/key_form.html", context, status=422 if faults else 200)


def _revealed(request: TenantRequest, key: ApiKey, secret: str, *, waits: bool) -> HttpResponse:
    context = {
        **_frame(request),
        "key": key,
        "secret": secret,
        "snippets": snippets(request.build_absolute_uri("/v1"), secret, served_model(request.tenant)),
        "waits": waits and bool({"completions:write", "embeddings:write"} & set(key.scopes)),
        "waiting": True,
    }
    return render(request, "gateway/key_revealed.html", context)


def _first(tenant: Tenant, key: ApiKey) -> dict[str, Any]:
    search = Search(key.created_at - timedelta(seconds=5), columns=(("key_id", key.id),))
    found = find(tenant, search, limit=1, budget=_FIRST_BUDGET).rows
    late = timezone.now() - key.created_at > WAIT
    return {"key": key, "first": found[0] if found else None, "waiting": not found and not late}
