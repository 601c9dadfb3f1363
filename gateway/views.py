"""Overview: how the tenant's providers are, and what its last requests came to."""

from django.http import HttpResponse
from django.utils import timezone

from accounts.models import Tenant
from accounts.pages import TenantRequest, tenant_page
from console.time_range import PRESETS, TimeRange
from gateway.board import Board, circuit_board
from gateway.examples import curl
from gateway.models import Provider, RequestLog
from gateway.request_lines import Names, RequestLine, lines_of
from gateway.request_pages import span_of
from gateway.request_search import LOOK_BACK
from nexus.htmx import fragment, page

LAST_REQUESTS = 25
MOST_STRIPS = 3


@tenant_page({"GET": "analytics:read"})
def overview(request: TenantRequest) -> HttpResponse:
    """Show the overview, or to htmx its circuits alone, which it asks for every 30 s."""
    providers = Provider.objects.for_tenant(request.tenant).order_by("-weight", "name", "id")
    board = circuit_board(request.tenant, providers)
    open_circuits = [each for each in board.circuits if each.state == "open" and each.provider.enabled]
    context = {
        "board": board,
        "open_circuits": open_circuits[:MOST_STRIPS],
        "more_open": max(len(open_circuits) - MOST_STRIPS, 0),
        "slug": request.tenant.slug,
    }
    partial = fragment(request, "circuits")
    if not partial:
        context |= _page(request, board)
    return page(request, "gateway/overview.html", context, partial=partial)


def _page(request: TenantRequest, board: Board) -> dict[str, object]:
    """Return what the whole page shows beside the circuits. Three queries at most."""
    span = span_of(request)
    requests = _last_requests(request.tenant, span, board)
    return {
        "range": span,
        "range_label": span.label(timezone.get_current_timezone()),
        "presets": PRESETS,
        "rows": requests,
        **({} if requests else _first_steps(request)),
    }


def _first_steps(request: TenantRequest) -> dict[str, object]:
    """Return what an empty list of requests needs to say how to begin."""
    since = timezone.now() - LOOK_BACK
    ever = RequestLog.objects.for_tenant(request.tenant).filter(created_at__gte=since).exists()
    return {"ever": ever, "example": curl(request, request.tenant)}


def _last_requests(tenant: Tenant, span: TimeRange, board: Board) -> list[RequestLine]:
    rows = RequestLog.objects.for_tenant(tenant).filter(created_at__gte=span.since, created_at__lt=span.until)
    names = Names({str(each.provider.id): each.provider.name for each in board.circuits}, {})
    return lines_of(list(rows.order_by("-created_at", "-id")[:LAST_REQUESTS]), names)
