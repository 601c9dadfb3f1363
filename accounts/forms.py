"""What forms of the console share: the API's own serializers judge them, and each fault stands beside its field."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from accounts.audit import Actor
from accounts.pages import TenantRequest
from nexus.errors import NexusError
from nexus.http import client_ip, request_id


def actor_of(request: TenantRequest) -> Actor:
    """Return who does what a page asks for, as the audit log names them."""
    return Actor.of_user(request.user, ip=client_ip(request), request_id=request_id(request))


def faults_of(reader: "serializers.Serializer[Any]") -> dict[str, str]:
    """Return what a serializer found wrong, one sentence for each field."""
    return {name: _first(detail) for name, detail in reader.errors.items()}


def fault_of(error: NexusError) -> dict[str, str]:
    """Return a service's refusal beside the field it names; under "" without one."""
    return {(error.param or "").partition(".")[0]: error.message}


def _first(detail: Any) -> str:
    while isinstance(detail, list | Mapping) and detail:
        detail = next(iter(detail.values() if isinstance(detail, Mapping) else detail))
    return str(detail)
