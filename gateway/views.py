"""Overview: what is wrong, how the traffic goes, and what its last requests came to."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, Tenant
from accounts.pages import TenantRequest, tenant_page
from billing.models import TenantDailySpend
from console.charts import Marker
from console.formats import thousands, usd
from console.time_range import PRESETS, TimeRange
from gateway.board import Board, circuit_board
from gateway.examples import curl
from gateway.models import CircuitEvent, Provider, RequestLog
from gateway.overview_figures import MEASURES, Figure, chart, figures
from gateway.request_lines import lines_of, names_of
from gateway.request_pages import span_of
from gateway.request_search import LOOK_BACK, Search
from gateway.traffic import BUDGET, by_provider, covered, how_many, traffic
from nexus.htmx import fragment, page

LAST_REQUESTS = 8
MOST_STRIPS = 3
MOST_MARKERS = 4
NOW = timedelta(minutes=5)  # what "now" means beside a circuit


@tenant_page({"GET": "analytics:read"})
def overview(request: TenantRequest) -> HttpResponse:
    """Show the overview, or to htmx its circuits alone, which it asks for every 30 s."""
    providers = Provider.objects.for_tenant(request.tenant).order_by("-weight", "name", "id")
    board = circuit_board(request.tenant, providers)
    open_circuits = [each for each in board.circuits if each.state == "open" and each.provider.enabled]
    context = {
        "circuits": _circuits(request.tenant, board),
        "backend": board.backend,
        "open_circuits": open_circuits[:MOST_STRIPS],
        "more_open": max(len(open_circuits) - MOST_STRIPS, 0),
        "slug": request.tenant.slug,
    }
    partial = fragment(request, "circuits")
    if not partial:
        context |= _page(request, board)
    return page(request, "gateway/overview.html", context, partial=partial)


def _circuits(tenant: Tenant, board: Board) -> list[dict[str, Any]]:
    """Return the circuits, each with its share of the present traffic. One query."""
    now = by_provider(tenant, timezone.now() - NOW) if board.circuits else {}
    whole = sum(sums.requests for sums in now.values())
    lines = []
    for circuit in board.circuits:
        sums = now.get(circuit.provider.id)
        share = f"{100 * sums.requests / whole:.0f}% now" if sums else "0% now" if whole else "idle"
        lines.append({"circuit": circuit, "p95_ms": sums.p95_ms if sums else None, "share": share})
    return lines


def _page(request: TenantRequest, board: Board) -> dict[str, object]:
    """Return what the whole page shows beside the circuits. Nine queries at most."""
    tenant, zone = request.tenant, timezone.get_current_timezone()
    asked = span_of(request)
    search = Search(asked.since, None if asked.preset else asked.until)
    rows = list(
        RequestLog.objects.for_tenant(tenant).filter(search.by_index).order_by("-created_at", "-id")[:LAST_REQUESTS]
    )
    context: dict[str, object] = {
        "range": asked,
        "range_label": asked.label(zone),
        "presets": PRESETS,
        "sees_keys": "keys:read" in request.scopes,
    }
    if not rows:
        return context | {"rows": []} | _first_steps(request, board)
    names = names_of(tenant, rows, keys="keys:read" in request.scopes)
    span = covered(tenant, search, asked)
    seen = traffic(tenant, search, span)
    measure = request.GET.get("measure", "requests")
    measure = measure if measure in MEASURES else "requests"
    list_url = f"{reverse('requests', args=[tenant.slug])}?{asked.query}"
    shown = chart(seen, span, names.providers, measure, markers=_markers(tenant, board, span), zone=zone)
    before = _before(tenant, asked) if span is asked else None
    return context | {
        "rows": lines_of(rows, names),
        "figures": [*figures(seen, span, whole_range=span is asked, before=before, list_url=list_url), _spend(tenant)],
        "chart": shown,
        "measures": [(key, word, key == measure) for key, word in MEASURES.items()],
        "since": None if span is asked else span.since,
        "budget": BUDGET,
    }


def _before(tenant: Tenant, span: TimeRange) -> int | None:
    """Count the requests of the time before a range; None where there are too many, or no log goes back so far."""
    earlier = span.before
    if earlier.since < timezone.now() - LOOK_BACK:
        return None
    return how_many(tenant, Search(earlier.since, earlier.until))


def _markers(tenant: Tenant, board: Board, span: TimeRange) -> list[Marker]:
    """Return when circuits opened, the newest few. One query."""
    listed = [each.provider.id for each in board.circuits]
    opened = CircuitEvent.objects.for_tenant(tenant).filter(
        provider_id__in=listed, to_state="open", created_at__gte=span.since, created_at__lt=span.until
    )
    return [
        Marker(event.created_at, f"{timezone.localtime(event.created_at):%H:%M} circuit opened")
        for event in opened.order_by("-created_at", "-id")[:MOST_MARKERS]
    ]


def _spend(tenant: Tenant) -> Figure:
    """Return what the month has cost so far, by the daily rollup, and what it comes to at that pace. One query."""
    now = datetime.now(UTC)
    month = TenantDailySpend.objects.for_tenant(tenant).filter(day__gte=now.date().replace(day=1))
    sums = month.aggregate(cost=Sum("cost_usd", default=Decimal(0)), unpriced=Sum("unpriced_requests", default=0))
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    share = Decimal((now - first).total_seconds()) / Decimal((following - first).total_seconds())
    note = f"at this pace {usd(sums['cost'] / share)}" if now - first > timedelta(days=1) else "so far"
    if sums["unpriced"]:
        note = f"without {thousands(sums['unpriced'])} requests that have no price"
    dollars, _, cents = usd(sums["cost"]).partition(".")
    return Figure(f"Spend, {now:%B}", dollars, f".{cents}", note=note)


def _first_steps(request: TenantRequest, board: Board) -> dict[str, object]:
    """Return what an empty list of requests needs to say how to begin. Four queries at most."""
    tenant = request.tenant
    since = timezone.now() - LOOK_BACK
    ever = RequestLog.objects.for_tenant(tenant).filter(created_at__gte=since).exists()
    if ever:
        return {"ever": True}
    keys = ApiKey.objects.for_tenant(tenant).filter(revoked_at=None)
    return {
        "ever": False,
        "example": curl(request, tenant),
        "has_provider": bool(board.circuits),
        "has_key": keys.exists(),
        "writes_providers": "providers:write" in request.scopes,
        "writes_keys": "keys:write" in request.scopes,
    }
