"""Provider connections and their circuits over REST. A key goes in and never comes out."""

from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import Principal
from accounts.models import Tenant
from gateway.board import ProviderCircuit, circuit_board
from gateway.circuit import Status
from gateway.models import NAME, Provider
from gateway.probe import probe
from gateway.provider_rules import MAX_BASE_URL, MAX_KEY
from gateway.serializers import (
    ChangedProviderSerializer,
    CircuitListSerializer,
    CircuitSerializer,
    ProviderSerializer,
    ProviderTestSerializer,
)
from gateway.services import MOST_REASON, create_provider, delete_provider, force_circuit, update_provider
from nexus.errors import NotFound
from nexus.openapi import page_of
from nexus.rest import PageQuery, StrictSerializer, paginate, parsed
from nexus.tenancy import told


class ProviderChange(StrictSerializer):
    """The fields of PATCH. The rules that depend on the family are the service's."""

    name = serializers.CharField(max_length=63, validators=[NAME])
    base_url = serializers.CharField(max_length=MAX_BASE_URL, allow_blank=True, required=False)
    api_key = serializers.CharField(max_length=MAX_KEY, allow_blank=True, required=False)
    weight = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    enabled = serializers.BooleanField(required=False)
    timeout_s = serializers.IntegerField(min_value=1, max_value=600, required=False)
    models = serializers.DictField(child=serializers.CharField(max_length=200))
    options = serializers.DictField(required=False)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "OpenAI",
            value={
                "name": "openai",
                "family": "openai",
                "api_key": "sk-your-key",
                "models": {"gpt-4o": "gpt-4o", "fast": "gpt-4o-mini"},
            },
        )
    ]
)
class NewProvider(ProviderChange):
    """The fields of POST."""

    family = serializers.CharField(max_length=32)


class ProviderList(APIView):
    scopes = {"GET": "providers:read", "POST": "providers:write"}

    @extend_schema(
        operation_id="listProviders",
        summary="List the provider connections",
        parameters=[PageQuery],
        responses=page_of(ProviderSerializer),
    )
    def get(self, request: Request) -> Response:
        """Answer a page. Three queries: the page, its models, its circuits' latest events."""
        tenant = caller_of(request).tenant
        providers = Provider.objects.for_tenant(tenant).prefetch_related("routes")
        return paginate(providers, request, lambda page: providers_json(tenant, page))

    @extend_schema(
        operation_id="createProvider",
        summary="Connect a provider",
        request=NewProvider,
        responses={201: ProviderSerializer},
    )
    def post(self, request: Request) -> Response:
        given = parsed(NewProvider, request)
        caller = caller_of(request)
        provider = create_provider(caller.tenant, actor=caller.actor, **given)
        return Response(provider_json(caller.tenant, provider), status=201)


class ProviderDetail(APIView):
    scopes = {"GET": "providers:read", "PATCH": "providers:write", "DELETE": "providers:write"}

    @extend_schema(operation_id="getProvider", summary="Show a provider connection", responses=ProviderSerializer)
    def get(self, request: Request, provider_id: UUID) -> Response:
        tenant = caller_of(request).tenant
        return Response(provider_json(tenant, find_provider(tenant, provider_id)))

    @extend_schema(
        operation_id="updateProvider",
        summary="Change a provider connection",
        request=ProviderChange,
        responses=ChangedProviderSerializer,
    )
    def patch(self, request: Request, provider_id: UUID) -> Response:
        given = parsed(ProviderChange, request, partial=True)
        caller = caller_of(request)
        updated = update_provider(provider_id, caller.tenant, actor=caller.actor, **given)
        body = provider_json(caller.tenant, updated.provider)
        return Response({**body, "warnings": list(updated.warnings)} if updated.warnings else body)

    @extend_schema(operation_id="deleteProvider", summary="Disconnect a provider", responses={204: None})
    def delete(self, request: Request, provider_id: UUID) -> Response:
        caller = caller_of(request)
        delete_provider(provider_id, caller.tenant, actor=caller.actor)
        return Response(status=204)


class ProviderTest(APIView):
    """A tiny live call, which is why it needs the right to write."""

    scopes = {"POST": "providers:write"}
    in_one_transaction = False  # no connection waits for somebody else's server

    @extend_schema(
        operation_id="testProvider",
        summary="Call a provider to see whether it answers and takes its key",
        request=None,
        responses=ProviderTestSerializer,
    )
    def post(self, request: Request, provider_id: UUID) -> Response:
        with told():
            provider = find_provider(caller_of(request).tenant, provider_id)
        result = async_to_sync(probe)(provider)
        return Response(
            {"ok": result.ok, "latency_ms": result.latency_ms, "status": result.status, "error": result.error}
        )


class CircuitChange(StrictSerializer):
    """The fields of POST …/circuit."""

    state = serializers.ChoiceField(choices=(Status.OPEN.value, Status.CLOSED.value))
    reason = serializers.CharField(
        max_length=MOST_REASON, help_text="Why, for the circuit's timeline and the audit log."
    )


class ProviderCircuitState(APIView):
    scopes = {"POST": "providers:write"}

    @extend_schema(
        operation_id="forceCircuit",
        summary="Open or close a provider's circuit by hand, in all processes",
        request=CircuitChange,
        responses=CircuitSerializer,
    )
    def post(self, request: Request, provider_id: UUID) -> Response:
        """An open circuit stays open for its ordinary time, then lets a probe through like any other."""
        caller = caller_of(request)
        find_provider(caller.tenant, provider_id)  # before the body: of another tenant's nothing is told
        given = parsed(CircuitChange, request)
        to = Status(given["state"])
        provider = force_circuit(provider_id, caller.tenant, actor=caller.actor, to=to, reason=given["reason"])
        (circuit,) = circuit_board(caller.tenant, [provider]).circuits
        return Response(circuit.as_json())


class CircuitList(APIView):
    scopes = {"GET": "analytics:read"}

    @extend_schema(
        operation_id="listCircuits",
        summary="Show the circuit of every provider connection",
        responses=CircuitListSerializer,
    )
    def get(self, request: Request) -> Response:
        """Answer all circuits at once: a tenant has tens of providers, not thousands."""
        tenant = caller_of(request).tenant
        board = circuit_board(tenant, Provider.objects.for_tenant(tenant).order_by("name", "id"))
        data = [circuit.as_json() for circuit in board.circuits]
        return Response({"data": data, "next_cursor": None, "backend": board.backend})


def caller_of(request: Request) -> Principal:
    """Return who calls; the permission class lets nobody else through."""
    assert isinstance(request.auth, Principal)
    return request.auth


def find_provider(tenant: Tenant, provider_id: UUID) -> Provider:
    """Return a tenant's provider. Raises NotFound. One query."""
    provider: Provider | None = Provider.objects.for_tenant(tenant).filter(id=provider_id).first()
    if provider is None:
        raise NotFound("There is no such provider.")
    return provider


def provider_json(tenant: Tenant, provider: Provider) -> dict[str, Any]:
    """Return a provider as the API shows it. Two queries and a round trip to Redis."""
    return providers_json(tenant, [provider])[0]


def providers_json(tenant: Tenant, providers: list[Provider]) -> list[dict[str, Any]]:
    """Return providers as the API shows them. One query and a round trip to Redis, if their routes are prefetched."""
    return [_as_json(circuit) for circuit in circuit_board(tenant, providers).circuits]


def _as_json(circuit: ProviderCircuit) -> dict[str, Any]:
    provider = circuit.provider
    routes = sorted(provider.routes.all(), key=lambda route: route.public_name)
    return {
        "id": provider.id,
        "name": provider.name,
        "family": provider.family,
        "base_url": provider.base_url,
        "api_key_last4": provider.api_key_last4,
        "weight": provider.weight,
        "enabled": provider.enabled,
        "timeout_s": provider.timeout_s,
        "models": {route.public_name: route.upstream_name for route in routes},
        "options": provider.options,
        "simulated": provider.simulated,
        "circuit": circuit.state_as_json(),
        "created_at": provider.created_at,
        "updated_at": provider.updated_at,
    }
