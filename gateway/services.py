"""Every write to provider connections: one transaction with its audit row, then the push to the runtime.

A key is sealed with the row's id as context and never leaves again. It belongs to the address it was given for, so a
changed base URL without a new key wipes it: otherwise whoever may edit a connection could have the key sent to a server
of their own. A trigger holds the same rule for writes that do not come through here.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from redis.exceptions import RedisError

from accounts import audit
from accounts.audit import Actor
from accounts.models import Tenant
from accounts.revisions import announce
from gateway.circuit import Status, Transition
from gateway.circuit_store import read_states, reset_circuit, trip_circuit
from gateway.egress import Allowance
from gateway.models import CircuitEvent, ModelRoute, Provider
from gateway.provider_rules import (
    checked_api_key,
    checked_base_url,
    checked_family,
    checked_models,
    checked_options,
    default_base_url,
    last4,
)
from gateway.providers.presets import PRESETS
from nexus.encryption import Cipher, SecretUnreadable
from nexus.errors import Conflict, InvalidRequest, NexusError, NotFound
from nexus.ids import uuid7
from nexus.redis_clients import sync_client
from nexus.tenancy import of_tenant

logger = logging.getLogger(__name__)
KEY_WIPED = "The API key was deleted, because base_url changed: a key belongs to the address it was given for."
MOST_REASON = 120  # characters
_RESETTING = frozenset(("base_url", "api_key", "enabled"))


class NoEncryptionKeys(NexusError):
    """This installation cannot keep a secret: its operator has set no NEXUS_ENCRYPTION_KEYS."""

    code = "NO_ENCRYPTION_KEYS"
    status = 503


class CircuitsAway(NexusError):
    """The state that all processes share cannot be changed, since Redis does not answer."""

    code = "CIRCUITS_UNAVAILABLE"
    status = 503


class ProviderFields(TypedDict, total=False):
    """What may be said of a provider. `api_key` is plain text here and nowhere after; "" removes it."""

    name: str
    base_url: str
    api_key: str
    weight: int
    enabled: bool
    timeout_s: int
    models: Mapping[str, str]
    options: Mapping[str, Any]
    simulated: bool


@dataclass(frozen=True, slots=True)
class Updated:
    """A provider after a change, and what the caller has to be told about it."""

    provider: Provider
    warnings: tuple[str, ...] = ()


def create_provider(tenant: Tenant, *, actor: Actor, family: str, **fields: Unpack[ProviderFields]) -> Provider:
    """Connect a tenant to a provider. Raises InvalidRequest, Conflict for a name that is taken, NoEncryptionKeys."""
    provider = Provider(tenant=tenant, family=checked_family(family))
    preset = PRESETS.get(str(fields.get("options", {}).get("preset")))
    if preset is not None and preset.timeout_s:
        fields = {"timeout_s": preset.timeout_s, **fields}
    fields = {**fields, "base_url": fields.get("base_url", ""), "models": fields.get("models", {})}
    with transaction.atomic():
        changes = _apply(provider, fields)
        _save(provider, force_insert=True)
        _replace_routes(provider, changes)
        _record("provider.created", provider, actor, {"family": ["", family], **changes})
    return provider


def update_provider(provider_id: UUID, tenant: Tenant, *, actor: Actor, **fields: Unpack[ProviderFields]) -> Updated:
    """Change what is given, nothing else; models and options are replaced as a whole.

    Raises NotFound, InvalidRequest, Conflict for a name that is taken, NoEncryptionKeys.
    """
    with transaction.atomic():
        provider = _locked(provider_id, tenant)
        changes = _apply(provider, fields)
        if not changes:
            return Updated(provider)
        _save(provider)
        _replace_routes(provider, changes)
        _record("provider.updated", provider, actor, changes)
        if _RESETTING & changes.keys():
            transaction.on_commit(partial(_reset, provider, ", ".join(sorted(_RESETTING & changes.keys()))))
    return Updated(
        provider, (KEY_WIPED,) if changes.get("api_key") == ["set", "deleted"] and "api_key" not in fields else ()
    )


def delete_provider(provider_id: UUID, tenant: Tenant, *, actor: Actor) -> None:
    """Disconnect a provider. Its requests and circuit events stay in the logs. Raises NotFound."""
    with transaction.atomic():
        provider = _locked(provider_id, tenant)
        _record("provider.deleted", provider, actor, {"name": [provider.name, ""], "base_url": [provider.base_url, ""]})
        provider.delete()


def force_circuit(provider_id: UUID, tenant: Tenant, *, actor: Actor, to: Status, reason: str) -> Provider:
    """Open a provider's circuit, for its ordinary time, or close it, in all processes. The reason is kept.

    Raises NotFound, InvalidRequest without a reason, CircuitsAway.
    """
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= MOST_REASON:
        raise InvalidRequest(f"Give a reason of up to {MOST_REASON} characters: the timeline keeps it.", param="reason")
    change = trip_circuit if to is Status.OPEN else reset_circuit
    verb = "opened" if to is Status.OPEN else "closed"
    with transaction.atomic():
        provider = _locked(provider_id, tenant)
        _record(f"provider.circuit_{verb}", provider, actor, {"reason": ["", reason]})
        try:
            moved = change(sync_client(settings.REDIS_URL), provider.id, f"{verb} by {actor.label}: {reason}"[:200])
        except RedisError as error:
            raise CircuitsAway("Redis does not answer, so no circuit can be changed for all processes.") from error
        if moved is not None:
            _note_transition(provider, moved)
    return provider


def _note_transition(provider: Provider, moved: Transition) -> None:
    CircuitEvent.objects.create(
        id=uuid7(),
        tenant_id=provider.tenant_id,
        provider_id=provider.id,
        created_at=datetime.fromtimestamp(moved.at_ms / 1000, UTC),
        from_state=moved.from_status,
        to_state=moved.to_status,
        reason=moved.reason,
    )


def open_api_key(provider: Provider) -> str:
    """Return a provider's key in plain text, "" if it has none. Raises SecretUnreadable."""
    if not provider.api_key_sealed:
        return ""
    return Cipher(settings.NEXUS_ENCRYPTION_KEYS).open(provider.api_key_sealed, context=_context(provider))


def _locked(provider_id: UUID, tenant: Tenant) -> Provider:
    provider: Provider | None = Provider.objects.for_tenant(tenant).select_for_update().filter(id=provider_id).first()
    if provider is None:
        raise NotFound("There is no such provider.")
    return provider


def _apply(provider: Provider, fields: ProviderFields) -> dict[str, Any]:
    """Set the given fields and return what that changes, as the audit log keeps it: `{"field": [before, after]}`."""
    wanted: dict[str, Any] = {name: value for name, value in fields.items() if name not in ("api_key", "models")}
    if "options" in wanted:
        wanted["options"] = checked_options(provider.family, wanted["options"])
        own = default_base_url(provider.family, provider.options)
        if wanted.get("base_url", provider.base_url) == own and default_base_url(provider.family, wanted["options"]):
            wanted["base_url"] = ""  # the vendor's own, which another region or preset has under another name
    if "base_url" in wanted:
        allowance = Allowance.parse(settings.NEXUS_ALLOW_PRIVATE_PROVIDERS)
        options = wanted.get("options", provider.options)
        wanted["base_url"] = checked_base_url(provider.family, wanted["base_url"], allowance, options=options)
    changes: dict[str, Any] = {}
    for name, value in wanted.items():
        before = getattr(provider, name)
        if provider._state.adding or before != value:
            changes[name] = [None if provider._state.adding else before, value]
            setattr(provider, name, value)
    _apply_key(provider, fields.get("api_key"), changes)
    if "models" in fields:
        before = {} if provider._state.adding else _models_of(provider)
        after = checked_models(fields["models"])
        if before != after:
            changes["models"] = [before, after]
    return changes


def _apply_key(provider: Provider, given: str | None, changes: dict[str, Any]) -> None:
    """Seal the given key; without one, delete that of another address. What the change is called holds no secret."""
    had = bool(provider.api_key_sealed)
    key = None if given is None else checked_api_key(given)
    if key:
        # Not compared with the old one: whether two keys are equal is nothing to tell whoever may only write them.
        provider.api_key_sealed = _sealed(key, provider)
        provider.api_key_last4 = last4(key)
        changes["api_key"] = ["set" if had else "", "changed" if had else "set"]
    elif had and (key is not None or "base_url" in changes):
        provider.api_key_sealed = provider.api_key_last4 = ""
        changes["api_key"] = ["set", "deleted"]


def _sealed(key: str, provider: Provider) -> str:
    try:
        return Cipher(settings.NEXUS_ENCRYPTION_KEYS).seal(key, context=_context(provider))
    except SecretUnreadable as error:
        raise NoEncryptionKeys(str(error), param="api_key") from error


def _save(provider: Provider, *, force_insert: bool = False) -> None:
    try:
        provider.clean_fields(exclude=["tenant", "options", "api_key_sealed"])
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidRequest(messages[0], param=field) from error
    try:
        provider.save(force_insert=force_insert)
    except IntegrityError as error:
        if "one_provider_per_name" not in str(error):
            raise
        raise Conflict(f"There is a provider named {provider.name} already.", param="name") from error


def _replace_routes(provider: Provider, changes: Mapping[str, Any]) -> None:
    if "models" not in changes:
        return
    ModelRoute.objects.for_tenant(provider.tenant_id).filter(provider=provider).delete()
    ModelRoute.objects.bulk_create(
        ModelRoute(tenant_id=provider.tenant_id, provider=provider, public_name=public, upstream_name=upstream)
        for public, upstream in changes["models"][1].items()
    )


def _models_of(provider: Provider) -> dict[str, str]:
    """Return the provider's models. One query."""
    routes = ModelRoute.objects.for_tenant(provider.tenant_id).filter(provider=provider)
    return dict(routes.order_by("public_name").values_list("public_name", "upstream_name"))


def _record(action: str, provider: Provider, actor: Actor, changes: Mapping[str, Any]) -> None:
    audit.log(tenant=provider.tenant_id, actor=actor, action=action, target=provider, changes=dict(changes))
    announce()


def _reset(provider: Provider, what: str) -> None:
    """Close the provider's circuit: what it has learnt is about another address, key or time."""
    reason = f"the provider's configuration changed: {what}"
    client = sync_client(settings.REDIS_URL)
    try:
        before = read_states(client, [provider.id])[provider.id].status
        reset_circuit(client, provider.id, reason)
    except RedisError as error:
        # Harmless: an open circuit closes by its own probes, only later.
        logger.warning(
            "A circuit could not be reset.", extra={"provider_id": provider.id, "error": type(error).__name__}
        )
        return
    if before is not Status.CLOSED:
        with of_tenant(provider.tenant_id):
            CircuitEvent.objects.create(
                id=uuid7(),
                tenant_id=provider.tenant_id,
                provider_id=provider.id,
                created_at=datetime.now(UTC),
                from_state=before,
                to_state=Status.CLOSED,
                reason=reason,
            )


def _context(provider: Provider) -> str:
    return f"provider:{provider.id}"
