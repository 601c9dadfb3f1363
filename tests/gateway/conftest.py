"""The gateway's tests drive real server processes: both doors, a shipper, and scripted upstreams."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.conf import settings
from django.db import connection

from accounts.keys import display_prefix, generate, hash_key
from accounts.models import ApiKey, ConfigRevision, Membership, Role, Tenant, User
from accounts.rbac import ROLE_SCOPES
from accounts.revisions import announce
from gateway.models import ModelRoute, Provider, RequestLog
from nexus.encryption import Cipher
from nexus.ids import time_of
from tests.stack import Server, Stack, eventually
from tests.upstream import Upstream

MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")


@dataclass
class Servers:
    """The doors of one stack: the lane of our own server, the Django views, and the bare ASGI door."""

    stack: Stack
    door: Server
    twin: Server
    _plain: Server | None = None

    @property
    def plain(self) -> Server:
        """The ASGI application in another server, started when a test first asks for it."""
        if self._plain is None:
            self._plain = self.stack.serve_elsewhere()
        return self._plain

    @property
    def running(self) -> list[Server]:
        return [self.door, self.twin] + ([self._plain] if self._plain else [])


EVERY_DOOR = pytest.mark.parametrize("base_url", ["door", "plain", "twin"], indirect=True)


@pytest.fixture(scope="session")
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let tests write rows that other processes see. Nothing is rolled back."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def servers(committed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start both doors and the shipper on the test database, once."""
    stack = Stack(tmp_path_factory.mktemp("stack"), connection.settings_dict["NAME"])
    try:
        stack.run("ship")
        door, twin = stack.serve_together("all", "console")
        yield Servers(stack, door=door, twin=twin)
    finally:
        stack.stop()


@pytest.fixture(params=["door", "twin"])
def base_url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """The data plane's address: every test that asks for it runs over two doors, those marked EVERY_DOOR over all."""
    server: Server = getattr(servers, request.param)
    return server.base_url


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(family="openai") as running:
        yield running


@pytest.fixture
def backup() -> Iterator[Upstream]:
    with Upstream(family="openai_compatible") as running:
        yield running


@dataclass(frozen=True)
class Client:
    """A tenant of its own with an API key, and how to look at what became of its requests."""

    tenant: Tenant
    user: User
    key: str
    key_id: UUID

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def add_provider(self, server: Upstream | str, *, name: str, family: str = "openai", **fields: Any) -> Provider:
        """Connect an upstream that serves MODELS under their own names."""
        models = fields.pop("models", {model: model for model in MODELS})
        api_key = fields.pop("api_key", "sk-upstream-secret")
        url = server if isinstance(server, str) else server.base_url
        provider = Provider(tenant=self.tenant, name=name, family=family, base_url=url, **fields)
        provider.api_key_sealed = Cipher(settings.NEXUS_ENCRYPTION_KEYS).seal(
            api_key, context=f"provider:{provider.id}"
        )
        provider.save()
        ModelRoute.objects.bulk_create(
            ModelRoute(tenant=self.tenant, provider=provider, public_name=public, upstream_name=name_)
            for public, name_ in models.items()
        )
        return provider

    def rows(self) -> list[RequestLog]:
        """Return the tenant's request log, oldest first."""
        return list(RequestLog.objects.for_tenant(self.tenant).order_by("created_at", "id"))

    def row(self, request_id: str) -> RequestLog:
        """Return one request's row, waiting for the shipper; the contract allows it two seconds."""
        identifier = UUID(request_id)

        def look() -> RequestLog | None:
            return RequestLog.objects.filter(id=identifier, created_at=time_of(identifier)).first()

        return eventually(look, seconds=20, what=f"the row of {request_id}")


def in_force(*servers: Server) -> None:
    """Wait until the servers work with all that has been committed so far."""
    revision = ConfigRevision.objects.values_list("revision", flat=True).get()
    announce()
    for server in servers:

        def caught_up(server: Server = server) -> bool:
            # Chance, by new connections, says which worker answers: of several all but surely each is asked.
            looks = 1 if server.workers == 1 else 8 * server.workers
            answers = (httpx.get(f"{server.base_url}/readyz").json() for _ in range(looks))
            return all(answer["checks"]["configuration"]["revision"] >= revision for answer in answers)

        eventually(caught_up, what=f"configuration revision {revision} in force")


def make_client() -> Client:
    """Make a fresh tenant, whose admin made a key with every scope."""
    name = f"t{secrets.token_hex(6)}"
    tenant = Tenant.objects.create(slug=name, name=name)
    user = User.objects.create(email=f"ada@{name}.example")
    Membership.objects.create(tenant=tenant, user=user, role=Role.ADMIN)
    key = generate()
    row = ApiKey.objects.create(
        tenant=tenant,
        name="test",
        prefix=display_prefix(key),
        key_hash=hash_key(key),
        scopes=sorted(ROLE_SCOPES["admin"]),
        created_by=user,
    )
    return Client(tenant, user, key, row.id)


@pytest.fixture
def client(committed: None) -> Client:
    return make_client()


@pytest.fixture
def other_client(committed: None) -> Client:
    """A second tenant, which has nothing to do with the first."""
    return make_client()


@pytest.fixture
def routed(client: Client, upstream: Upstream, servers: Servers) -> Client:
    """A client with one provider, known to every door."""
    client.add_provider(upstream, name="primary")
    in_force(*servers.running)
    return client


@pytest.fixture
def failing_over(client: Client, upstream: Upstream, backup: Upstream, servers: Servers) -> Client:
    """A client with two providers: `upstream` first, then `backup`."""
    client.add_provider(backup, name="backup", family="openai_compatible", weight=10)
    client.add_provider(upstream, name="primary", weight=100)
    in_force(*servers.running)
    return client
