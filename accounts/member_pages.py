"""Members: who belongs to the tenant and as what, and who is invited."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render

from accounts import invitations, services
from accounts.audit import Actor
from accounts.models import Invitation, Membership, Role
from accounts.pages import TenantRequest, tenant_page
from nexus.errors import Conflict, NotFound
from nexus.http import client_ip, request_id
from nexus.tenancy import told

MOST_SHOWN = 500
READ, WRITE = "members:read", "members:write"
ROLES = {
    Role.ADMIN: "Everything, members and settings included",
    Role.DEVELOPER: "Prompts, evals, agents and GitOps; reads the rest",
    Role.VIEWER: "Reads dashboards, requests, prompts and policies",
}


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(choices=Role.choices, initial=Role.DEVELOPER)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


@tenant_page({"GET": READ})
def member_list(request: TenantRequest) -> HttpResponse:
    """Show members and open invitations."""
    return _page(request, InviteForm())


@tenant_page({"POST": WRITE})
def invite(request: TenantRequest) -> HttpResponse:
    """Offer a place and send the link; where that cannot be, show it this once."""
    form = InviteForm(request.POST)
    with told():
        if not form.is_valid():
            return _page(request, form, status=422)
        given = form.cleaned_data
        try:
            invitation, url = invitations.invite(
                request.tenant, actor=actor_of(request), inviter=request.user, now=datetime.now(UTC), **given
            )
        except Conflict as error:
            form.add_error("email", error.message)
            return _page(request, form, status=409)
    return _deliver(request, invitation, url)


@tenant_page({"POST": WRITE})
def invite_again(request: TenantRequest, invitation_id: UUID) -> HttpResponse:
    """Send another link in place of the one before."""
    with told():
        invitation, url = invitations.renew(
            invitation_id, request.tenant, actor=actor_of(request), now=datetime.now(UTC)
        )
    return _deliver(request, invitation, url)


# No transaction waits for a mail server.
for _view in (invite, invite_again):
    _view.in_one_transaction = False  # type: ignore[attr-defined]


@tenant_page({"POST": WRITE})
def revoke_invitation(request: TenantRequest, invitation_id: UUID) -> HttpResponse:
    """Take an invitation back."""
    invitation = invitations.revoke(invitation_id, request.tenant, actor=actor_of(request), now=datetime.now(UTC))
    messages.success(request, f"The invitation of {invitation.email} is taken back.")
    return _back(request)


@tenant_page({"POST": WRITE})
def change_role(request: TenantRequest, member_id: UUID) -> HttpResponse:
    """Give a member another role."""
    member = _member(request, member_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        return _page(request, InviteForm(), problem="Choose a role.", status=422)
    try:
        services.change_role(member_id, request.tenant, role=form.cleaned_data["role"], actor=actor_of(request))
    except Conflict as error:
        return _page(request, InviteForm(), problem=error.message, status=409)
    messages.success(request, f"{member.user.email} is {form.cleaned_data['role']} now.")
    return redirect("overview", request.tenant.slug) if member.user_id == request.user.id else _back(request)


@tenant_page({"POST": WRITE})
def remove_member(request: TenantRequest, member_id: UUID) -> HttpResponse:
    """Take a member's place away."""
    member = _member(request, member_id)
    try:
        services.remove_member(member_id, request.tenant, actor=actor_of(request))
    except Conflict as error:
        return _page(request, InviteForm(), problem=error.message, status=409)
    messages.success(request, f"{member.user.email} is no member any more.")
    return redirect("home") if member.user_id == request.user.id else _back(request)


def actor_of(request: TenantRequest) -> Actor:
    """Return who does it, as the audit log names them."""
    return Actor.of_user(request.user, ip=client_ip(request), request_id=request_id(request))


def _member(request: TenantRequest, member_id: UUID) -> Membership:
    rows = Membership.objects.for_tenant(request.tenant).select_related("user")
    member: Membership | None = rows.filter(id=member_id).first()
    if member is None:
        raise NotFound("There is no such member, or not in your tenant.")
    return member


def _deliver(request: TenantRequest, invitation: Invitation, url: str) -> HttpResponse:
    """Send the link. Where nobody gets it by mail, the admin does: it is shown this once."""
    fault = invitations.send(invitation, url)
    if not fault:
        messages.success(request, f"{invitation.email} is invited.")
        return _back(request)
    with told():
        context = {"invitation": invitation, "link": url, "fault": fault, "slug": request.tenant.slug}
        return render(request, "accounts/invited.html", context)  # which tenant_page keeps out of every cache


def _page(request: TenantRequest, form: InviteForm, *, problem: str = "", status: int = 200) -> HttpResponse:
    """Render the page. Three queries beside the frame's."""
    members = Membership.objects.for_tenant(request.tenant).select_related("user").order_by("created_at", "id")
    admins = Membership.objects.for_tenant(request.tenant).filter(role=Role.ADMIN).count()
    now = datetime.now(UTC)
    context: dict[str, Any] = {
        "slug": request.tenant.slug,
        "members": [
            (each, each.user_id == request.user.id, admins == 1 and each.role == Role.ADMIN)
            for each in members[:MOST_SHOWN]
        ],
        "invited": [(each, each.expires_at <= now) for each in invitations.open_ones(request.tenant)[:MOST_SHOWN]],
        "roles": [(value, label, ROLES[Role(value)]) for value, label in Role.choices],
        "form": form,
        "problem": problem,
        "days": settings.NEXUS_INVITATION_DAYS,
    }
    return render(request, "accounts/members.html", context, status=status)


def _back(request: TenantRequest) -> HttpResponseRedirect:
    response: HttpResponseRedirect = redirect("members", request.tenant.slug)
    response.status_code = 303
    return response
