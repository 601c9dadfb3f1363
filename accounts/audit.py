"""The audit log: who did what to what, from where. Written in the transaction of the change itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model

from accounts.models import ApiKey, AuditEvent, Tenant, User


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, as the log names them."""

    kind: str  # user, key or system
    id: UUID | None
    label: str
    ip: str | None = None
    request_id: UUID | None = None

    @classmethod
    def of_user(cls, user: User, *, ip: str | None = None, request_id: UUID | None = None) -> "Actor":
        return cls("user", user.id, user.email, ip, request_id)

    @classmethod
    def of_key(cls, key: ApiKey, *, ip: str | None = None, request_id: UUID | None = None) -> "Actor":
        return cls("key", key.id, f"{key.prefix}… {key.name}", ip, request_id)

    @classmethod
    def system(cls, label: str) -> "Actor":
        return cls("system", None, label)


def log(
    *,
    actor: Actor,
    action: str,
    target: Model,
    tenant: Tenant | UUID | None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Write one row. `changes` is `{"field": [before, after]}` and never holds a secret. One query."""
    AuditEvent.objects.create(
        tenant_id=tenant.id if isinstance(tenant, Tenant) else tenant,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label[:254],
        action=action,
        target_kind=target._meta.model_name or "",
        target_id=str(target.pk),
        target_label=str(target)[:254],
        changes=dict(changes or {}),
        ip=actor.ip,
        request_id=actor.request_id,
    )
