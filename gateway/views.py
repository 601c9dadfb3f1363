"""The signed-in home page: how the tenant's providers are, and what its last requests came to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.middleware import choose_tenant
from accounts.models import Membership, Tenant, User
from gateway.api_requests import LOOK_BACK, attempts_text
from gateway.board import circuit_board
from gateway.models import ModelRoute, Provider, RequestLog
from nexus.errors import NotFound

LAST_REQUESTS = 25
_EXAMPLE_MODEL = "gpt-4o-mini"
_TONES = {2: "good", 4: "warning", 5: "bad"}  # by the hundreds of a status


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request as the page shows it."""

    row: RequestLog
    attempts: tuple[str, ...]
    tone: str
    cost: str


@require_safe
@never_cache
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show the home page, or its circuits alone to htmx, which asks for them every 30 s."""
    if "tenant" in request.GET:
        return _switch(request)
    membership = cast("Membership | None", getattr(request, "membership", None))
    if not membership:
        return render(request, "gateway/no_tenant.html", {"email": cast("User", request.user).email})
    board = circuit_board(
        membership.tenant, Provider.objects.for_tenant(membership.tenant).order_by("-weight", "name", "id")
    )
    context = {"board": board, "tenant": membership.tenant}
    template = "gateway/home.html#circuits"
    if not getattr(request, "htmx", False):
        template = "gateway/home.html"
        context |= _page(request, membership)
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _switch(request: HttpRequest) -> HttpResponse:
    try:
        choose_tenant(request, request.GET["tenant"])
    except NotFound as error:
        raise Http404 from error
    return redirect("home")


def _page(request: HttpRequest, membership: Membership) -> dict[str, object]:
    """Return what the whole page shows beside the circuits. Three queries."""
    tenant = membership.tenant
    mine = Membership.objects.filter(user=membership.user_id).select_related("tenant").order_by("tenant__slug")
    return {
        "role": membership.role,
        "memberships": list(mine),
        "requests": _last_requests(tenant),
        "endpoint": request.build_absolute_uri("/v1/chat/completions"),
        "model": _served_model(tenant),
    }


def _last_requests(tenant: Tenant) -> list[RequestLine]:
    rows = RequestLog.objects.for_tenant(tenant).filter(created_at__gte=timezone.now() - LOOK_BACK)
    return list(_lines(rows.order_by("-created_at", "-id")[:LAST_REQUESTS]))


def _lines(rows: Iterable[RequestLog]) -> Iterable[RequestLine]:
    for row in rows:
        yield RequestLine(
            row=row,
            attempts=tuple(attempts_text(row).split(";")) if row.attempts else (),
            tone=_TONES.get(row.status // 100, "bad"),
            cost=_cost(row),
        )


def _cost(row: RequestLog) -> str:
    """Return the cost in words: a gap is shown as one, never as zero."""
    if row.cost_usd is not None:
        return f"${row.cost_usd:.6f}"
    return "no price" if row.unpriced else ""


def _served_model(tenant: Tenant) -> str:
    """Return a model that the example can ask for and get."""
    names = ModelRoute.objects.for_tenant(tenant).filter(provider__enabled=True).values_list("public_name", flat=True)
    chat = names.exclude(public_name__contains="embedding").order_by("public_name", "id")
    return chat.filter(public_name=_EXAMPLE_MODEL).first() or chat.first() or _EXAMPLE_MODEL
