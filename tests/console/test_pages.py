"""The frame: who may open a page, what the palette finds, what errors look like, and what no page contains."""

import gzip
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages import constants
from django.http import HttpResponse
from django.test import Client as Browser
from django.test import RequestFactory
from django.urls import include, path

import nexus.urls.console
from accounts.auth import ANY_SCOPE
from accounts.models import Membership, Tenant
from accounts.pages import TenantRequest, tenant_page
from accounts.rbac import ROLE_SCOPES, SCOPES
from console import navigation
from console.navigation import Entry, NavBadge
from nexus.http import server_error
from tests.conftest import Person
from tests.factories import make_member
from tests.routes import every_view
from tests.test_access import FOREIGN

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "t/<slug:slug>/"
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|hx-on|javascript:")


def routes() -> dict[str, Any]:
    """Return the views under a tenant's address, by their paths relative to it."""
    return {there.removeprefix(PREFIX): view for there, view in every_view() if PREFIX in there}


ROUTES = routes()
CALLS = [(route, method) for route, view in ROUTES.items() for method in getattr(view, "scopes", {})]


def address(slug: str, route: str, tenant: Tenant | None = None) -> str:
    """Return the address of a route with objects of a tenant, or with such as nobody has."""

    def value(match: re.Match[str]) -> str:
        return FOREIGN[match[1]](tenant) if tenant else str(uuid4())

    return f"/t/{slug}/" + re.sub(r"<\w+:(\w+)>", value, route)


def test_every_page_of_a_tenant_declares_a_scope_that_exists() -> None:
    assert {"", "palette/"} <= set(ROUTES)
    for route, view in ROUTES.items():
        assert hasattr(view, "scopes"), f"t/<slug>/{route} is not guarded by tenant_page"
        assert set(view.scopes.values()) <= {*SCOPES, ANY_SCOPE}


@pytest.mark.parametrize("role", ["ada", "dev", "vera"])
@pytest.mark.parametrize(("route", "method"), CALLS)
def test_a_role_opens_what_its_scopes_say_and_nothing_else(
    request: pytest.FixtureRequest, route: str, method: str, role: str
) -> None:
    person: Person = request.getfixturevalue(role)
    scope = ROUTES[route].scopes[method]
    answer = person.browser.generic(method, address("acme", route))
    held = ROLE_SCOPES[Membership.objects.get(user=person.user).role]
    assert (answer.status_code == 403) == (scope != ANY_SCOPE and scope not in held)
    assert answer.status_code < 500


@pytest.mark.parametrize(("route", "method"), CALLS)
def test_another_tenants_pages_do_not_exist(gus: Person, ada: Person, route: str, method: str) -> None:
    theirs = address("acme", route, ada.tenant)
    assert gus.browser.generic(method, theirs).status_code == 404
    if "<" in route:  # another tenant's object in one's own address
        assert gus.browser.generic(method, theirs.replace("/t/acme/", "/t/globex/")).status_code == 404


@pytest.mark.parametrize("route", ROUTES)
def test_strangers_sign_in_first(acme: Tenant, route: str) -> None:
    answer = Browser().get(address("acme", route))
    assert answer.status_code in (302, 405)
    if answer.status_code == 302:
        assert answer.headers["location"].startswith("/accounts/login/?next=/t/acme/")


def test_a_poll_of_somebody_signed_out_is_led_to_the_sign_in(acme: Tenant) -> None:
    headers = {"hx-request": "true", "hx-current-url": "http://testserver/t/acme/?range=1h"}
    answer = Browser().get("/t/acme/", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/accounts/login/?next=/t/acme/%3Frange%3D1h"
    assert answer.content == b""


def test_somebody_deactivated_is_a_stranger(ada: Person) -> None:
    ada.user.is_active = False
    ada.user.save()
    assert ada.browser.get("/t/acme/").status_code == 302


# --- a page with a scope that not everybody has -----------------------------------------------------------------------


@pytest.fixture
def secret_page(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A page for admins alone, with an entry in the sidebar, and one that fails."""

    @tenant_page({"GET": "members:read", "POST": "members:write"})
    def secret(request: TenantRequest) -> HttpResponse:
        return HttpResponse(f"{request.role} of {request.tenant.slug}")

    @tenant_page({"GET": ANY_SCOPE})
    def failing(request: TenantRequest) -> HttpResponse:
        raise ZeroDivisionError

    class urls:  # noqa: N801  (stands for a module)
        handler400 = nexus.urls.console.handler400
        handler403 = nexus.urls.console.handler403
        handler404 = nexus.urls.console.handler404
        handler500 = nexus.urls.console.handler500
        urlpatterns = [
            path("t/<slug:slug>/", include([path("secret/", secret, name="secret"), path("failing/", failing)])),
            *nexus.urls.console.urlpatterns,
        ]

    settings.ROOT_URLCONF = urls
    entries = dict(navigation._ENTRIES)
    monkeypatch.setattr(navigation, "_ENTRIES", entries)
    badge = lambda tenant: NavBadge(f"2 in {tenant.slug}", "bad")  # noqa: E731
    navigation.register(Entry("secret", "Secrets", "lock", group="Govern", scope="members:read", key="x", badge=badge))


def test_who_lacks_the_scope_is_told_who_can_give_it(secret_page: None, ada: Person, dev: Person) -> None:
    for number in range(4):
        make_member(ada.tenant, f"boss{number}@acme.example", "admin")

    assert ada.browser.get("/t/acme/secret/").content == b"admin of acme"
    refused = dev.browser.get("/t/acme/secret/")

    text = " ".join(re.sub(r"<[^>]+>", " ", refused.content.decode()).split())
    assert refused.status_code == 403
    assert "You are developer of Acme. It takes admin ." in text
    assert "Ask ada@acme.example, boss0@acme.example, boss1@acme.example or one of 2 more admins for it." in text


def test_the_sidebar_shows_what_the_role_has_and_where_one_is(secret_page: None, ada: Person, dev: Person) -> None:
    theirs = ada.browser.get("/t/acme/").content.decode()
    assert '<a href="/t/acme/" aria-current="page"' in theirs
    assert '<a href="/t/acme/secret/" data-go="x">' in theirs
    assert '<span class="n bad">2 in acme</span>' in theirs
    assert "secret" not in dev.browser.get("/t/acme/").content.decode()


def test_a_method_without_a_scope_is_nobodys(secret_page: None, ada: Person) -> None:
    assert ada.browser.delete("/t/acme/secret/").status_code == 405
    assert ada.browser.head("/t/acme/secret/").status_code == 200


def test_a_failure_is_told_in_the_frame_with_its_id(secret_page: None, ada: Person) -> None:
    ada.browser.raise_request_exception = False
    answer = ada.browser.get("/t/acme/failing/")
    page = answer.content.decode()
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in page
    assert 'id="nav"' in page
    assert "2 in acme" not in page  # badges would ask the database, which may be what failed


def test_a_failure_before_anything_is_known_asks_the_database_nothing(
    ada: Person, django_assert_num_queries: Any
) -> None:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    with django_assert_num_queries(0):
        page = server_error(request).content.decode()
    assert "NEXUS failed" in page
    assert 'id="nav"' not in page


def test_what_is_not_there_is_told_in_the_frame_with_a_search(ada: Person) -> None:
    for missing in ("/t/acme/nothing/", "/t/globex/", "/nothing/"):
        answer = ada.browser.get(missing)
        page = answer.content.decode()
        assert answer.status_code == 404
        assert "<h1>Nothing here</h1>" in page
        assert 'action="/t/acme/palette/"' in page.split('id="main"')[1]
    assert "Back to NEXUS" in Browser().get("/nothing/").content.decode()


def test_a_form_without_its_token_is_refused_in_our_words(ada: Person) -> None:
    browser = Browser(enforce_csrf_checks=True)
    answer = browser.post("/theme/", {"theme": "dark"})
    assert answer.status_code == 403
    assert "This form is no longer valid." in answer.content.decode()
    assert not INLINE.search(answer.content.decode())


# --- the palette, the theme, the zone, toasts -------------------------------------------------------------------------


def test_the_palette_finds_pages_tenants_and_actions(secret_page: None, ada: Person, dev: Person) -> None:
    other = Tenant.objects.create(slug="other", name="Other Works")
    make_member(other, ada.user.email, "viewer")

    def found(person: Person, text: str) -> list[str]:
        answer = person.browser.get("/t/acme/palette/", {"q": text}, headers={"hx-request": "true"})
        assert "<html" not in answer.content.decode()
        return re.findall(r'role="option"[^>]*>.*?<span>(.*?)</span>', answer.content.decode())

    assert found(ada, "") == [
        "Overview", "Requests", "Providers", "API keys", "Secrets", "Members", "Settings", "Audit log",
        "Switch to Other Works", "Switch theme", "Refresh", "Keyboard shortcuts",
    ]  # fmt: skip
    assert found(ada, "sec") == ["Secrets"]
    assert found(dev, "sec") == []
    assert found(ada, "othe wor") == ["Switch to Other Works"]


def test_without_javascript_the_palette_is_a_page_of_links(ada: Person) -> None:
    page = ada.browser.get("/t/acme/palette/", {"q": "<over"}).content.decode()
    assert "Nothing found for “&lt;over”." in page
    links = ada.browser.get("/t/acme/palette/", {"q": "over"}).content.decode().split('id="main"')[1]
    assert '<a class="option" href="/t/acme/"' in links
    assert "tabindex" not in links.split("options-page")[1].split("</a>")[0]


def test_the_theme_is_kept_in_a_cookie_that_the_server_reads(ada: Person) -> None:
    assert '<html lang="en">' in ada.browser.get("/t/acme/").content.decode()
    answer = ada.browser.post("/theme/", {"theme": "dark", "next": "/t/acme/?range=1h"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/t/acme/?range=1h")
    assert '<html lang="en" data-theme="dark">' in ada.browser.get("/t/acme/").content.decode()
    assert ada.browser.post("/theme/", {"theme": "system", "next": "//evil.example"}).headers["location"] == "/"
    assert '<html lang="en">' in ada.browser.get("/t/acme/").content.decode()


def test_pages_are_in_the_zone_of_the_browser(ada: Person) -> None:
    ada.browser.cookies["tz"] = "Asia/Kolkata"
    assert '<p class="hint">Asia/Kolkata</p>' in ada.browser.get("/t/acme/").content.decode()
    ada.browser.cookies["tz"] = "nonsense"
    assert '<p class="hint">UTC</p>' in ada.browser.get("/t/acme/").content.decode()


def test_an_error_is_a_toast_of_the_next_page_and_interrupts(ada: Person, settings: Any) -> None:
    settings.DEBUG = True
    page = ada.browser.get("/ui-kit/failure/", follow=True).content.decode()
    polite, _, alerts = page.partition('id="alerts" role="alert"')
    assert "could not be revoked" in alerts.partition("</div>\n</div>")[0]
    assert "could not be revoked" not in polite


def test_a_message_becomes_a_toast_for_htmx_and_waits_for_the_next_page_otherwise(ada: Person, settings: Any) -> None:
    settings.DEBUG = True
    settings.MESSAGE_LEVEL = constants.DEBUG

    by_htmx = ada.browser.get("/ui-kit/toast/", headers={"hx-request": "true"})
    shown = json.loads(by_htmx.headers["hx-trigger"])
    assert shown == {"toast": {"items": [{"text": "Key “CI pipeline” is revoked.", "tone": "success"}]}}
    assert "is revoked." not in ada.browser.get("/t/acme/").content.decode()

    assert "hx-trigger" not in ada.browser.get("/ui-kit/toast/").headers
    assert "is revoked." in ada.browser.get("/t/acme/").content.decode()
    assert "is revoked." not in ada.browser.get("/t/acme/").content.decode()


# --- what no page contains, and what all weigh ------------------------------------------------------------------------


@pytest.fixture
def all_pages(ada: Person, settings: Any) -> list[Any]:
    """Every page that can be shown without an object, and the UI kit with all components."""
    settings.DEBUG = True
    shown = [route for route, view in ROUTES.items() if "<" not in route and "GET" in view.scopes]
    addresses = [address("acme", route) for route in shown]
    others = ["/ui-kit/", "/ui-kit/overview/", "/profile/", "/profile/security/", "/profile/sessions/"]
    signed_in = [ada.browser.get(each) for each in (*addresses, *others, "/t/nosuch/", "/t/acme/?range=bad")]
    return [*signed_in, *(Browser().get(f"/accounts/{each}/") for each in ("login", "password/reset"))]


def test_no_page_has_inline_script_or_style(all_pages: list[Any]) -> None:
    for answer in all_pages:
        found = INLINE.search(answer.content.decode())
        assert not found, found
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert re.search(r"script-src 'self' 'nonce-[^']+'", policy)


def test_every_page_has_one_heading_one_main_and_no_double_id(all_pages: list[Any]) -> None:
    for answer in all_pages:
        page = answer.content.decode()
        assert len(re.findall(r"<h1[ >]", page)) == 1
        assert len(re.findall(r"<main[ >]", page)) == 1
        assert '<html lang="en"' in page
        ids = re.findall(r'\sid="([^"]+)"', page.replace('id="hatch"', "").replace('id="dots"', ""))
        assert len(ids) == len(set(ids)), [each for each in ids if ids.count(each) > 1]


def test_no_page_names_another_host(all_pages: list[Any]) -> None:
    for answer in all_pages:
        assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.content.decode())


def test_pages_styles_and_scripts_are_light(all_pages: list[Any]) -> None:
    def weight(*files: Path) -> int:
        return len(gzip.compress(b"".join(file.read_bytes() for file in files), 9))

    assert weight(*sorted((ROOT / "static/css").glob("*.css"))) <= 16 * 1024
    assert weight(*sorted((ROOT / "static/js").glob("*.js"))) <= 10 * 1024
    for answer in all_pages:
        assert len(gzip.compress(answer.content)) <= 40 * 1024


def test_colours_are_named_once_and_only_among_the_tokens() -> None:
    for file in ("components.css", "shell.css"):
        rules = (ROOT / "static/css" / file).read_text()
        hexes = re.findall(r"#[0-9a-f]{3,8}\b", rules)
        assert set(hexes) <= {"#fff", "#1d0809", "#drawer"}, hexes  # the words on a red button


def test_fonts_are_served_by_us(db: None) -> None:
    styles = (ROOT / "static/css/tokens.css").read_text()
    for name in re.findall(r'url\("\.\./([^"]+)"\)', styles):
        answer = Browser().get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.content[:4] == b"\x00\x01\x00\x00"


def test_the_ui_kit_is_for_development_only(db: None) -> None:
    assert Browser().get("/ui-kit/").status_code == 404
