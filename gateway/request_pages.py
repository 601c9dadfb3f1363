"""Requests: what came through the gateway, searched by filters that live in the URL, each in a drawer or as a page."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from accounts.models import Tenant
from accounts.pages import TenantRequest, tenant_page
from console.charts import Frame, Series, histogram
from console.formats import thousands
from console.palette import Item
from console.time_range import PRESETS, TimeRange, parse
from gateway.api_requests import attempts_text, csv_response, find_request
from gateway.examples import curl
from gateway.models import RequestLog
from gateway.request_filters import changed, chips, read
from gateway.request_lines import attempts_of, ending_of, lines_of, names_of, provider_names
from gateway.request_search import BUDGET, LOOK_BACK, Search, find, just_newer, newer_than
from gateway.traffic import BUDGET as COUNTED
from gateway.traffic import Counts, count_requests, covered
from nexus.errors import NotFound
from nexus.htmx import fragment, page
from nexus.ids import time_of
from nexus.queries import with_changes
from nexus.rest import Place

PAGE = 40  # rows: with what is beside them, fewer than 1,500 elements
NEIGHBOURS_BUDGET = 2_000  # rows that are looked through for the request before and after one


@tenant_page({"GET": "analytics:read"})
def request_list(request: TenantRequest) -> HttpResponseBase:
    """Show a page of requests; as CSV all that match; to a live page's poll those that came since its first row."""
    filters = read(request.GET)
    span = span_of(request)
    search = filters.search(span, now=timezone.now())
    if request.GET.get("format") == "csv":
        return csv_response(request, request.tenant, search)
    if fragment(request, "rows") and "after" in request.GET:
        return _arrived(request, search)
    place = Place.read(request.GET["cursor"]) if request.GET.get("cursor") else None
    asked = request.GET.get("q", "").strip()
    providers = provider_names(request.tenant)
    context = {
        **_frame(request),
        **_rows(request, search, place, asked, providers),
        "range": span,
        "range_label": span.label(timezone.get_current_timezone()),
        "presets": PRESETS,
        "filters": filters,
        "chips": list(chips(request.tenant, filters, request.GET, keys=_sees_keys(request), providers=providers)),
        "asked": asked,
        "live": _may_be_live(span, place, asked) and request.GET.get("live") == "1",
        "page_size": PAGE,
        "may_be_live": _may_be_live(span, place, asked),
        "csv_query": changed(request.GET, format="csv", live=None),
        "live_query": changed(request.GET, live=None if request.GET.get("live") == "1" else "1"),
        "clear_query": changed(request.GET, **dict.fromkeys((*filters.given, "q", "status_class"), None)),
        "hidden": [(name, value) for name, value in request.GET.items() if name not in ("q", "cursor", "open")],
    }
    if place is None and not asked:
        context["chart"] = _histogram(request, search, span)
    if context["rows"] == [] and not filters.any and not asked:
        context |= _first_steps(request)
    if opened := request.GET.get("open"):
        context |= _drawer(request, _identifier(opened), search, providers)
    return page(request, "gateway/requests.html", context)


@tenant_page({"GET": "analytics:read"})
def request_detail(request: TenantRequest, request_id: UUID) -> HttpResponse:
    """Show one request: in the list's drawer to htmx, else as a page. The query is the list's that it is in."""
    search = read(request.GET).search(span_of(request), now=timezone.now())
    context = _frame(request) | _drawer(request, request_id, search)
    return page(request, "gateway/request.html", context, partial=fragment(request, "drawer-content"))


def span_of(request: HttpRequest, *, default: str = "24h") -> TimeRange:
    """Return the time range of a page over the request log."""
    kept = min(LOOK_BACK, timedelta(days=settings.NEXUS_LOG_RETENTION_DAYS))
    zone = timezone.get_current_timezone()
    return parse(request.GET, now=timezone.now(), kept=kept, zone=zone, default=default)


def find_requests(request: TenantRequest, text: str) -> list[Item]:
    """Find a request by its id, for the palette."""
    identifier = _identifier(text)
    if identifier is None or "analytics:read" not in request.scopes:
        return []
    try:
        row = find_request(request.tenant, identifier)
    except NotFound:
        return []
    url = reverse("request", args=[request.tenant.slug, row.id])
    return [Item(f"Request {str(row.id)[:13]}…", url, "scroll-text", hint=f"{row.status} {row.model or ''}")]


def _frame(request: TenantRequest) -> dict[str, Any]:
    return {
        "slug": request.tenant.slug,
        "list_query": changed(request.GET, format=None),
        "sees_keys": _sees_keys(request),
    }


def _sees_keys(request: TenantRequest) -> bool:
    return "keys:read" in request.scopes


def _may_be_live(span: TimeRange, place: Place | None, asked: str) -> bool:
    return bool(span.preset) and place is None and not asked


def _rows(
    request: TenantRequest, search: Search, place: Place | None, asked: str, providers: Mapping[str, str]
) -> dict[str, Any]:
    """Return the page's rows, and where the next one begins. Three queries at most."""
    if asked:
        rows, further, reached = _by_id(request.tenant, asked), None, None
    else:
        found = find(request.tenant, search, limit=PAGE, after=place)
        rows, further, reached = found.rows, found.further, found.reached
    names = names_of(request.tenant, rows, keys=_sees_keys(request), providers=providers)
    return {
        "rows": lines_of(rows, names),
        "next_url": with_changes(request.GET, open=None, live=None, cursor=further.cursor) if further else "",
        "first_url": changed(request.GET) if place else "",
        "reached": reached,
        "budget": BUDGET,
    }


def _by_id(tenant: Tenant, text: str) -> list[RequestLog]:
    identifier = _identifier(text)
    if identifier is None:
        return []
    try:
        return [find_request(tenant, identifier)]
    except NotFound:
        return []


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def _arrived(request: TenantRequest, search: Search) -> HttpResponse:
    """Answer a live page's poll: the rows after its first one. Three queries.

    Where a whole page has come since then it replaces what is shown, or there would be a gap.
    """
    first = _identifier(request.GET["after"])
    place = Place(time_of(first), first) if first and first.version == 7 else Place(search.since, UUID(int=0))
    rows = newer_than(request.tenant, search, place, limit=PAGE)
    names = names_of(request.tenant, rows, keys=_sees_keys(request)) if rows else None
    plain = bool(request.GET.get("plain"))  # for Overview, whose rows lead here
    context = {**_frame(request), "rows": lines_of(rows, names) if names else [], "plain": plain}
    response = page(request, "gateway/request_rows.html", context)
    if len(rows) == PAGE:
        response["HX-Reswap"] = "innerHTML"
    return response


def _histogram(request: TenantRequest, search: Search, asked: TimeRange) -> dict[str, Any]:
    """Return the counts over the range, or over the part of it for which they can be had. Two queries."""
    span = covered(request.tenant, search, asked)
    counts = count_requests(request.tenant, search, span)
    links = [
        changed(request.GET, range=None, live=None, **{"from": _iso(start), "to": _iso(start + span.bucket)})
        for start in span.buckets
    ]
    frame = Frame(span.buckets, span.bucket, zone=timezone.get_current_timezone(), height=56, whole=True, links=links)
    series = [
        Series("Answered", [counts.answered.get(each, 0) for each in span.buckets], 1),
        Series("Failed", [counts.failed.get(each, 0) for each in span.buckets], "bad"),
    ]
    made = histogram(frame, series, title="Requests over time", summary=_summary(counts))
    return {"drawn": made, "total": counts.total, "since": None if span is asked else span.since, "budget": COUNTED}


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _summary(counts: Counts) -> str:
    return f"{thousands(counts.total)} requests, {thousands(sum(counts.failed.values()))} of them failed"


def _first_steps(request: TenantRequest) -> dict[str, Any]:
    """Return what an empty list needs to say how to begin. Three queries at most."""
    since = timezone.now() - LOOK_BACK
    ever = RequestLog.objects.for_tenant(request.tenant).filter(created_at__gte=since).exists()
    return {"ever": ever, "example": "" if ever else curl(request, request.tenant)}


def _drawer(
    request: TenantRequest, request_id: UUID | None, search: Search, providers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what is told of one request. Raises NotFound. Five queries at most."""
    if request_id is None:
        raise NotFound("There is no such request.")
    row = find_request(request.tenant, request_id)
    names = names_of(request.tenant, [row], keys=_sees_keys(request), providers=providers)
    place = Place.of(row)
    newer = just_newer(request.tenant, search, place, budget=NEIGHBOURS_BUDGET)
    older = next(iter(find(request.tenant, search, limit=1, after=place, budget=NEIGHBOURS_BUDGET).rows), None)
    return {
        "opened": lines_of([row], names)[0],
        "attempts": attempts_of(row, names),
        "ending": ending_of(row),
        "plan": (row.decision or {}).get("plan"),
        "headers": _headers(row),
        "curl": curl(request, request.tenant, model=row.model, endpoint=row.endpoint, streamed=row.streamed),
        "newer": newer,
        "older": older,
        "list_url": reverse("requests", args=[request.tenant.slug]) + changed(request.GET),
    }


def _headers(row: RequestLog) -> Mapping[str, object]:
    """Return the headers by which the client was told how its request went, as far as the row knows them."""
    told = {
        "x-request-id": row.id,
        "x-nexus-provider": row.provider,
        "x-nexus-model": row.upstream_model,
        "x-nexus-attempt": len(row.attempts) or None,
        "x-nexus-route": attempts_text(row) or None,
        "x-nexus-latency-ms": row.latency_ms,
        "x-nexus-overhead-ms": row.overhead_ms,
        "x-nexus-simulated": "true" if row.simulated else None,
    }
    return {name: value for name, value in told.items() if value is not None}
