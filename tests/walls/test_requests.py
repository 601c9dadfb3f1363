"""Requests behind the wall: what they see when their code forgets every filter, and what is left of one that fails."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client as Browser
from django.test import RequestFactory
from django.urls import path

from accounts import api
from accounts.models import ApiKey, Membership, Tenant, User
from gateway import views
from gateway.models import Provider, RequestLog
from nexus import tenancy
from nexus.errors import NotFound
from nexus.ids import time_of, uuid7
from tests.accounts.test_keys_api import call
from tests.conftest import Person
from tests.database import database_urls
from tests.factories import make_key, make_member
from tests.gateway.test_requests_api import rows_of
from tests.routes import every_view
from tests.stack import ROOT, Stack

UNWALLED = (
    "v1/chat/completions",
    "v1/completions",
    "v1/embeddings",
    "v1/responses",
    "v1/messages",
    "v1/models",
    "^v1/models/",
    "healthz",
    "readyz",
    "metrics",
    "v1/openapi.json",  # describes the program, and asks the database nothing
    "docs",
    "theme/",  # a cookie
    "ui-kit/",  # made-up values
    "accounts/",  # before any tenant
    "profile/",  # a person's own, in all their tenants
)


def test_every_view_is_behind_the_wall_but_for_those_that_serve_no_tenant() -> None:
    outside = [where for where, view in every_view() if not hasattr(view, "is_walled")]
    unexpected = [where for where in outside if not where.startswith((*UNWALLED, "admin/"))]
    assert unexpected == []
    assert "v1/keys" in {where for where, view in every_view() if hasattr(view, "is_walled")}


def test_an_asynchronous_view_cannot_be_walled() -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    with pytest.raises(ImproperlyConfigured, match="a transaction belongs to one thread"):
        tenancy.walled([path("x", view)])


@pytest.fixture
def others(ada: Person, gus: Person) -> set[Tenant]:
    """Keys of two tenants."""
    make_key(ada.tenant, ada.user)
    make_key(gus.tenant, gus.user)
    return {ada.tenant, gus.tenant}


@pytest.mark.parametrize("by", ["key", "session"])
def test_an_api_view_without_any_filter_answers_its_own_tenant_alone(
    ada: Person, others: set[Tenant], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(api, "settings_json", lambda _: noted(seen))
    answer = call(ada.key, "GET", "/v1/settings") if by == "key" else ada.browser.get("/v1/settings")
    assert answer.status_code == 200, answer.content
    assert set(seen) == {ada.tenant.id}
    assert set(whose()) == {tenant.id for tenant in others}  # the test itself is not behind the wall again


def noted(seen: list[Any]) -> dict[str, Any]:
    """Stand in for what a view makes, with a look at whatever there is to see."""
    seen += whose()
    return {}


def whose() -> list[Any]:
    return [*ApiKey.objects.values_list("tenant_id", flat=True), *Tenant.objects.values_list("id", flat=True)]


def test_a_page_without_any_filter_shows_its_own_tenant_alone(
    ada: Person, others: set[Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(views, "_page", lambda *_: noted(seen))
    ada.browser.get("/t/acme/")
    assert set(seen) == {ada.tenant.id}


def test_a_stranger_sees_nothing_at_all(others: set[Tenant], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(api.KeyList, "permission_classes", [])
    monkeypatch.setattr(api.KeyList, "get", lambda *_: HttpResponse(str(noted(seen))))
    answer = Browser().get("/v1/keys")
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert seen == []


def test_a_template_that_is_rendered_after_the_view_is_still_behind_the_wall(ada: Person, gus: Person) -> None:
    template = engines["django"].from_string("{% for each in tenants %}{{ each.slug }} {% endfor %}")

    def view(request: HttpRequest) -> TemplateResponse:
        tenancy.enter(ada.tenant.id)
        return TemplateResponse(request, template, {"tenants": Tenant.objects.all()})

    (walled,) = tenancy.walled([path("x", view)])
    response = walled.callback(RequestFactory().get("/x"))
    assert response.content == b"acme "


@pytest.mark.parametrize(("error", "status"), [(NotFound("no"), 404), (RuntimeError("no"), 500)])
def test_an_answer_that_is_an_error_has_changed_nothing(
    ada: Person, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def writes_and_fails(tenant: Tenant) -> None:
        make_provider(tenant)
        raise error

    key = ada.key
    monkeypatch.setattr(api, "settings_json", writes_and_fails)
    assert call(key, "GET", "/v1/settings").status_code == status
    assert not Provider.objects.exists()
    monkeypatch.setattr(api, "settings_json", lambda tenant: make_provider(tenant) and {})
    assert call(key, "GET", "/v1/settings").status_code == 200
    assert Provider.objects.get().tenant == ada.tenant


def make_provider(tenant: Tenant) -> Provider:
    return Provider.objects.create(tenant=tenant, name="p", family="openai", base_url="http://127.0.0.1:9/v1")


def test_a_fault_in_sql_is_answered_in_our_shape(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction is broken then, and the answer is made without it."""

    def broken(_: Tenant) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    monkeypatch.setattr(api, "settings_json", broken)
    answer = call(ada.key, "GET", "/v1/settings")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert Tenant.objects.count() == 1  # the test's own transaction goes on


def test_a_row_for_another_tenant_is_refused_and_the_request_is_a_fault(
    ada: Person, gus: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api, "settings_json", lambda _: make_provider(gus.tenant))
    assert call(ada.key, "GET", "/v1/settings").status_code == 500
    assert "row-level security" in caplog.text
    assert not Provider.objects.exists()


def test_an_export_shows_the_tenants_rows_after_its_request_has_ended(ada: Person, gus: Person) -> None:
    for tenant in (ada.tenant, gus.tenant):
        identifier = uuid7()
        moment = time_of(identifier)
        RequestLog.objects.create(id=identifier, created_at=moment, tenant=tenant, endpoint="x", model="m", status=200)
    answer = call(ada.key, "GET", "/v1/requests?format=csv")
    told = b"".join(answer.streaming_content)
    mine = RequestLog.objects.for_tenant(ada.tenant).get()
    assert [row["id"] for row in rows_of(told)] == [str(mine.id)]


def test_no_transaction_waits_for_a_providers_server(committed: None, tenant: Tenant, monkeypatch: Any) -> None:
    user = make_member(tenant, f"ada@{tenant.slug}.example")
    provider = make_provider(tenant)
    seen: list[bool] = []

    async def probe(_: Provider) -> Any:
        seen.append(connection.in_atomic_block)
        raise NotFound("enough")

    monkeypatch.setattr("gateway.api_providers.probe", probe)
    call(make_key(tenant, user), "POST", f"/v1/providers/{provider.id}/test")
    assert seen == [False]


def test_a_new_person_is_made_beyond_the_wall_and_added_within(ada: Person) -> None:
    answer = call(ada.key, "POST", "/v1/members", {"email": "new@acme.example", "role": "viewer"})
    assert answer.status_code == 201
    membership = Membership.objects.get(user__email="new@acme.example")
    assert membership.tenant == ada.tenant
    assert not User.objects.get(email="new@acme.example").is_superuser


def test_a_process_with_all_connections_logs_in_as_the_tenants_role_for_a_request(
    committed: None, tenant: Tenant, stranger: Tenant
) -> None:
    """As the console does: not a role that is taken, and could be left, but one that the connection has."""
    user = make_member(tenant, f"ada@{tenant.slug}.example")
    make_key(stranger, make_member(stranger, f"gus@{stranger.slug}.example"))
    app, request_role = (os.environ[name].split("//")[1].split(":")[0] for name in ROLE_SETTINGS)
    told = console_child(make_key(tenant, user), user.email)
    for seen in (told["key"], told["session"]):
        assert (seen["session_user"], seen["current_user"]) == (request_role, request_role)
        assert seen["tenants_of_keys"] == seen["tenants"] == [str(tenant.id)]
    seen, outside = told["key"], told["key"]["outside"]
    assert outside["session_user"] == app
    assert {str(tenant.id), str(stranger.id)} <= set(outside["tenants_of_keys"])
    assert seen["inside_again"] == {name: seen[name] for name in seen["inside_again"]}
    assert (seen["failed"], seen["undone"], seen["noted"]) == (404, True, True)
    assert told["after"]["session_user"] == app
    assert told["open"] == ["default"]


ROLE_SETTINGS = ("DATABASE_URL", "NEXUS_TENANT_DATABASE_URL")


def console_child(*arguments: str) -> dict[str, Any]:
    environment = {**os.environ, **database_urls(connection.settings_dict["NAME"])}
    environment["DJANGO_SETTINGS_MODULE"] = "nexus.settings.console"
    told = subprocess.run(
        [sys.executable, "-m", "tests.walls.console_child", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    seen: dict[str, Any] = json.loads(told.stdout)
    return seen


def test_requests_that_need_both_roles_never_wait_for_each_other(
    committed: None, tenant: Tenant, tmp_path: Path
) -> None:
    """With one connection of each, those that hold the one and want the other would stand still until they time out."""
    user = make_member(tenant, f"ada@{tenant.slug}.example")
    browser = Browser()
    browser.force_login(user)
    cookies = {"sessionid": browser.cookies["sessionid"].value}
    keys = [make_key(tenant, user, last_used_at=None) for _ in range(20)]
    stack = Stack(tmp_path, connection.settings_dict["NAME"], {"NEXUS_DATABASE_POOL": "1"})
    try:
        console = stack.serve("console")

        def ask(headers: dict[str, str], cookies: dict[str, str] | None = None) -> int:
            url = f"{console.base_url}/v1/keys"
            return httpx.get(url, headers=headers, cookies=cookies, timeout=60).status_code

        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask, {"authorization": f"Bearer {key}"}) for key in keys]
            answers += [pool.submit(ask, {}, cookies) for _ in keys]
            assert [answer.result() for answer in answers] == [200] * 40
        with httpx.stream("GET", f"{console.base_url}/v1/requests?format=csv", cookies=cookies) as answer:
            assert answer.read().startswith(b"id,created_at")
        assert httpx.get(f"{console.base_url}/t/{tenant.slug}/", cookies=cookies).status_code == 200
        assert "PoolTimeout" not in stack.logs()
    finally:
        stack.stop()
    assert not ApiKey.objects.for_tenant(tenant).filter(last_used_at=None).exists()
