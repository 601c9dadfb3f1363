"""Every page of the console, for each role, in a real browser: by the rules of accessibility in both themes, at 320
pixels, with nothing on the browser's console, and asking nobody but us.

Each page is loaded once. What depends on the theme alone is looked at again after the theme is switched in place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from accounts import invitations
from accounts.audit import Actor, log
from accounts.auth import ANY_SCOPE
from accounts.models import ApiKey, AuditEvent, Role
from accounts.rbac import ROLE_SCOPES
from gateway.models import CircuitEvent
from nexus.ids import uuid7
from tests.browser import complaints, has_sideways_scroll
from tests.factories import make_key
from tests.gateway.driving import Driven, admin, driven, plain
from tests.gateway.test_overview import make_provider, make_request
from tests.test_page_access import PAGES

pytestmark = pytest.mark.browser
__all__ = ["admin", "driven", "plain"]
OWN = ("/profile/", "/profile/security/", "/profile/sessions/", "/accounts/password/change/")
OF_THE_THEME = ("color-contrast", "link-in-text-block")
FRAGMENTS = ("keys/<uuid:key_id>/first/",)


@dataclass(frozen=True)
class Things:
    """One object of each kind that a page is about."""

    request_id: str
    provider_id: str
    key_id: str
    event_id: str


@pytest.fixture(scope="module")
def things(driven: Driven) -> Things:
    """Fill the tenant with some of everything, good and bad."""
    tenant, boss = driven.tenant, driven.users[Role.ADMIN]
    first, second = make_provider(tenant, "Primary"), make_provider(tenant, "Backup", family="openai_compatible")
    make_provider(tenant, "Old", enabled=False)
    CircuitEvent.objects.create(
        id=uuid7(), tenant=tenant, provider_id=first.id, created_at=datetime.now(UTC), from_state="closed",
        to_state="open", reason="5 consecutive failures, the last: 503",
    )  # fmt: skip
    failed = {"provider": "openai", "provider_id": str(first.id), "fate": "503", "ms": 12, "kind": "server_error"}
    good = {"provider": "openai_compatible", "provider_id": str(second.id), "fate": "200", "ms": 340}
    make_request(tenant, minutes_ago=3, status=502, error_class="server_error", attempts=[failed])
    make_request(tenant, minutes_ago=2, attempts=[good], duration_ms=310, model="claude", provider_id=second.id)
    row = make_request(tenant, minutes_ago=1, attempts=[failed, good], duration_ms=420, provider_id=second.id)
    make_key(tenant, boss, name="CI pipeline", monthly_request_quota=500)
    make_key(tenant, boss, name="Old", revoked_at=datetime.now(UTC))
    actor = Actor.system("a test")
    log(actor=actor, action="settings.updated", target=tenant, tenant=tenant, changes={"max_attempts": [3, 4]})
    email = f"new@{tenant.slug}.example"
    invitations.invite(tenant, email=email, role="viewer", actor=actor, inviter=boss, now=datetime.now(UTC))
    key = ApiKey.objects.get(tenant=tenant, name="CI pipeline")
    event = AuditEvent.objects.for_tenant(tenant).filter(action="settings.updated").get()
    return Things(str(row.id), str(first.id), str(key.id), str(event.id))


def pages_of(role: str, things: Things) -> Iterator[str]:
    """Yield the addresses under the tenant that a role may open."""
    for path, scopes in PAGES.items():
        if "GET" in scopes and scopes["GET"] in (ANY_SCOPE, *ROLE_SCOPES[role]) and path not in FRAGMENTS:
            yield re.sub(r"<uuid:(\w+)>", lambda match: str(getattr(things, match[1])), path)
    yield from (f"requests/?live=1&open={things.request_id}", "requests/?model=no", "palette/?q=nothing")
    if role == Role.ADMIN:
        yield f"audit/?open={things.event_id}"


@pytest.mark.parametrize("role", Role.values)
def test_every_page_is_usable_by_everybody_in_both_themes(
    driven: Driven, page: Page, things: Things, role: str
) -> None:
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{page.url}: {message.text}"))
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_navigation_timeout(60_000)  # milliseconds; the machine may have other things to do
    page.emulate_media(color_scheme="light")
    driven.sign_in(page, role)
    faults: dict[str, list[str]] = {}
    for address in (*map(driven.url, pages_of(role, things)), *map(f"{driven.server.base_url}{{}}".format, OWN)):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        found = complaints(page)
        page.emulate_media(color_scheme="dark")
        found += [f"dark: {each}" for each in complaints(page, only=OF_THE_THEME)]
        page.set_viewport_size({"width": 320, "height": 800})
        found += ["scrolls sideways at 320 pixels"] if has_sideways_scroll(page) else []
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")
        if found:
            faults[address] = found
    assert faults == {}
    assert said == []
    assert [url for url in asked if not url.startswith((driven.server.base_url, "data:"))] == []


def test_members_fit_a_telephone_without_scrolling_in_their_card(driven: Driven, admin: Page, things: Things) -> None:
    admin.set_viewport_size({"width": 390, "height": 844})
    admin.goto(driven.url("members/"))
    for name in ("Table of members", "Table of invitations"):
        table = admin.get_by_role("region", name=name)
        assert table.evaluate("box => box.scrollWidth <= box.clientWidth"), name
        expect(table.get_by_role("button").first).to_be_in_viewport(ratio=1)


def test_dialogs_and_drawers_of_members_and_audit_break_no_rule(driven: Driven, admin: Page, things: Things) -> None:
    admin.goto(driven.url("members/"))
    admin.get_by_role("button", name="Invite", exact=True).click()
    expect(admin.get_by_role("dialog", name="Invite somebody")).to_be_visible()
    assert complaints(admin) == []
    admin.goto(driven.url("audit/"))
    admin.locator("tbody tr").first.click()
    expect(admin.locator("#drawer [data-drawer-title]")).to_be_visible()
    assert complaints(admin) == []
