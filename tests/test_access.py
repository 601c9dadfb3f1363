"""Who may call what: every route of the management API, each method, each role, and another tenant.

The routes come from the URL table itself, so a new one is held to the same rules without being named here; one that
names a new kind of object fails until FOREIGN knows how to make it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client as Browser
from rest_framework.views import APIView

from accounts.audit import Actor, log
from accounts.auth import ANY_SCOPE
from accounts.invitations import invite
from accounts.models import ApiKey, AuditEvent, Membership, Tenant
from accounts.rbac import ROLE_SCOPES, SCOPES
from gateway.models import Provider, RequestLog
from gateway.streaming import model_request, small_request
from nexus.documents import openapi_document
from nexus.ids import time_of, uuid7
from tests.conftest import Person
from tests.factories import make_key
from tests.routes import every_view

DATA_PLANE = {model_request, small_request}  # they check keys and scopes themselves, from the snapshot
PUBLIC = {openapi_document}


@dataclass(frozen=True)
class Route:
    """One route of the management API."""

    path: str  # as in the URL table: v1/keys/<uuid:key_id>
    view: type[APIView]

    @property
    def methods(self) -> list[str]:
        return [name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(self.view, name)]

    def url(self, **identifiers: Any) -> str:
        """Return the address with the identifiers given, or one that nothing has."""
        parts = []
        for part in self.path.split("/"):
            name = part.strip("<>").partition(":")[2]
            parts.append(str(identifiers.get(name, uuid4())) if name else part)
        return "/" + "/".join(parts)


ROUTES = [Route(path, view.view_class) for path, view in every_view("v1/") if hasattr(view, "view_class")]
CALLS = [pytest.param(route, method, id=f"{method} {route.path}") for route in ROUTES for method in route.methods]


def make_provider(tenant: Tenant) -> str:
    nobody = "http://127.0.0.1:9/v1"  # refuses at once; a test of the connection goes no further
    return str(Provider.objects.create(tenant=tenant, name="theirs", family="openai", base_url=nobody).id)


def make_request(tenant: Tenant) -> str:
    identifier = uuid7()
    RequestLog.objects.create(id=identifier, created_at=time_of(identifier), tenant=tenant, endpoint="x", status=200)
    return str(identifier)


def make_foreign_key(tenant: Tenant) -> str:
    make_key(tenant, None, name="theirs")
    return str(ApiKey.objects.get(tenant=tenant, name="theirs").id)


def make_invitation(tenant: Tenant) -> str:
    now = datetime.now(UTC)
    actor = Actor.system("a test")
    email = f"{uuid7().hex[-10:]}@example.com"
    row, _ = invite(tenant, email=email, role="viewer", actor=actor, inviter=None, now=now)
    return str(row.id)


def make_event(tenant: Tenant) -> str:
    log(actor=Actor.system("a test"), action="test.made", target=tenant, tenant=tenant)
    return str(AuditEvent.objects.for_tenant(tenant).latest("created_at").id)


FOREIGN: dict[str, Callable[[Tenant], str]] = {
    "key_id": make_foreign_key,
    "member_id": lambda tenant: str(Membership.objects.get(tenant=tenant).id),
    "provider_id": make_provider,
    "invitation_id": make_invitation,
    "event_id": make_event,
    "request_id": make_request,
}


def call(key: str | None, method: str, url: str) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return Browser().generic(method, url, json.dumps({}).encode(), content_type="application/json", headers=headers)


def test_the_table_is_not_empty() -> None:
    assert {"v1/keys", "v1/members/<uuid:member_id>", "v1/providers", "v1/audit"} <= {route.path for route in ROUTES}


def test_every_view_under_v1_is_managed_the_data_planes_or_public() -> None:
    for path, view in every_view("v1/"):
        assert hasattr(view, "view_class") or view in DATA_PLANE | PUBLIC, path


@pytest.mark.parametrize(("route", "method"), CALLS)
def test_every_method_declares_a_scope_that_exists(route: Route, method: str) -> None:
    assert getattr(route.view, "scopes", {}).get(method) in (*SCOPES, ANY_SCOPE)


@pytest.mark.parametrize(("route", "method"), CALLS)
def test_strangers_are_told_that_they_are_strangers(db: None, route: Route, method: str) -> None:
    assert call(None, method, route.url()).status_code == 401


@pytest.mark.parametrize("role", ["ada", "dev", "vera"])
@pytest.mark.parametrize(("route", "method"), CALLS)
def test_a_role_reaches_what_its_scopes_say_and_nothing_else(
    request: pytest.FixtureRequest, route: Route, method: str, role: str
) -> None:
    person: Person = request.getfixturevalue(role)
    scope = route.view.scopes[method]  # type: ignore[attr-defined]  # ours, checked above
    held = ROLE_SCOPES[Membership.objects.get(user=person.user).role]
    by_key = call(person.key, method, route.url())
    by_session = person.browser.generic(method, route.url(), b"{}", content_type="application/json")
    for answer in (by_key, by_session):
        if scope == ANY_SCOPE or scope in held:
            assert answer.status_code not in (401, 403, 405, 500), answer.content
        else:
            assert answer.status_code == 403
            assert answer.json()["error"]["code"] == "SCOPE_REQUIRED"


@pytest.mark.parametrize(("route", "method"), CALLS)
def test_a_key_without_scopes_reaches_only_what_is_for_all(ada: Person, route: Route, method: str) -> None:
    answer = call(make_key(ada.tenant, ada.user, scopes=[]), method, route.url())
    assert (answer.status_code == 403) == (route.view.scopes[method] != ANY_SCOPE)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("route", "method"), [each for each in CALLS if "<" in str(each.id)])
def test_another_tenants_object_does_not_exist(gus: Person, ada: Person, route: Route, method: str) -> None:
    names = [part.strip("<>").partition(":")[2] for part in route.path.split("/") if part.startswith("<")]
    url = route.url(**{name: FOREIGN[name](ada.tenant) for name in names})
    answer = call(gus.key, method, url)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "NOT_FOUND"
    assert call(ada.key, method, url).status_code != 404  # the same address, from within
