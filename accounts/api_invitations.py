"""The management API of invitations: places in the tenant, offered by a link that is good once."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import invitations
from accounts.auth import caller
from accounts.models import Invitation, Role
from nexus.openapi import page_of
from nexus.rest import PageQuery, StrictSerializer, paginate, parsed
from nexus.tenancy import told


class InvitationInput(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices)


class InvitationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    invited_by = serializers.CharField(allow_null=True, help_text="An e-mail address, or null once the user is gone.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(help_text="One that has run out stays listed until it is revoked or resent.")


class SentInvitationSerializer(InvitationSerializer):
    mailed = serializers.BooleanField(help_text="Whether the link went out by mail.")
    link = serializers.CharField(
        allow_null=True, help_text="The link, this once, where no mail takes it to the person; else null."
    )


class InvitationList(APIView):
    scopes = {"GET": "members:read", "POST": "members:write"}
    in_one_transaction = False  # none waits for a mail server

    @extend_schema(
        operation_id="listInvitations",
        summary="List the invitations that are open",
        parameters=[PageQuery],
        responses=page_of(InvitationSerializer),
    )
    def get(self, request: Request) -> Response:
        with told():
            rows = invitations.open_ones(caller(request).tenant)
            return paginate(rows, request, lambda page: [invitation_json(each) for each in page])

    @extend_schema(
        operation_id="invite",
        summary="Invite a person",
        request=InvitationInput,
        responses={201: SentInvitationSerializer},
    )
    def post(self, request: Request) -> Response:
        by = caller(request)
        given = parsed(InvitationInput, request)
        with told():
            row, url = invitations.invite(by.tenant, actor=by.actor, inviter=by.person, now=datetime.now(UTC), **given)
        return _sent(row, url, status=201)


class InvitationDetail(APIView):
    scopes = {"DELETE": "members:write"}

    @extend_schema(operation_id="revokeInvitation", summary="Take an invitation back", responses={204: None})
    def delete(self, request: Request, invitation_id: UUID) -> Response:
        by = caller(request)
        invitations.revoke(invitation_id, by.tenant, actor=by.actor, now=datetime.now(UTC))
        return Response(status=204)


class InvitationAgain(APIView):
    scopes = {"POST": "members:write"}
    in_one_transaction = False  # none waits for a mail server

    @extend_schema(
        operation_id="resendInvitation",
        summary="Send another link, good for the whole time again, in place of the one before",
        request=None,
        responses=SentInvitationSerializer,
    )
    def post(self, request: Request, invitation_id: UUID) -> Response:
        by = caller(request)
        with told():
            row, url = invitations.renew(invitation_id, by.tenant, actor=by.actor, now=datetime.now(UTC))
        return _sent(row, url)


def _sent(invitation: Invitation, url: str, *, status: int = 200) -> Response:
    """Send the link, or show it where nobody gets it by mail."""
    mailed = not invitations.send(invitation, url)
    body = {**invitation_json(invitation), "mailed": mailed, "link": None if mailed else url}
    return Response(body, status=status, headers={"cache-control": "no-store"})


def invitation_json(invitation: Invitation) -> dict[str, Any]:
    """Return an invitation as the API shows it, without its link."""
    return {
        "id": str(invitation.id),
        "email": invitation.email,
        "role": invitation.role,
        "invited_by": invitation.invited_by.email if invitation.invited_by else None,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }
