"""Overview: how the tenant's providers are, and what its last requests came to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import Tenant
from accounts.pages import TenantRequest, tenant_page
from console.time_range import PRESETS, TimeRange, parse
from gateway.api_requests import LOOK_BACK
from gateway.board import Board, circuit_board
from gateway.models import ModelRoute, Provider, RequestLog
from nexus.htmx import fragment, page

LAST_REQUESTS = 25
MOST_STRIPS = 3
_EXAMPLE_MODEL = "gpt-4o-mini"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate of a request's route: who it was, and what became of it."""

    provider: str
    fate: str
    last: bool


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request as the page shows it."""

    row: RequestLog
    attempts: tuple[Attempt, ...]
    took_ms: int | None
    cost: str


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
    zone = timezone.get_current_timezone()
    now = timezone.now()
    kept = min(LOOK_BACK, timedelta(days=settings.NEXUS_LOG_RETENTION_DAYS))
    span = parse(request.GET, now=now, kept=kept, zone=zone)
    requests = _last_requests(request.tenant, span)
    return {
        "range": span,
        "range_label": span.label(zone),
        "presets": PRESETS,
        "requests": requests,
        **({} if requests else _first_steps(request, board)),
    }


def _first_steps(request: HttpRequest, board: Board) -> dict[str, object]:
    """Return what an empty list of requests needs to say how to begin."""
    tenant: Tenant = request.tenant  # type: ignore[attr-defined]  # a TenantRequest
    return {
        "ever": RequestLog.objects.for_tenant(tenant).filter(created_at__gte=timezone.now() - LOOK_BACK).exists(),
        "example": _example(request.build_absolute_uri("/v1/chat/completions"), _served_model(tenant)),
    }


def _example(endpoint: str, model: str) -> str:
    return (
        f"curl {endpoint} \\\n"
        '  -H "Authorization: Bearer $NEXUS_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"""  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""
    )


def _last_requests(tenant: Tenant, span: TimeRange) -> list[RequestLine]:
    rows = RequestLog.objects.for_tenant(tenant).filter(created_at__gte=span.since, created_at__lt=span.until)
    return list(_lines(rows.order_by("-created_at", "-id")[:LAST_REQUESTS]))


def _lines(rows: Iterable[RequestLog]) -> Iterable[RequestLine]:
    for row in rows:
        attempts = row.attempts or []
        yield RequestLine(
            row=row,
            attempts=tuple(
                Attempt(each["provider"], each["fate"], last=number == len(attempts))
                for number, each in enumerate(attempts, start=1)
            ),
            took_ms=row.duration_ms if row.duration_ms is not None else row.latency_ms,
            cost=_cost(row),
        )


def _cost(row: RequestLog) -> str:
    """Return the cost in words: a gap is shown as one, never as zero."""
    if row.cost_usd is not None:
        return f"${row.cost_usd:.6f}"
    return "no price" if row.unpriced else ""


def _served_model(tenant: Tenant) -> str:
    """Return a model that the example can ask for and get. Two queries at most."""
    names = ModelRoute.objects.for_tenant(tenant).filter(provider__enabled=True).values_list("public_name", flat=True)
    chat = names.exclude(public_name__contains="embedding").order_by("public_name", "id")
    return chat.filter(public_name=_EXAMPLE_MODEL).first() or chat.first() or _EXAMPLE_MODEL
