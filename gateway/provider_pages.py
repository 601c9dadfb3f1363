"""Providers: connections, how they are, and what admins do to them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts.forms import actor_of, fault_of, faults_of
from accounts.models import Tenant
from accounts.pages import TenantRequest, tenant_page
from console.small_charts import Strip, state_strip
from gateway.api_providers import NewProvider, ProviderChange, find_provider
from gateway.board import circuit_board
from gateway.circuit import FAILURE_THRESHOLD, OPEN_SECONDS, PROBE_SUCCESSES, Status
from gateway.models import CircuitEvent, ModelRoute, Provider
from gateway.probe import probe
from gateway.provider_forms import families, given, initial, presets, words_of
from gateway.services import (
    MOST_REASON,
    ProviderFields,
    create_provider,
    delete_provider,
    force_circuit,
    update_provider,
)
from gateway.traffic import Attempts, attempts_by_provider
from nexus.errors import NexusError, NotFound
from nexus.htmx import fragment, page
from nexus.tenancy import told

LATELY = timedelta(hours=1)
_DAY = timedelta(hours=24)
_MOST_EVENTS = 200
_SHOWN_EVENTS = 12
_RULE = {"failures": FAILURE_THRESHOLD, "seconds": OPEN_SECONDS, "probes": PROBE_SUCCESSES}


@tenant_page({"GET": "analytics:read"})
def provider_list(request: TenantRequest) -> HttpResponse:
    """Show all connections; to htmx the table alone, which it asks for every 30 s with three queries."""
    board = circuit_board(request.tenant, Provider.objects.for_tenant(request.tenant).order_by("-weight", "name", "id"))
    attempts = attempts_by_provider(request.tenant, timezone.now() - LATELY)
    heaviest = max((each.provider.weight for each in board.circuits), default=0) or 1
    lines = [
        {
            "circuit": circuit,
            "family": words_of(circuit.provider).partition(" (")[0],
            "lately": attempts.get(str(circuit.provider.id), Attempts()),
            "share": round(100 * circuit.provider.weight / heaviest),
        }
        for circuit in board.circuits
    ]
    context = {"lines": lines, "backend": board.backend, **_frame(request)}
    return page(request, "gateway/providers.html", context, partial=fragment(request, "provider-table"))


@tenant_page({"GET": "providers:write", "POST": "providers:write"})
def provider_new(request: TenantRequest) -> HttpResponse:
    """Connect a provider."""
    if request.method != "POST":
        return _form(request, initial(None, {}))
    body = {**given(request.POST, {}), "family": request.POST.get("family", "")}
    reader = NewProvider(data=body)
    if not reader.is_valid():
        return _form(request, _posted(request), faults_of(reader))
    fields: ProviderFields = reader.validated_data
    family: str = reader.validated_data.pop("family")
    try:
        provider = create_provider(request.tenant, actor=actor_of(request), family=family, **fields)
    except NexusError as error:
        return _form(request, _posted(request), fault_of(error))
    messages.success(request, f"{provider.name} is connected. Test it before traffic does.")
    return _to(request, provider.id)


@tenant_page({"GET": "analytics:read"})
def provider_detail(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    """Show a connection: its circuit over the last day, how it answers, its models, and what may be done."""
    return render(request, "gateway/provider.html", _detail(request, provider_id))


@tenant_page({"GET": "providers:write", "POST": "providers:write"})
def provider_edit(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    """Change a connection."""
    provider = find_provider(request.tenant, provider_id)
    if request.method != "POST":
        return _form(request, initial(provider, _models(request.tenant, provider)), provider=provider)
    reader = ProviderChange(data=given(request.POST, provider.options), partial=True)
    if not reader.is_valid():
        return _form(request, _posted(request), faults_of(reader), provider=provider)
    fields: ProviderFields = reader.validated_data
    try:
        updated = update_provider(provider_id, request.tenant, actor=actor_of(request), **fields)
    except NexusError as error:
        return _form(request, _posted(request), fault_of(error), provider=provider)
    messages.success(request, f"{updated.provider.name} is saved.")
    for warning in updated.warnings:
        messages.warning(request, warning)
    return _to(request, provider_id)


@tenant_page({"POST": "providers:write"})
def provider_switch(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    """Let a connection take traffic, or not."""
    enabled = request.POST.get("enabled") == "1"
    provider = update_provider(provider_id, request.tenant, actor=actor_of(request), enabled=enabled).provider
    messages.success(request, f"{provider.name} {'takes' if enabled else 'no longer takes'} traffic.")
    return _to(request, provider_id)


@tenant_page({"POST": "providers:write"})
def provider_circuit(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    """Open or close a circuit by hand, for a reason."""
    to = Status.OPEN if request.POST.get("state") == Status.OPEN else Status.CLOSED
    reason = request.POST.get("reason", "")
    try:
        provider = force_circuit(provider_id, request.tenant, actor=actor_of(request), to=to, reason=reason)
    except NotFound:
        raise
    except NexusError as error:
        context = {**_detail(request, provider_id), "fault": error.message}
        return render(request, "gateway/provider.html", context, status=503 if error.status == 503 else 422)
    messages.success(request, f"The circuit of {provider.name} is {to}.")
    return _to(request, provider_id)


@tenant_page({"POST": "providers:write"})
def provider_test(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    """Call a provider, and say beside the button what came of it; without htmx as a message on the page."""
    with told():
        provider = find_provider(request.tenant, provider_id)
    result = async_to_sync(probe)(provider)
    if request.htmx:
        return render(request, "gateway/provider_tested.html", {"result": result, "provider": provider})
    if result.ok:
        took = " and took the key" if provider.api_key_sealed else ", without a key"
        messages.success(request, f"{provider.name} answered in {result.latency_ms} ms{took}.")
    else:
        messages.warning(request, f"{provider.name}: {result.error}")
    return _to(request, provider_id)


provider_test.in_one_transaction = False  # type: ignore[attr-defined]  # no connection waits for somebody else's server


@tenant_page({"POST": "providers:write"})
def provider_delete(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    """Disconnect a provider."""
    name = find_provider(request.tenant, provider_id).name
    delete_provider(provider_id, request.tenant, actor=actor_of(request))
    messages.success(request, f"{name} is disconnected. Its requests stay in the log.")
    return redirect("providers", request.tenant.slug)


def _frame(request: TenantRequest) -> dict[str, Any]:
    return {
        "slug": request.tenant.slug,
        "may_write": "providers:write" in request.scopes,
        "may_read": "providers:read" in request.scopes,
        "rule": _RULE,
    }


def _to(request: TenantRequest, provider_id: UUID) -> HttpResponse:
    response = redirect("provider", request.tenant.slug, provider_id)
    response.status_code = 303
    return response


def _posted(request: TenantRequest) -> dict[str, Any]:
    """Return what the form shows again: all that was typed, but for the key."""
    return {name: value for name, value in request.POST.items() if name not in ("api_key", "csrfmiddlewaretoken")}


def _form(
    request: TenantRequest,
    values: Mapping[str, Any],
    faults: Mapping[str, str] | None = None,
    *,
    provider: Provider | None = None,
) -> HttpResponse:
    context = {
        "values": values,
        "faults": faults or {},
        "provider": provider,
        "families": families(),
        "presets": presets(),
        **_frame(request),
    }
    return render(request, "gateway/provider_form.html", context, status=422 if faults else 200)


def _models(tenant: Tenant, provider: Provider) -> dict[str, str]:
    routes = ModelRoute.objects.for_tenant(tenant).filter(provider=provider).order_by("public_name")
    return dict(routes.values_list("public_name", "upstream_name"))


def _detail(request: TenantRequest, provider_id: UUID) -> dict[str, Any]:
    """Return what is told of a connection. Five queries."""
    provider = find_provider(request.tenant, provider_id)
    now = timezone.now()
    (circuit,) = circuit_board(request.tenant, [provider]).circuits
    events = CircuitEvent.objects.for_tenant(request.tenant).filter(provider_id=provider.id, created_at__gte=now - _DAY)
    recent = list(events.order_by("-created_at", "-id")[:_MOST_EVENTS])
    return {
        "provider": provider,
        "family": words_of(provider),
        "circuit": circuit,
        "strip": _strip(recent, circuit.state, now),
        "events": recent[:_SHOWN_EVENTS],
        "more_events": max(len(recent) - _SHOWN_EVENTS, 0),
        "lately": attempts_by_provider(request.tenant, now - LATELY).get(str(provider.id), Attempts()),
        "models": _models(request.tenant, provider),
        "most_reason": MOST_REASON,
        **_frame(request),
    }


def _strip(recent: list[CircuitEvent], state: str, now: datetime) -> Strip:
    """Return the states of the last day; the first one is what its first event came from."""
    changes = [(event.created_at, event.to_state) for event in reversed(recent)]
    begin = recent[-1].from_state if recent else state
    opened = sum(1 for event in recent if event.to_state == Status.OPEN)
    summary = (
        f"Opened {opened} time{'' if opened == 1 else 's'} in 24 hours"
        if recent
        else f"{state.replace('_', '-').capitalize()} for 24 hours"
    )
    return state_strip([(now - _DAY, begin), *changes], since=now - _DAY, until=now, summary=summary)
