"""The circuits of a tenant's providers as people see them, in the API and on the home page."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

from accounts.models import Tenant
from console.navigation import NavBadge
from gateway.circuit import OPEN_SECONDS, Circuit, Status
from gateway.circuit_store import read_states
from gateway.models import CircuitEvent, Provider
from nexus.redis_clients import sync_client

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Transition:
    """The latest change of a circuit."""

    at: datetime
    from_state: str
    to_state: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return {"at": self.at, "from": self.from_state, "to": self.to_state, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class ProviderCircuit:
    """One provider with the state of its circuit. `half_open_at` is when an open one admits its first probe."""

    provider: Provider
    state: str
    consecutive_failures: int
    opened_at: datetime | None
    half_open_at: datetime | None
    last_transition: Transition | None

    def as_json(self) -> dict[str, Any]:
        """Return a row of GET /v1/circuits."""
        return {
            "provider_id": self.provider.id,
            "name": self.provider.name,
            "family": self.provider.family,
            **self.state_as_json(),
        }

    def state_as_json(self) -> dict[str, Any]:
        """Return what a provider's own object says of its circuit."""
        return {
            "state": self.state,
            "consecutive_failures": self.consecutive_failures,
            "opened_at": self.opened_at,
            "half_open_at": self.half_open_at,
            "last_transition": self.last_transition.as_json() if self.last_transition else None,
        }


@dataclass(frozen=True, slots=True)
class Board:
    """Circuits in the order of their providers. `backend` is `local` while the shared state cannot be read."""

    backend: str
    circuits: tuple[ProviderCircuit, ...]


def circuit_board(tenant: Tenant, providers: Iterable[Provider]) -> Board:
    """Return the circuits of a tenant's providers. One query and one round trip to Redis.

    Without Redis every runtime process has circuits of its own; the latest event that any of them recorded is then the
    best that is known.
    """
    listed = list(providers)
    ids = [provider.id for provider in listed]
    latest = _latest_transitions(tenant, ids)
    try:
        shared: Mapping[UUID, Circuit] | None = read_states(sync_client(settings.REDIS_URL), ids)
    except RedisError as error:
        logger.warning(
            "Redis does not answer: circuit states are told from their last events.",
            extra={"error": type(error).__name__},
        )
        shared = None
    if shared is None:
        return Board("local", tuple(_from_event(provider, latest.get(provider.id)) for provider in listed))
    return Board(
        "redis", tuple(_from_shared(provider, shared[provider.id], latest.get(provider.id)) for provider in listed)
    )


def open_badge(tenant: Tenant) -> NavBadge | None:
    """Say in the sidebar how many circuits are open. One query and one round trip to Redis.

    Nothing while Redis does not answer: Overview and Providers tell what is known then.
    """
    ids = Provider.objects.for_tenant(tenant).filter(enabled=True).values_list("id", flat=True)
    try:
        states = read_states(sync_client(settings.REDIS_URL), ids)
    except RedisError:
        return None
    number = sum(circuit.status is Status.OPEN for circuit in states.values())
    return NavBadge(f"{number} open", "bad") if number else None


def _latest_transitions(tenant: Tenant, ids: list[UUID]) -> dict[UUID, Transition]:
    events = CircuitEvent.objects.for_tenant(tenant).filter(provider_id__in=ids)
    latest = events.order_by("provider_id", "-created_at", "-id").distinct("provider_id")
    return {
        event.provider_id: Transition(event.created_at, event.from_state, event.to_state, event.reason)
        for event in latest
    }


def _from_shared(provider: Provider, circuit: Circuit, recorded: Transition | None) -> ProviderCircuit:
    told = recorded
    moved = circuit.last_at_ms and circuit.last_from != circuit.status  # a reset of a closed circuit moves nothing
    if moved and (recorded is None or _moment(circuit.last_at_ms) > recorded.at):
        # The event itself comes with the shipper, a moment later.
        told = Transition(_moment(circuit.last_at_ms), circuit.last_from, circuit.status.value, circuit.last_reason)
    half_open_at = circuit.half_open_at_ms(OPEN_SECONDS * 1000)
    return ProviderCircuit(
        provider=provider,
        state=circuit.status.value,
        consecutive_failures=circuit.consecutive_failures,
        opened_at=_moment(circuit.opened_at_ms) if circuit.opened_at_ms else None,
        half_open_at=_moment(half_open_at) if half_open_at is not None else None,
        last_transition=told,
    )


def _from_event(provider: Provider, last: Transition | None) -> ProviderCircuit:
    is_open = last is not None and last.to_state == Status.OPEN
    return ProviderCircuit(
        provider=provider,
        state=last.to_state if last else Status.CLOSED.value,
        consecutive_failures=0,
        opened_at=last.at if last and is_open else None,
        half_open_at=last.at + timedelta(seconds=OPEN_SECONDS) if last and is_open else None,
        last_transition=last,
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
