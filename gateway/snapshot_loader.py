"""How a snapshot is read from the database: whole on the first load, tenant by tenant after a change.

Reading and building are apart: what `read` selects is also what a machine keeps on its disk (gateway/snapshot_file.py),
and `build` makes the same snapshot of either. Nothing is fetched beyond it, which Django enforces (FETCH_RAISE).
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import FETCH_RAISE, Q

from accounts.models import ApiKey, ConfigChange, ConfigRevision, Membership, RoutingStrategy, Tenant
from accounts.rbac import effective_scopes
from billing.pricing import find_price
from gateway.models import ModelRoute, Provider
from gateway.providers.base import Target
from gateway.providers.registry import FAMILIES
from gateway.records import Candidate, Decision, Plan, RouteFacts, encoded
from gateway.snapshot import Caller, KeyLimits, ModelRoutes, Route, Snapshot, TenantConfig
from gateway.transport import parse_base_url
from nexus.encryption import Cipher, SecretUnreadable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rows:
    """The configuration of some tenants as the database holds it: provider keys sealed, API keys as hashes.

    The iterables may be read once, in this order.
    """

    revision: int
    tenants: Iterable[Tenant]
    memberships: Iterable[Membership]  # of active users
    routes: Iterable[ModelRoute]  # each with its enabled provider
    keys: Iterable[ApiKey]  # that are not revoked


def load(current: Snapshot) -> Snapshot:
    """Return the snapshot of the database's revision. Six queries for a change, whatever the number of keys."""
    with one_view():
        revision = current_revision()
        if revision == current.revision:
            return current
        changed = _changed_tenants(current.revision, revision)
        loaded = build(read(revision, changed))
    return loaded if changed is None else current.updated(loaded, changed)


@contextmanager
def one_view() -> Iterator[None]:
    """See all tables as of one moment; without it a change between two queries would mix two revisions."""
    with transaction.atomic():
        with transaction.get_connection().cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def current_revision() -> int:
    """Return the database's revision. One query."""
    return ConfigRevision.objects.values_list("revision", flat=True).get()


def read(revision: int, tenant_ids: set[UUID] | None) -> Rows:
    """Return the rows of some tenants, or of all. Four queries, made while the rows are used."""
    ours, theirs = (Q(id__in=tenant_ids), Q(tenant__in=tenant_ids)) if tenant_ids is not None else (Q(), Q())
    tenants = Tenant.objects.filter(ours).defer("gitops_secret_sealed")
    memberships = Membership.objects.filter(theirs, user__is_active=True).only("id", "tenant_id", "user_id", "role")
    routes = ModelRoute.objects.filter(theirs, provider__enabled=True).select_related("provider")
    keys = ApiKey.objects.filter(theirs, revoked_at=None).only(
        "id", "tenant_id", "key_hash", "scopes", "created_by_id", "expires_at", "previous_hash", "previous_expires_at",
        *ApiKey.LIMITS,
    )  # fmt: skip
    return Rows(
        revision,
        tenants.fetch_mode(FETCH_RAISE),
        memberships.fetch_mode(FETCH_RAISE),
        routes.order_by("provider_id", "id").fetch_mode(FETCH_RAISE),
        keys.fetch_mode(FETCH_RAISE).iterator(chunk_size=5000),
    )


def build(rows: Rows) -> Snapshot:
    """Return the snapshot that the rows make."""
    found = list(rows.tenants)
    roles: dict[tuple[UUID, UUID | None], str] = {(row.tenant_id, row.user_id): row.role for row in rows.memberships}
    routes = _routes(rows.routes)
    tenants = {tenant.id: _tenant(tenant, routes.get(tenant.id, {})) for tenant in found}
    return Snapshot(rows.revision, tenants, _callers(rows.keys, tenants, roles))


def _changed_tenants(since: int, until: int) -> set[UUID] | None:
    """Return the tenants changed after a revision; None when that is not known and everything must be read."""
    if since < 0:
        return None
    changes = ConfigChange.objects.filter(revision__gt=since, revision__lte=until)
    found = dict(changes.values_list("revision", "tenant_id"))
    return set(found.values()) if len(found) == until - since else None


def _callers(
    keys: Iterable[ApiKey], tenants: Mapping[UUID, TenantConfig], roles: Mapping[tuple[UUID, UUID | None], str]
) -> dict[bytes, Caller]:
    callers: dict[bytes, Caller] = {}
    for key in keys:
        caller = Caller(
            key_id=str(key.id),
            tenant_id=str(key.tenant_id),
            tenant=tenants[key.tenant_id],
            scopes=effective_scopes(key.scopes, roles.get((key.tenant_id, key.created_by_id))),
            expires_at=key.expires_at.timestamp() if key.expires_at else None,
            limits=_limits(key),
        )
        callers[bytes.fromhex(key.key_hash)] = caller
        if key.previous_hash and key.previous_expires_at:
            # The secret before the last rotation leads to the same key, until its grace or the key itself ends.
            ends = min(key.previous_expires_at, key.expires_at or key.previous_expires_at)
            callers[bytes.fromhex(key.previous_hash)] = replace(caller, expires_at=ends.timestamp())
    return callers


def _limits(key: ApiKey) -> KeyLimits | None:
    limits = KeyLimits(key.monthly_request_quota, key.rpm, key.tpm, key.max_concurrent)
    return limits if limits != KeyLimits() else None


def _tenant(tenant: Tenant, routes: Mapping[str, list[Route]]) -> TenantConfig:
    weighted = tenant.routing_strategy == RoutingStrategy.WEIGHTED
    return TenantConfig(
        id=tenant.id,
        slug=tenant.slug,
        weighted=weighted,
        max_attempts=tenant.max_attempts,
        deadline_seconds=tenant.deadline_s,
        routes={model: _model_routes(found, weighted, tenant.max_attempts) for model, found in routes.items()},
    )


def _model_routes(routes: list[Route], weighted: bool, max_attempts: int) -> ModelRoutes:
    candidates = tuple(sorted(routes, key=lambda route: -route.weight))
    known = [Candidate(route.family, route.id_text, route.weight) for route in candidates]
    plan = encoded(Plan(weighted, max_attempts, known))
    return ModelRoutes(candidates, plan, encoded(Decision(plan)))


def _routes(rows: Iterable[ModelRoute]) -> Mapping[UUID, Mapping[str, list[Route]]]:
    cipher = Cipher(settings.NEXUS_ENCRYPTION_KEYS)
    by_model: dict[UUID, dict[str, list[Route]]] = defaultdict(lambda: defaultdict(list))
    secrets: dict[UUID, str | None] = {}
    for row in rows:
        provider = row.provider
        if provider.id not in secrets:
            secrets[provider.id] = _open_key(cipher, provider)
        secret = secrets[provider.id]
        if secret is not None:
            by_model[row.tenant_id][row.public_name].append(_route(row, provider, secret))
    return by_model


def _route(row: ModelRoute, provider: Provider, api_key: str) -> Route:
    adapter = FAMILIES[provider.family]
    origin, base_path = parse_base_url(provider.base_url)
    price = find_price(provider.family, row.upstream_name, provider.base_url)
    head = _head(adapter.family, row.upstream_name, simulated=provider.simulated)
    facts = RouteFacts(
        adapter.family, str(provider.id), row.upstream_name, price.as_json() if price else None, provider.simulated
    )
    return Route(
        provider_id=provider.id,
        id_text=str(provider.id),
        name=provider.name,
        adapter=adapter,
        origin=origin,
        target=Target(base_path, api_key, row.upstream_name, provider.options),
        weight=provider.weight,
        timeout_seconds=provider.timeout_s,
        price=price,
        family=adapter.family,
        facts=encoded(facts),
        head=head,
        head_at_once=f"x-nexus-attempt: 1\r\nx-nexus-route: {adapter.family}=200\r\n".encode() + head,
    )


def _head(family: str, upstream_model: str, *, simulated: bool) -> bytes:
    # A model name is whatever an admin typed; in a header only what is printable ASCII may stand.
    model = "".join(letter if " " <= letter <= "~" else "?" for letter in upstream_model)
    lines = f"x-nexus-provider: {family}\r\nx-nexus-model: {model}\r\n"
    return (lines + "x-nexus-simulated: true\r\n" if simulated else lines).encode()


def _open_key(cipher: Cipher, provider: Provider) -> str | None:
    """Return the connection's key; None, and an error in the log, when this process cannot read it."""
    if not provider.api_key_sealed:
        return ""
    try:
        return cipher.open(provider.api_key_sealed, context=f"provider:{provider.id}")
    except SecretUnreadable:
        logger.exception("A provider is left out: its key cannot be read.", extra={"provider_id": provider.id})
        return None
