"""Signing in with a real browser and real servers: passkeys, no JavaScript, attempts counted over processes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import Argon2PasswordHasher
from playwright.sync_api import Browser, Page, expect

from accounts import invitations
from accounts.audit import Actor
from accounts.models import AuditEvent, Tenant, User
from nexus.ids import uuid7
from tests.accounts.test_second_factor import code_of
from tests.browser import complaints, has_sideways_scroll
from tests.factories import make_member, make_tenant
from tests.stack import Server, Stack

pytestmark = pytest.mark.browser
PASSWORD = "correct horse battery"


@dataclass
class Doors:
    """Two console processes on one database, and a tenant in which each test makes people of its own."""

    first: Server
    second: Server
    tenant: Tenant

    def url(self, path: str) -> str:
        """Return an address by a host name: passkeys belong to names, not to numbers."""
        return f"http://localhost:{urlsplit(self.first.base_url).port}{path}"

    def person(self, role: str = "admin") -> User:
        user = make_member(self.tenant, f"p-{uuid7().hex[-10:]}@{self.tenant.slug}.example", role)
        user.password = Argon2PasswordHasher().encode(PASSWORD, "salt-of-a-test")  # the tests' own hasher is weaker
        user.save()
        return user

    def invitation(self, email: str) -> str:
        actor = Actor.system("a test")
        _, url = invitations.invite(
            self.tenant, email=email, role="viewer", actor=actor, inviter=None, now=datetime.now(UTC)
        )
        return urlsplit(url).path


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any) -> Iterator[Doors]:
    with django_db_blocker.unblock():
        from django.db import connection  # noqa: PLC0415  (its settings are the tests' by now)

        tenant = make_tenant(f"doors-{uuid7().hex[-10:]}", name="Acme Robotics")
        make_member(tenant, f"boss@{tenant.slug}.example")
        stack = Stack(tmp_path_factory.mktemp("doors"), connection.settings_dict["NAME"])
        try:
            first, second = stack.serve_together("all", "all")
            yield Doors(first, second, tenant)
        finally:
            stack.stop()


@pytest.fixture(autouse=True)
def patience(page: Page) -> None:
    page.set_default_navigation_timeout(30_000)  # milliseconds; the machine may have other things to do


@contextmanager
def authenticator(page: Page) -> Iterator[None]:
    """Give the browser an authenticator that holds passkeys and always finds its person."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield
    devtools.detach()


def sign_in(page: Page, doors: Doors, user: User, path: str = "/accounts/login/") -> None:
    page.goto(doors.url(path))
    page.get_by_label("E-mail address").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm(page: Page) -> None:
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()


def sign_out(page: Page) -> None:
    page.locator("#account-button").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to NEXUS")


def add_passkey(page: Page, doors: Doors, *, instead_of_password: bool) -> None:
    page.goto(doors.url("/profile/security/"))
    page.get_by_role("link", name="Add a passkey").click()
    confirm(page)
    if not instead_of_password:
        page.get_by_label("Sign in with it instead of a password").uncheck()
    page.get_by_role("button", name="Add passkey").click()
    expect(page.get_by_label("Recovery codes")).to_be_visible()
    page.get_by_role("link", name="I have kept them").click()


def test_a_passkey_signs_in_without_a_password(doors: Doors, page: Page) -> None:
    user = doors.person()
    with authenticator(page):
        sign_in(page, doors, user)
        page.wait_for_url(re.compile("/t/"))
        add_passkey(page, doors, instead_of_password=True)
        expect(page.get_by_role("row", name="Passkey Instead of a password")).to_be_visible()
        sign_out(page)
        page.goto(doors.url(f"/accounts/login/?next=/t/{doors.tenant.slug}/palette/"))
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url(doors.url(f"/t/{doors.tenant.slug}/palette/"))
    signed_in = AuditEvent.objects.filter(action="user.signed_in", target_id=str(user.id)).order_by(
        "-created_at", "-id"
    )
    assert [each.changes["method"][1] for each in signed_in] == ["passkey", "password"]


def test_a_passkey_can_be_the_second_step_and_is_removed_again(doors: Doors, page: Page) -> None:
    user = doors.person()
    with authenticator(page):
        sign_in(page, doors, user)
        page.wait_for_url(re.compile("/t/"))
        add_passkey(page, doors, instead_of_password=False)
        sign_out(page)
        sign_in(page, doors, user)
        expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
        page.get_by_role("button", name="Use a passkey").click()
        page.wait_for_url(re.compile("/t/"))
        page.goto(doors.url("/profile/security/"))
        page.get_by_role("link", name="Remove Passkey").click()
        confirm(page)
        page.get_by_role("button", name="Remove passkey").click()
        expect(page.get_by_text("Sign in with your fingerprint")).to_be_visible()
    assert not Authenticator.objects.filter(user=user).exists()


def test_by_a_number_for_a_host_the_page_says_what_passkeys_need(doors: Doors, page: Page) -> None:
    page.goto(f"{doors.first.base_url}/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(
        page.get_by_text(re.compile(r"Passkeys need a host name: open the console as http://localhost:\d+"))
    ).to_be_visible()


def test_all_but_passkeys_works_without_javascript(doors: Doors, chromium: Browser) -> None:
    user = doors.person()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_navigation_timeout(30_000)
    sign_in(page, doors, user, "/accounts/login/?next=/profile/security/")
    page.get_by_role("link", name="Add an app").click()
    confirm(page)
    secret = page.get_by_label("Key for the app").input_value()
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Add app").click()
    codes = page.get_by_label("Recovery codes").input_value().split()
    assert len(codes) == 10
    page.goto(doors.url("/profile/sessions/"))
    expect(page.get_by_role("row", name="Chrome on Linux This one")).to_be_visible()
    page.context.clear_cookies()
    sign_in(page, doors, user)
    expect(page.get_by_role("button", name="Use a passkey")).to_have_count(0)
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Verify").click()
    page.wait_for_url(re.compile("/t/"))
    context.close()


def test_attempts_are_counted_over_all_processes(doors: Doors) -> None:
    user = doors.person()

    def attempt(server: Server, password: str) -> str:
        with httpx.Client(base_url=server.base_url) as client:
            client.get("/accounts/login/")
            form = {"login": user.email, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
            answer = client.post("/accounts/login/", data=form)
        return "in" if answer.status_code == 302 else answer.text

    for server in (doors.first, doors.second, doors.first, doors.second, doors.first):
        assert "do not belong together" in attempt(server, "wrong")
    for server in (doors.first, doors.second):
        assert "Too many attempts" in attempt(server, PASSWORD)


ENTRANCE = {
    "login": "/accounts/login/?next=/profile/",
    "reset": "/accounts/password/reset/",
    "reset-sent": "/accounts/password/reset/done/",
    "reset-gone": "/accounts/password/reset/key/abc-def/",
    "reset-set": "/accounts/password/reset/key/done/",
    "off": "/accounts/inactive/",
    "cancelled": "/accounts/oidc/cancelled/",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_of_the_entrance_break_no_rule_of_accessibility(doors: Doors, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
    pages = ENTRANCE | {"invitation": doors.invitation(f"new-{uuid7().hex[-10:]}@example.com")}
    for name, path in pages.items():
        page.goto(doors.url(path), wait_until="load")
        assert complaints(page) == [], name
        page.set_viewport_size({"width": 320, "height": 720})
        assert not has_sideways_scroll(page), name
        page.set_viewport_size({"width": 1440, "height": 900})


def test_an_invitation_that_is_gone_breaks_no_rule_either(doors: Doors, chromium: Browser) -> None:
    context = chromium.new_context()  # of its own: the browser reports the 404, as it should
    page = context.new_page()
    page.goto(doors.url("/accounts/invitations/nothing/"))
    assert complaints(page) == []
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_asks_again_and_adds_a_factor_breaks_no_rule_of_accessibility(
    doors: Doors, page: Page, theme: str
) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
    sign_in(page, doors, doors.person())
    page.wait_for_url(re.compile("/t/"))
    page.goto(doors.url("/accounts/2fa/totp/activate/"))
    assert complaints(page) == []
    confirm(page)
    for path in ("/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/add/"):
        page.goto(doors.url(path))
        assert complaints(page) == [], path
        page.set_viewport_size({"width": 320, "height": 720})
        assert not has_sideways_scroll(page), path
        page.set_viewport_size({"width": 1440, "height": 900})


def test_an_admin_invites_and_removes_somebody(doors: Doors, page: Page) -> None:
    other = doors.person("developer")
    email = f"new-{uuid7().hex[-10:]}@example.com"
    sign_in(page, doors, doors.person())
    page.wait_for_url(re.compile("/t/[^/]+/$"))
    page.goto(doors.url(f"/t/{doors.tenant.slug}/members/"))
    page.get_by_role("button", name="Invite", exact=True).click()
    dialog = page.get_by_role("dialog", name="Invite somebody")
    dialog.get_by_label("E-mail address").fill(email)
    dialog.get_by_label("Viewer").check()
    dialog.get_by_role("button", name="Send invitation").click()
    expect(page.get_by_label("Link")).to_have_value(re.compile("/accounts/invitations/"))
    page.get_by_label("Link").evaluate("field => field.closest('[data-leave]').removeAttribute('data-leave')")
    page.get_by_role("link", name="Back to members").click()
    expect(page.get_by_role("row", name=email)).to_contain_text("Viewer")
    page.get_by_role("button", name=f"Remove {other.email}").click()
    question = page.get_by_role("dialog", name=f"Remove {other.email}?")
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    question.get_by_role("button", name="Remove member").click()
    expect(page.get_by_text(f"{other.email} is no member any more.")).to_be_visible()
    expect(page.get_by_role("row", name=other.email)).to_have_count(0)


def test_the_server_processes_complained_of_nothing(doors: Doors) -> None:
    for server in (doors.first, doors.second):
        assert "Traceback" not in server.log.read_text()
