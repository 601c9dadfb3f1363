"""What the audit log is told of signing in: in every tenant of the person, because each tenant's admins may ask.

Somebody without a tenant, and an address that nobody has, is told to the installation's own log. An unknown address is
not written down: it may be a password in the wrong field. A refusal costs the same whether there is such a person or
not, so that its time tells nothing.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, User
from nexus.http import client_ip, request_id


def note(user: User, action: str, *, request: HttpRequest, changes: Mapping[str, Any] | None = None) -> None:
    """Write that a person did something to their own account, once for each of their tenants."""
    actor = Actor.of_user(user, ip=client_ip(request), request_id=request_id(request))
    tenants = list(Membership.objects.filter(user=user).values_list("tenant_id", flat=True))
    with transaction.atomic():
        for tenant in tenants or (None,):
            audit.log(actor=actor, action=action, target=user, tenant=tenant, changes=changes)


def note_refusal(email: str, *, request: HttpRequest, reason: str) -> None:
    """Write that somebody was not let in: `reason` is password, code or password sign-in is off."""
    address = email.strip().lower()
    user = User.objects.filter(email=address).first()
    tenants = list(Membership.objects.filter(user__email=address).values_list("tenant_id", flat=True))
    actor = Actor("system", None, "unknown", client_ip(request), request_id(request))
    # An unsaved person has an id that nobody has, and no address.
    target, changes = user or User(), {"reason": [None, reason]}
    with transaction.atomic():
        for tenant in tenants or (None,):
            audit.log(actor=actor, action="user.sign_in_failed", target=target, tenant=tenant, changes=changes)
