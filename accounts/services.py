"""Every write to tenants, members and keys: one transaction with its audit row, then the push to the runtime."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, connection, transaction

from accounts import audit
from accounts.audit import Actor
from accounts.keys import display_prefix, generate, hash_key
from accounts.models import ApiKey, Membership, Tenant, User
from accounts.rbac import SCOPES
from accounts.revisions import announce
from nexus.encryption import Cipher
from nexus.errors import Conflict, InvalidRequest, NexusError, NotFound
from nexus.tenancy import every_tenant


class ScopeNotHeld(NexusError):
    code = "SCOPE_REQUIRED"
    status = 403


class LastAdmin(Conflict):
    code = "LAST_ADMIN"


class AlreadyMember(Conflict):
    code = "ALREADY_MEMBER"


class KeyRevoked(Conflict):
    code = "KEY_REVOKED"


class KeyExpired(Conflict):
    code = "KEY_EXPIRED"


class KeyFields(TypedDict, total=False):
    name: str
    scopes: list[str]
    monthly_request_quota: int | None
    rpm: int | None
    tpm: int | None
    max_concurrent: int | None
    expires_at: datetime | None


class SettingFields(TypedDict, total=False):
    routing_strategy: str
    max_attempts: int
    deadline_s: int
    log_content: bool
    gitops_secret: str
    default_embedding: str


def create_tenant(*, slug: str, name: str, actor: Actor, is_demo: bool = False) -> Tenant:
    """Make a tenant. Its first admin is added with add_member."""
    with transaction.atomic():
        tenant = Tenant(slug=slug, name=name, is_demo=is_demo)
        tenant.full_clean()
        tenant.save()
        audit.log(actor=actor, action="tenant.created", target=tenant, tenant=tenant)
        announce()
    return tenant


def issue_key(
    tenant: Tenant, *, actor: Actor, holder: User | None, held: frozenset[str], **fields: Unpack[KeyFields]
) -> tuple[ApiKey, str]:
    """Make a key; return its row and its plaintext, which exists nowhere else.

    `holder` is the person whose role bounds the key from now on, `held` what the caller may do at this moment.
    """
    scopes = _checked_scopes(fields.get("scopes", []), held)
    plaintext = generate()
    limits = {name: fields.get(name) for name in ApiKey.LIMITS}
    with transaction.atomic():
        key = ApiKey.objects.create(
            tenant=tenant,
            name=fields["name"],
            prefix=display_prefix(plaintext),
            key_hash=hash_key(plaintext),
            scopes=scopes,
            **limits,
            expires_at=_checked_expiry(fields.get("expires_at")),
            created_by=holder,
        )
        set_ones = {name: [None, limit] for name, limit in limits.items() if limit is not None}
        changes = {"scopes": [[], scopes], **set_ones}
        audit.log(actor=actor, action="key.created", target=key, tenant=tenant, changes=changes)
        announce()
    return key, plaintext


def update_key(
    key_id: UUID, tenant: Tenant, *, actor: Actor, held: frozenset[str], **fields: Unpack[KeyFields]
) -> ApiKey:
    """Change a live key. Raises NotFound, KeyRevoked, ScopeNotHeld."""
    with transaction.atomic():
        key = _locked_key(key_id, tenant)
        if key.revoked_at is not None:
            raise KeyRevoked("This key is revoked. Make a new one.")
        if "scopes" in fields:
            fields["scopes"] = _checked_scopes(fields["scopes"], held | frozenset(key.scopes))
        if "expires_at" in fields:
            fields["expires_at"] = _checked_expiry(fields["expires_at"])
        changes = _apply(key, dict(fields))
        if changes:
            key.save(update_fields=list(changes))
            audit.log(actor=actor, action="key.updated", target=key, tenant=tenant, changes=_as_json(changes))
            announce()
    return key


def rotate_key(
    key_id: UUID, tenant: Tenant, *, actor: Actor, held: frozenset[str], grace_seconds: int, now: datetime
) -> tuple[ApiKey, str]:
    """Give a key a new secret; return its row and the plaintext, which exists nowhere else.

    The old secret stays good for `grace_seconds`; one that was still in grace from an earlier rotation ends at once.
    Raises NotFound, KeyRevoked, KeyExpired, and ScopeNotHeld where the caller would come by more than it may do.
    """
    plaintext = generate()
    with transaction.atomic():
        key = _locked_key(key_id, tenant)
        if key.revoked_at is not None:
            raise KeyRevoked("This key is revoked. Make a new one.")
        if key.expires_at is not None and key.expires_at <= now:
            raise KeyExpired("This key has expired, and so would its new secret. Give it a later expires_at first.")
        _checked_scopes(key.scopes, held)
        before, grace_before = key.prefix, key.previous_expires_at
        key.previous_hash = key.key_hash if grace_seconds else None
        key.previous_expires_at = now + timedelta(seconds=grace_seconds) if grace_seconds else None
        key.key_hash, key.prefix, key.rotated_at = hash_key(plaintext), display_prefix(plaintext), now
        key.save(update_fields=["key_hash", "prefix", "rotated_at", "previous_hash", "previous_expires_at"])
        changes: dict[str, list[Any]] = {"prefix": [before, key.prefix]}
        changes["previous_expires_at"] = [grace_before, key.previous_expires_at]
        audit.log(actor=actor, action="key.rotated", target=key, tenant=tenant, changes=_as_json(changes))
        announce()
    return key, plaintext


def revoke_key(key_id: UUID, tenant: Tenant, *, actor: Actor) -> None:
    """Revoke a key, a secret in grace included; every runtime process refuses it within a second.

    Doing it twice changes nothing.
    """
    with transaction.atomic():
        key = _locked_key(key_id, tenant)
        if key.revoked_at is not None:
            return
        key.revoked_at = datetime.now(UTC)
        key.save(update_fields=["revoked_at"])
        audit.log(actor=actor, action="key.revoked", target=key, tenant=tenant)
        announce()


def add_member(tenant: Tenant, *, email: str, role: str, actor: Actor) -> Membership:
    """Give a person a role; make the person if nobody has the address yet, without a password."""
    address = email.strip().lower()
    try:
        with transaction.atomic():
            with every_tenant():  # people are no tenant's; one who was made for nothing has no password and no rights
                # Without a usable password: the person sets one when they accept the invitation.
                user, _ = User.objects.get_or_create(email=address, defaults={"password": make_password(None)})
            membership = Membership.objects.create(tenant=tenant, user=user, role=role)
            audit.log(
                actor=actor,
                action="member.added",
                target=membership,
                tenant=tenant,
                changes={"email": [None, address], "role": [None, role]},
            )
            announce()
    except IntegrityError as error:
        if _constraint(error) != "one_membership_per_user":
            raise
        raise AlreadyMember(f"{address} is a member of this tenant already.", param="email") from error
    return membership


def change_role(membership_id: UUID, tenant: Tenant, *, role: str | None, actor: Actor) -> Membership:
    """Change a member's role; None leaves it. It binds their keys and sessions from the next request on."""
    with _one_admin_left():
        membership = _locked_membership(membership_id, tenant)
        before = membership.role
        if role is not None and before != role:
            membership.role = role
            membership.save(update_fields=["role"])
            changes = {"role": [before, role]}
            audit.log(actor=actor, action="member.role_changed", target=membership, tenant=tenant, changes=changes)
            announce()
    return membership


def remove_member(membership_id: UUID, tenant: Tenant, *, actor: Actor) -> None:
    """Take a person's role away. The keys they made can do nothing from then on."""
    with _one_admin_left():
        membership = _locked_membership(membership_id, tenant)
        changes = {"email": [membership.user.email, None], "role": [membership.role, None]}
        audit.log(actor=actor, action="member.removed", target=membership, tenant=tenant, changes=changes)
        membership.delete()
        announce()


def update_settings(tenant: Tenant, *, actor: Actor, **fields: Unpack[SettingFields]) -> Tenant:
    """Change a tenant's settings. The webhook secret is sealed and never shown again."""
    with transaction.atomic():
        row = Tenant.objects.select_for_update().get(id=tenant.id)
        given: dict[str, Any] = dict(fields)
        secret = given.pop("gitops_secret", None)
        changes = _apply(row, given)
        if secret is not None:
            cipher = Cipher(settings.NEXUS_ENCRYPTION_KEYS)
            row.gitops_secret_sealed = cipher.seal(secret, context=f"tenant:{row.id}:gitops") if secret else ""
            changes["gitops_secret_sealed"] = ["", "changed" if secret else "removed"]
        if changes:
            row.save(update_fields=list(changes))
            audit.log(actor=actor, action="settings.updated", target=row, tenant=row, changes=_as_json(changes))
            announce()
    return row


@contextmanager
def _one_admin_left() -> Iterator[None]:
    """A transaction whose deferred check, that a tenant keeps an admin, becomes an error with a sentence."""
    try:
        with transaction.atomic():
            yield
            check_admins()
    except IntegrityError as error:
        if _constraint(error) != "last_admin":
            raise
        raise LastAdmin("A tenant keeps at least one admin. Make somebody else an admin first.") from error


def check_admins() -> None:
    """Let the database check at once that tenants keep an admin, where a member was demoted or removed.

    Not at the commit: inside a caller's transaction that would be too late to say so, and the check locks the tenant's
    row, which everybody else has locked when they come to the revision's, the last lock of every change.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS keep_an_admin IMMEDIATE")
        cursor.execute("SET CONSTRAINTS keep_an_admin DEFERRED")


def _constraint(error: IntegrityError) -> str | None:
    """Return the name of the constraint that was hurt."""
    diagnostics = getattr(error.__cause__, "diag", None)
    return None if diagnostics is None else diagnostics.constraint_name


def _locked_key(key_id: UUID, tenant: Tenant) -> ApiKey:
    key: ApiKey | None = ApiKey.objects.for_tenant(tenant).select_for_update().filter(id=key_id).first()
    if key is None:
        raise NotFound("There is no such key, or it is not yours.")
    return key


def _locked_membership(membership_id: UUID, tenant: Tenant) -> Membership:
    rows = Membership.objects.for_tenant(tenant).select_related("user").select_for_update(of=("self",))
    membership: Membership | None = rows.filter(id=membership_id).first()
    if membership is None:
        raise NotFound("There is no such member, or not in your tenant.")
    return membership


def _checked_scopes(scopes: Iterable[str], held: frozenset[str]) -> list[str]:
    asked = set(scopes)
    if unknown := sorted(asked - set(SCOPES)):
        raise InvalidRequest(f"These scopes do not exist: {', '.join(unknown)}.", param="scopes")
    if missing := sorted(asked - held):
        raise ScopeNotHeld(f"A key cannot hold more than its creator: {', '.join(missing)}.", param="scopes")
    return sorted(asked)


def _checked_expiry(moment: datetime | None) -> datetime | None:
    if moment is not None and moment <= datetime.now(UTC):
        raise InvalidRequest("expires_at must lie in the future.", param="expires_at")
    return moment


def _apply(row: Any, fields: dict[str, Any]) -> dict[str, list[Any]]:
    """Set what differs; return {"field": [before, after]}."""
    changes = {name: [getattr(row, name), value] for name, value in fields.items() if getattr(row, name) != value}
    for name, (_, value) in changes.items():
        setattr(row, name, value)
    return changes


def _as_json(changes: dict[str, list[Any]]) -> dict[str, list[Any]]:
    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value

    return {name: [plain(before), plain(after)] for name, (before, after) in changes.items()}
