"""The audit log: who did what, searched by filters that live in the URL, each row with what it changed."""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import AuditEvent, AuditLink, Tenant
from accounts.pages import TenantRequest, tenant_page
from console.time_range import PRESETS, TimeRange, parse
from nexus.errors import NotFound
from nexus.htmx import fragment, page
from nexus.queries import with_changes
from nexus.rest import Place
from nexus.spreadsheets import safe_cell

PAGE = 50  # rows
EXPORT = 10_000  # rows
KEPT = timedelta(days=36_500)  # the log is never shortened
AREAS: Mapping[str, str] = {
    "user": "Signing in",
    "member": "Members",
    "key": "API keys",
    "provider": "Providers",
    "circuit": "Circuits",
    "prompt": "Prompts",
    "policy": "Policies",
    "settings": "Settings",
    "tenant": "Tenant",
}
_COLUMNS = (
    "time",
    "actor_kind",
    "actor",
    "action",
    "target_kind",
    "target_id",
    "target",
    "changes",
    "ip",
    "request_id",
)


@tenant_page({"GET": "audit:read"})
def audit_list(request: TenantRequest) -> HttpResponse:
    """Show a page of the log; as CSV the newest that match."""
    span = _span(request)
    given = {name: request.GET.get(name, "").strip() for name in ("area", "actor", "target")}
    events = matching(request.tenant, given, span)
    if request.GET.get("format") == "csv":
        return _csv(events)
    place = Place.read(request.GET["cursor"]) if request.GET.get("cursor") else None
    rows = list((events.filter(place.older) if place else events)[: PAGE + 1])
    further = Place.of(rows[PAGE - 1]) if len(rows) > PAGE else None
    context = {
        "slug": request.tenant.slug,
        "rows": rows[:PAGE],
        "given": given,
        "filtered": any(given.values()),
        "areas": AREAS,
        "range": span,
        "range_label": span.label(timezone.get_current_timezone()),
        "presets": PRESETS,
        "next_url": with_changes(request.GET, cursor=further.cursor, open=None) if further else "",
        "first_url": with_changes(request.GET, cursor=None, open=None) if place else "",
        "csv_url": with_changes(request.GET, format="csv", cursor=None, open=None),
        "list_query": with_changes(request.GET, open=None, format=None),
        "clear_url": with_changes(request.GET, **dict.fromkeys(("area", "actor", "target", "cursor", "open"))),
        "times": [(name, request.GET[name]) for name in ("range", "from", "to") if name in request.GET],
    }
    if opened := _identifier(request.GET.get("open", "")):
        context |= _one(request, opened)
    return page(request, "accounts/audit.html", context)


@tenant_page({"GET": "audit:read"})
def audit_detail(request: TenantRequest, event_id: UUID) -> HttpResponse:
    """Show one row: in the list's drawer to htmx, else as a page."""
    context = {"slug": request.tenant.slug, "list_query": with_changes(request.GET), **_one(request, event_id)}
    return page(request, "accounts/audit_event.html", context, partial=fragment(request, "drawer-content"))


def matching(tenant: Tenant, given: Mapping[str, str], span: TimeRange) -> QuerySet[AuditEvent]:
    """Return a tenant's rows in the order of the log, newest first."""
    events: QuerySet[AuditEvent] = AuditEvent.objects.for_tenant(tenant).filter(created_at__gte=span.since)
    if not span.preset:
        events = events.filter(created_at__lt=span.until)
    if given["area"]:
        events = events.filter(action__startswith=f"{given['area']}.")
    if given["actor"]:
        events = events.filter(actor_label__icontains=given["actor"])
    if given["target"]:
        events = events.filter(Q(target_label__icontains=given["target"]) | Q(target_id=given["target"]))
    return events.order_by("-created_at", "-id")


def _span(request: HttpRequest) -> TimeRange:
    zone = timezone.get_current_timezone()
    return parse(request.GET, now=timezone.now(), kept=KEPT, zone=zone, default="30d")


def _one(request: TenantRequest, event_id: UUID) -> dict[str, Any]:
    """Return what a row's drawer and page show. Two queries."""
    event = AuditEvent.objects.for_tenant(request.tenant).filter(id=event_id).first()
    if event is None:
        raise NotFound("There is no such row in the log of your tenant.")
    link = AuditLink.objects.filter(tenant=request.tenant, event_id=event_id).first()
    return {"event": event, "changes": list(_changes(event)), "link": link}


def _changes(event: AuditEvent) -> Iterator[tuple[str, Any, Any]]:
    for name, pair in event.changes.items():
        before, after = pair if isinstance(pair, list) and len(pair) == 2 else (None, pair)
        yield name, before, after


def _csv(events: QuerySet[AuditEvent]) -> HttpResponse:
    """Return the newest rows as a file that a spreadsheet opens without running anything of it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for each in events[:EXPORT]:
        writer.writerow(map(safe_cell, (
            each.created_at.isoformat(), each.actor_kind, each.actor_label, each.action, each.target_kind,
            each.target_id, each.target_label, each.changes or "", each.ip or "", each.request_id or "",
        )))  # fmt: skip
    headers = {"content-disposition": 'attachment; filename="audit.csv"', "cache-control": "no-store"}
    return HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
