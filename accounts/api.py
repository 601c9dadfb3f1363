"""The management API of keys, members, settings and the audit log."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services
from accounts.auth import ANY_SCOPE, caller
from accounts.models import ApiKey, AuditEvent, Membership, Role, RoutingStrategy, Tenant
from accounts.serializers import (
    AuditEventSerializer,
    IssuedKeySerializer,
    KeySerializer,
    MemberSerializer,
    SettingsSerializer,
)
from nexus.errors import NotFound
from nexus.openapi import page_of
from nexus.rest import PageQuery, StrictSerializer, paginate, parsed

MOST_GRACE_SECONDS = 7 * 24 * 3600


def _limit() -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=2_147_483_647, allow_null=True, required=False)


@extend_schema_serializer(
    examples=[OpenApiExample("For one program", value={"name": "support bot", "scopes": ["completions:write"]})]
)
class KeyInput(StrictSerializer):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.CharField(max_length=40), max_length=50)
    monthly_request_quota = _limit()
    rpm = _limit()
    tpm = _limit()
    max_concurrent = _limit()
    expires_at = serializers.DateTimeField(allow_null=True, required=False)


class RotationInput(StrictSerializer):
    grace_s = serializers.IntegerField(min_value=0, max_value=MOST_GRACE_SECONDS, default=0)


class MemberInput(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices)


class RoleInput(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices)


class SettingsInput(StrictSerializer):
    routing_strategy = serializers.ChoiceField(choices=RoutingStrategy.choices, required=False)
    max_attempts = serializers.IntegerField(min_value=1, max_value=20, required=False)
    deadline_s = serializers.IntegerField(min_value=1, max_value=600, required=False)
    log_content = serializers.BooleanField(required=False)
    gitops_secret = serializers.CharField(max_length=200, allow_blank=True, required=False)
    default_embedding = serializers.CharField(max_length=200, allow_blank=True, required=False)


class AuditFilter(PageQuery):
    """The query of GET /v1/audit."""

    action = serializers.CharField(max_length=60, required=False)
    actor = serializers.CharField(max_length=254, required=False)
    target = serializers.CharField(max_length=64, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Give `since` and `until` the names they have in the query, of which one is a word of Python's."""
        fields = super().get_fields()
        return {{"since": "from", "until": "to"}.get(name, name): field for name, field in fields.items()}


class KeyList(APIView):
    scopes = {"GET": "keys:read", "POST": "keys:write"}

    @extend_schema(
        operation_id="listKeys", summary="List the API keys", parameters=[PageQuery], responses=page_of(KeySerializer)
    )
    def get(self, request: Request) -> Response:
        keys = ApiKey.objects.for_tenant(caller(request).tenant).select_related("created_by")
        return paginate(keys, request, lambda page: [key_json(key) for key in page])

    @extend_schema(
        operation_id="createKey",
        summary="Make an API key, shown this once",
        request=KeyInput,
        responses={201: IssuedKeySerializer},
    )
    def post(self, request: Request) -> Response:
        by = caller(request)
        given = parsed(KeyInput, request)
        key, plaintext = services.issue_key(by.tenant, actor=by.actor, holder=by.person, held=by.scopes, **given)
        return Response({**key_json(key), "api_key": plaintext}, status=201, headers={"cache-control": "no-store"})


class KeyDetail(APIView):
    scopes = {"GET": "keys:read", "PATCH": "keys:write", "DELETE": "keys:write"}

    @extend_schema(operation_id="getKey", summary="Show an API key", responses=KeySerializer)
    def get(self, request: Request, key_id: UUID) -> Response:
        keys = ApiKey.objects.for_tenant(caller(request).tenant).select_related("created_by")
        key = keys.filter(id=key_id).first()
        if key is None:
            raise NotFound("There is no such key, or it is not yours.")
        return Response(key_json(key))

    @extend_schema(operation_id="updateKey", summary="Change an API key", request=KeyInput, responses=KeySerializer)
    def patch(self, request: Request, key_id: UUID) -> Response:
        by = caller(request)
        given = parsed(KeyInput, request, partial=True)
        return Response(key_json(services.update_key(key_id, by.tenant, actor=by.actor, held=by.scopes, **given)))

    @extend_schema(
        operation_id="revokeKey", summary="Revoke an API key, in every process within a second", responses={204: None}
    )
    def delete(self, request: Request, key_id: UUID) -> Response:
        by = caller(request)
        services.revoke_key(key_id, by.tenant, actor=by.actor)
        return Response(status=204)


class KeyRotation(APIView):
    """A new secret for the same key. The old one ends at once, or after `grace_s`, for programs to change over."""

    scopes = {"POST": "keys:write"}

    @extend_schema(
        operation_id="rotateKey",
        summary="Give an API key a new secret",
        request=RotationInput,
        responses=IssuedKeySerializer,
    )
    def post(self, request: Request, key_id: UUID) -> Response:
        by = caller(request)
        grace_seconds = parsed(RotationInput, request)["grace_s"]
        key, plaintext = services.rotate_key(
            key_id, by.tenant, actor=by.actor, held=by.scopes, grace_seconds=grace_seconds, now=datetime.now(UTC)
        )
        return Response({**key_json(key), "api_key": plaintext}, headers={"cache-control": "no-store"})


class MemberList(APIView):
    scopes = {"GET": "members:read", "POST": "members:write"}

    @extend_schema(
        operation_id="listMembers",
        summary="List the members",
        parameters=[PageQuery],
        responses=page_of(MemberSerializer),
    )
    def get(self, request: Request) -> Response:
        members = Membership.objects.for_tenant(caller(request).tenant).select_related("user")
        return paginate(members, request, lambda page: [member_json(member) for member in page])

    @extend_schema(
        operation_id="addMember", summary="Add a member", request=MemberInput, responses={201: MemberSerializer}
    )
    def post(self, request: Request) -> Response:
        by = caller(request)
        given = parsed(MemberInput, request)
        return Response(member_json(services.add_member(by.tenant, actor=by.actor, **given)), status=201)


class MemberDetail(APIView):
    scopes = {"PATCH": "members:write", "DELETE": "members:write"}

    @extend_schema(
        operation_id="changeRole", summary="Change a member's role", request=RoleInput, responses=MemberSerializer
    )
    def patch(self, request: Request, member_id: UUID) -> Response:
        by = caller(request)
        role = parsed(RoleInput, request, partial=True).get("role")
        return Response(member_json(services.change_role(member_id, by.tenant, role=role, actor=by.actor)))

    @extend_schema(operation_id="removeMember", summary="Remove a member", responses={204: None})
    def delete(self, request: Request, member_id: UUID) -> Response:
        by = caller(request)
        services.remove_member(member_id, by.tenant, actor=by.actor)
        return Response(status=204)


class TenantSettings(APIView):
    """Read by everybody in the tenant, written by whoever administers it."""

    scopes = {"GET": ANY_SCOPE, "PATCH": "members:write"}

    @extend_schema(operation_id="getSettings", summary="Show the tenant's settings", responses=SettingsSerializer)
    def get(self, request: Request) -> Response:
        return Response(settings_json(caller(request).tenant))

    @extend_schema(
        operation_id="updateSettings",
        summary="Change the tenant's settings",
        request=SettingsInput,
        responses=SettingsSerializer,
    )
    def patch(self, request: Request) -> Response:
        by = caller(request)
        given = parsed(SettingsInput, request, partial=True)
        return Response(settings_json(services.update_settings(by.tenant, actor=by.actor, **given)))


class AuditLog(APIView):
    scopes = {"GET": "audit:read"}

    @extend_schema(
        operation_id="listAuditEvents",
        summary="List who did what, newest first",
        parameters=[AuditFilter],
        responses=page_of(AuditEventSerializer),
    )
    def get(self, request: Request) -> Response:
        query = AuditFilter(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        events = filtered(AuditEvent.objects.for_tenant(caller(request).tenant), query.validated_data)
        return paginate(events, request, lambda page: [audit_json(event) for event in page])


def filtered(events: QuerySet[AuditEvent], given: Mapping[str, Any]) -> QuerySet[AuditEvent]:
    """Return the events asked for; an actor is named by id or as the log shows them."""
    lookups = {"action": "action", "target": "target_id", "from": "created_at__gte", "to": "created_at__lt"}
    events = events.filter(**{lookup: given[name] for name, lookup in lookups.items() if name in given})
    if "actor" not in given:
        return events
    try:
        return events.filter(actor_id=UUID(given["actor"]))
    except ValueError:
        return events.filter(actor_label=given["actor"])


def key_json(key: ApiKey) -> dict[str, Any]:
    """Return a key as the API shows it: by prefix, never the key or its hash."""
    return {
        "id": str(key.id),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        **{name: getattr(key, name) for name in ApiKey.LIMITS},
        "created_by": key.created_by.email if key.created_by else None,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "rotated_at": key.rotated_at,
        "previous_expires_at": key.previous_expires_at,
    }


def member_json(member: Membership) -> dict[str, Any]:
    return {
        "id": str(member.id),
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "created_at": member.created_at,
    }


def settings_json(tenant: Tenant) -> dict[str, Any]:
    """Return a tenant's settings; of the webhook secret only whether there is one."""
    return {
        "tenant": tenant.slug,
        "name": tenant.name,
        "routing_strategy": tenant.routing_strategy,
        "max_attempts": tenant.max_attempts,
        "deadline_s": tenant.deadline_s,
        "log_content": tenant.log_content,
        "gitops_secret_set": bool(tenant.gitops_secret_sealed),
        "default_embedding": tenant.default_embedding,
    }


def audit_json(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "created_at": event.created_at,
        "actor": {
            "kind": event.actor_kind,
            "id": str(event.actor_id) if event.actor_id else None,
            "label": event.actor_label,
        },
        "action": event.action,
        "target": {"kind": event.target_kind, "id": event.target_id, "label": event.target_label},
        "changes": event.changes,
        "ip": event.ip,
        "request_id": str(event.request_id) if event.request_id else None,
    }
