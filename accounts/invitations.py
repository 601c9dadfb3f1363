"""Places in a tenant, offered by e-mail: a link that is good once, for one address, for some days.

The link's secret is stored as its SHA-256 alone. Who accepts has read the address's mail, which proves it to be theirs.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse

from accounts import audit, services
from accounts.audit import Actor
from accounts.keys import hash_key
from accounts.models import Invitation, Membership, Tenant, User
from accounts.services import AlreadyMember
from accounts.sign_in import mail
from nexus.errors import Conflict, NotFound

_TOKEN_BYTES = 32


class AlreadyInvited(Conflict):
    code = "ALREADY_INVITED"


class InvitationGone(NotFound):
    """Used, revoked, run out, or never there: who has the link is told the same."""


def invite(
    tenant: Tenant, *, email: str, role: str, actor: Actor, inviter: User | None, now: datetime
) -> tuple[Invitation, str]:
    """Offer a place; return the row and its link, which exists nowhere else. Sending it is `deliver`'s.

    An offer that has run out gives way. Raises AlreadyMember, AlreadyInvited.
    """
    address = email.strip().lower()
    if Membership.objects.for_tenant(tenant).filter(user__email=address).exists():
        raise AlreadyMember(f"{address} is a member of this tenant already.", param="email")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    try:
        with transaction.atomic():
            Invitation.objects.for_tenant(tenant).filter(
                email=address, accepted_at=None, revoked_at=None, expires_at__lte=now
            ).update(revoked_at=now)
            invitation = Invitation.objects.create(
                tenant=tenant,
                email=address,
                role=role,
                token_hash=hash_key(token),
                invited_by=inviter,
                expires_at=now + timedelta(days=settings.NEXUS_INVITATION_DAYS),
            )
            changes = {"email": [None, address], "role": [None, role]}
            audit.log(actor=actor, action="member.invited", target=invitation, tenant=tenant, changes=changes)
    except IntegrityError as error:
        if "one_open_invitation_per_email" not in str(error):
            raise
        raise AlreadyInvited(f"{address} is invited already. Send the invitation again.", param="email") from error
    return invitation, link(token)


def renew(invitation_id: UUID, tenant: Tenant, *, actor: Actor, now: datetime) -> tuple[Invitation, str]:
    """Give an invitation a new link and its whole time again; the old link ends. Raises NotFound."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with transaction.atomic():
        invitation = _locked(invitation_id, tenant)
        invitation.token_hash = hash_key(token)
        invitation.expires_at = now + timedelta(days=settings.NEXUS_INVITATION_DAYS)
        invitation.save(update_fields=["token_hash", "expires_at"])
        audit.log(actor=actor, action="member.invited_again", target=invitation, tenant=tenant)
    return invitation, link(token)


def revoke(invitation_id: UUID, tenant: Tenant, *, actor: Actor, now: datetime) -> Invitation:
    """Take an invitation back. Raises NotFound."""
    with transaction.atomic():
        invitation = _locked(invitation_id, tenant)
        invitation.revoked_at = now
        invitation.save(update_fields=["revoked_at"])
        audit.log(actor=actor, action="member.invitation_revoked", target=invitation, tenant=tenant)
    return invitation


def deliver(invitation: Invitation, url: str) -> None:
    """Send the link. Raises mail.NotSent, which leaves the invitation as it is."""
    by = invitation.invited_by
    context = {
        "tenant": invitation.tenant.name,
        "role": invitation.role,
        "by": (by.name or by.email) if by else "An admin",
        "link": url,
        "days": settings.NEXUS_INVITATION_DAYS,
    }
    mail.send(invitation.email, "invitation", context)


def send(invitation: Invitation, url: str) -> str:
    """Send the link; return why the person does not get it by mail, nothing where they do.

    Then whoever invited them has to see the link, this once, to pass it on.
    """
    try:
        deliver(invitation, url)
    except mail.NotSent:
        return "The mail server did not take the mail."
    return "" if settings.EMAIL_URL else "This installation has no mail server: the mail is a file in its data folder."


def open_ones(tenant: Tenant) -> QuerySet[Invitation]:
    """Return what is neither accepted nor revoked, also what has run out, the newest first."""
    rows: QuerySet[Invitation] = Invitation.objects.for_tenant(tenant).filter(accepted_at=None, revoked_at=None)
    return rows.select_related("invited_by").order_by("-created_at", "-id")


def by_token(token: str, *, now: datetime) -> Invitation:
    """Return the invitation that a link is for. Raises InvitationGone. One query, over all tenants."""
    found = Invitation.objects.filter(
        token_hash=hash_key(token), accepted_at=None, revoked_at=None, expires_at__gt=now
    ).select_related("tenant", "invited_by")
    invitation: Invitation | None = found.first()
    if invitation is None:
        raise InvitationGone("This invitation is used, taken back or too old. Ask for a new one.")
    return invitation


def awaited(email: str) -> bool:
    """Return whether any tenant has invited an address. One query, over all tenants."""
    now = datetime.now(UTC)
    return bool(Invitation.objects.filter(email=email, accepted_at=None, revoked_at=None, expires_at__gt=now).exists())


def accept(token: str, user: User, *, ip: str | None, request_id: UUID, now: datetime) -> Membership:
    """Make the invited person a member. Of two who try at once one is told that it is gone. Raises InvitationGone."""
    invitation = by_token(token, now=now)
    if user.email != invitation.email:
        raise Conflict(f"This invitation is for {invitation.email}.")
    actor = Actor.of_user(user, ip=ip, request_id=request_id)
    with transaction.atomic():
        # Compared and set: the link is good once.
        unused = Invitation.objects.filter(id=invitation.id, accepted_at=None, revoked_at=None)
        if not unused.update(accepted_at=now):
            raise InvitationGone("This invitation is used.")
        audit.log(actor=actor, action="member.invitation_accepted", target=invitation, tenant=invitation.tenant)
        membership = Membership.objects.filter(tenant=invitation.tenant, user=user).first()
        if membership is None:
            membership = services.add_member(invitation.tenant, email=user.email, role=invitation.role, actor=actor)
    return membership


def make_person(token: str, *, name: str, password: str, now: datetime) -> User:
    """Make the invited person, or give one who was made without a password theirs. Raises InvitationGone."""
    invitation = by_token(token, now=now)
    with transaction.atomic():
        user, made = User.objects.get_or_create(email=invitation.email)
        if not made and (user.has_usable_password() or not user.is_active):
            raise Conflict(f"{user.email} has an account. Sign in to accept.")
        user.name = name.strip()[:100] or user.name
        user.set_password(password)
        user.save(update_fields=["name", "password"])
        changes: dict[str, Any] = {"name": [None, user.name]}
        action = "user.created" if made else "user.password_set"
        audit.log(actor=Actor.of_user(user), action=action, target=user, tenant=invitation.tenant, changes=changes)
    return user


def has_account(email: str) -> bool:
    """Return whether somebody signs in by this address already, in whatever way. One or two queries."""
    user = User.objects.filter(email=email).first()
    if user is None:
        return False
    return user.has_usable_password() or bool(SocialAccount.objects.filter(user=user).exists())


def link(token: str) -> str:
    return f"{settings.NEXUS_PUBLIC_URL}{reverse('invitation', args=[token])}"


def _locked(invitation_id: UUID, tenant: Tenant) -> Invitation:
    rows = Invitation.objects.for_tenant(tenant).select_related("tenant", "invited_by").select_for_update(of=("self",))
    invitation: Invitation | None = rows.filter(id=invitation_id, accepted_at=None, revoked_at=None).first()
    if invitation is None:
        raise NotFound("There is no such invitation, or it is used or taken back already.")
    return invitation
