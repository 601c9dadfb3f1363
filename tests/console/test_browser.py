"""The frame in a real browser: by keyboard, without JavaScript, in both themes, and by the rules of accessibility."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from playwright.sync_api import Browser, Page, Route, expect

from accounts.models import Role, Tenant, User
from nexus.ids import uuid7
from tests.browser import complaints, has_sideways_scroll
from tests.factories import make_member, make_tenant
from tests.sessions import give_session
from tests.stack import Server, Stack
from tests.test_access import make_request

pytestmark = pytest.mark.browser
PASSWORD = "correct horse battery"
POLL = "void htmx.ajax('GET', location.pathname, {source: '#circuits'})"  # what `every 30s` does


@dataclass
class Console:
    """A console process in development's manner, which has the UI kit, and one that is not."""

    kit: Server
    real: Server
    tenant: Tenant
    users: dict[str, User]


@pytest.fixture(scope="module")
def console(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any
) -> Iterator[Console]:
    with django_db_blocker.unblock():
        from django.db import connection  # noqa: PLC0415  (its settings are the tests' by now)

        tenant = make_tenant(f"console-{uuid7().hex[-10:]}", name="Acme Robotics")
        other = make_tenant(f"other-{uuid7().hex[-10:]}", name="Other Works")
        users = {}
        for role in Role.values:
            user = make_member(tenant, f"{role}@{tenant.slug}.example", role)
            user.password = Argon2PasswordHasher().encode(PASSWORD, "salt-of-a-test")  # the tests' own hasher is weaker
            user.save()
            users[role] = user
        make_member(other, users["admin"].email, "viewer")
        make_request(tenant)
        stack = Stack(tmp_path_factory.mktemp("console"), connection.settings_dict["NAME"])
        try:
            real = stack.serve("all")
            kit = stack.serve("all", environment={"DEBUG": "true"})
            yield Console(kit, real, tenant, users)
        finally:
            stack.stop()


@pytest.fixture(autouse=True)
def patience(page: Page) -> None:
    page.set_default_navigation_timeout(30_000)  # milliseconds; the machine may have other things to do


@pytest.fixture
def signed_in(console: Console, page: Page) -> Page:
    sign_in(page, console, "admin")
    return page


def sign_in(page: Page, console: Console, role: str) -> None:
    give_session(page, console.real.base_url, console.users[role])
    page.goto(f"{console.real.base_url}/t/{console.tenant.slug}/")


def sign_in_by_the_form(page: Page, console: Console, role: str) -> None:
    page.goto(f"{console.real.base_url}/accounts/login/")
    page.get_by_label("E-mail address").fill(console.users[role].email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(re.compile(r"/t/[\w-]+/$"))
    page.goto(f"{console.real.base_url}/t/{console.tenant.slug}/")


# --- accessibility and width ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["", "overview/"])
def test_the_ui_kit_breaks_no_rule_of_accessibility(console: Console, page: Page, theme: str, name: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
    page.goto(f"{console.kit.base_url}/ui-kit/{name}")
    assert complaints(page) == []


def test_the_palette_breaks_no_rule_of_accessibility(console: Console, signed_in: Page) -> None:
    signed_in.keyboard.press("Control+k")
    expect(signed_in.get_by_role("option", name="Overview")).to_be_visible()
    assert complaints(signed_in) == []
    signed_in.goto(f"{console.real.base_url}/t/{console.tenant.slug}/palette/?q=nothing")
    assert complaints(signed_in) == []


def test_dialogs_and_menus_break_no_rule_of_accessibility(console: Console, page: Page) -> None:
    page.goto(f"{console.kit.base_url}/ui-kit/")
    page.get_by_role("button", name="Delete").click()
    assert complaints(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert complaints(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Last 6 hours").click()
    assert complaints(page) == []


@pytest.mark.parametrize("width", [320, 375, 860, 1100])
def test_nothing_is_lost_on_a_narrow_screen(console: Console, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for name in ("", "overview/"):
        page.goto(f"{console.kit.base_url}/ui-kit/{name}")
        assert not has_sideways_scroll(page), name


def test_on_a_narrow_screen_the_sidebar_is_a_menu(console: Console, signed_in: Page) -> None:
    signed_in.set_viewport_size({"width": 375, "height": 800})
    overview = signed_in.get_by_role("navigation", name="Main").get_by_role("link", name="Overview")
    expect(overview).to_be_hidden()
    signed_in.get_by_role("button", name="Menu").click()
    expect(overview).to_be_visible()
    signed_in.keyboard.press("Escape")
    expect(overview).to_be_hidden()


# --- by keyboard ------------------------------------------------------------------------------------------------------


def test_the_first_tab_skips_to_the_content(console: Console, signed_in: Page) -> None:
    signed_in.keyboard.press("Tab")
    skip = signed_in.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator("#main")).to_be_focused()


def test_the_palette_opens_searches_and_goes_by_keys_alone(console: Console, signed_in: Page) -> None:
    signed_in.keyboard.press("Control+k")
    field = signed_in.get_by_role("combobox", name="Search pages and actions")
    expect(field).to_be_focused()
    expect(signed_in.get_by_role("option", selected=True)).to_have_text(re.compile("Overview"))
    signed_in.keyboard.press("ArrowDown")
    expect(signed_in.get_by_role("option", selected=True)).to_have_text(re.compile("Requests"))
    chosen = signed_in.get_by_role("option", selected=True).get_attribute("id")
    expect(field).to_have_attribute("aria-activedescendant", chosen or "")
    signed_in.keyboard.press("ArrowUp")
    signed_in.keyboard.press("ArrowUp")
    expect(signed_in.get_by_role("option", selected=True)).to_have_text(re.compile("Keyboard shortcuts"))

    signed_in.keyboard.type("other")
    expect(signed_in.get_by_role("option")).to_have_count(1)
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url(re.compile("/t/other-"))
    expect(signed_in.locator("#workspace-button")).to_contain_text("Other Works")
    expect(signed_in.get_by_text("You have view access.")).to_be_visible()


def test_the_palette_does_what_the_browser_does_itself(console: Console, signed_in: Page) -> None:
    signed_in.get_by_role("link", name="Go to…").click()
    signed_in.keyboard.type("theme")
    expect(signed_in.get_by_role("option")).to_have_count(1)
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator("html")).to_have_attribute("data-theme", "light")
    expect(signed_in.get_by_role("dialog")).to_have_count(0)


def test_keys_go_to_pages_unless_one_types_or_has_switched_them_off(console: Console, signed_in: Page) -> None:
    away = f"{console.real.base_url}/t/{console.tenant.slug}/palette/"
    here = re.compile(f"/t/{console.tenant.slug}/$")
    signed_in.goto(away)
    signed_in.locator("#q").press("t")
    expect(signed_in.locator("html")).not_to_have_attribute("data-theme", "light")
    signed_in.locator("#q").blur()
    signed_in.keyboard.press("g")
    signed_in.keyboard.press("o")
    signed_in.wait_for_url(here)

    signed_in.keyboard.press("?")
    signed_in.get_by_label("Use single-key shortcuts in this browser").uncheck()
    signed_in.keyboard.press("Escape")
    signed_in.keyboard.press("t")
    expect(signed_in.locator("html")).not_to_have_attribute("data-theme", "light")
    signed_in.keyboard.press("Control+k")  # a key with Ctrl stays
    expect(signed_in.get_by_role("combobox", name="Search pages and actions")).to_be_focused()


def test_a_confirmation_names_the_object_and_rests_on_cancel(console: Console, page: Page) -> None:
    page.goto(f"{console.kit.base_url}/ui-kit/")
    page.get_by_role("button", name="Revoke").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Revoke “CI pipeline”?")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#kit-revoke-button")).to_be_focused()

    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete “support/triage”?")
    dialog.get_by_role("button", name="Delete prompt").click()
    expect(dialog).to_be_visible()  # the name has not been typed
    assert dialog.locator("input[required]").evaluate("field => !field.checkValidity()")


# --- theme, refresh, polls, toasts, charts ----------------------------------------------------------------------------


def test_the_theme_goes_round_and_is_there_before_the_page_is_drawn(console: Console, signed_in: Page) -> None:
    signed_in.emulate_media(color_scheme="light")

    def canvas() -> str:
        return str(signed_in.evaluate("getComputedStyle(document.body).backgroundColor"))

    signed_in.get_by_role("button", name="Theme: system. Switch to light").click()
    assert canvas() == "rgb(251, 251, 252)"
    signed_in.get_by_role("button", name="Theme: light. Switch to dark").click()
    assert canvas() == "rgb(13, 14, 17)"
    answer = signed_in.reload()
    assert answer is not None
    assert '<html lang="en" data-theme="dark">' in answer.text()
    signed_in.get_by_role("button", name="Theme: dark. Switch to system").click()
    assert canvas() == "rgb(251, 251, 252)"


def test_refreshing_keeps_the_focus_and_the_address(console: Console, signed_in: Page) -> None:
    signed_in.goto(f"{console.real.base_url}/t/{console.tenant.slug}/?range=1h")
    signed_in.evaluate("document.getElementById('main').dataset.old = '1'")
    with signed_in.expect_response(lambda response: "range=1h" in response.url):
        signed_in.keyboard.press("r")
    expect(signed_in.locator("#main[data-old]")).to_have_count(0)
    expect(signed_in.get_by_role("heading", name="Last requests")).to_be_visible()
    expect(signed_in).to_have_url(re.compile(r"\?range=1h$"))


def test_how_often_a_page_refreshes_is_kept(console: Console, signed_in: Page) -> None:
    signed_in.get_by_role("button", name="Refresh by itself: Off").click()
    signed_in.get_by_role("button", name="5 min").click()
    signed_in.reload()
    expect(signed_in.get_by_role("button", name="Refresh by itself: 5 min")).to_be_visible()


def test_a_poll_that_fails_says_that_it_is_stale_and_recovers(console: Console, chromium: Browser) -> None:
    context = chromium.new_context()  # of its own: the browser reports the failures, as it should
    page = context.new_page()
    sign_in(page, console, "admin")
    text = page.locator("#circuits [data-live-text]")

    def fail(route: Route) -> None:
        if route.request.headers.get("hx-request"):
            route.fulfill(status=503)
        else:
            route.continue_()

    page.route("**/t/**", fail)
    for _ in range(2):
        with page.expect_response(lambda response: response.status == 503):
            page.evaluate(POLL)
    expect(text).to_have_text(re.compile(r"^Last updated \d\d:\d\d:\d\d, retrying$"))
    expect(page.locator("#circuits[data-stale]")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_text("")  # the region tells; no toast for each poll

    page.unroute("**/t/**")
    with page.expect_response(lambda response: response.status == 200):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(text).to_have_text("every 30 s")
    expect(page.locator("#circuits[data-stale]")).to_have_count(0)
    context.close()


def test_a_hidden_tab_does_not_poll_and_one_that_comes_back_does_at_once(console: Console, signed_in: Page) -> None:
    polls: list[str] = []
    signed_in.on("request", lambda request: polls.append(request.url) if request.headers.get("hx-request") else None)
    signed_in.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    signed_in.evaluate(POLL)
    signed_in.evaluate("delete document.hidden")
    assert polls == []
    with signed_in.expect_response(lambda response: bool(response.request.headers.get("hx-request"))):
        signed_in.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    signed_in.wait_for_load_state("networkidle")
    assert len(polls) == 2  # of the circuits, and of the last requests


def test_a_message_of_the_server_appears_as_a_toast_and_can_be_dismissed(console: Console, page: Page) -> None:
    page.goto(f"{console.kit.base_url}/ui-kit/")
    page.get_by_role("button", name="Show a toast").click()
    toast = page.locator("#toasts [data-toast]")
    expect(toast).to_contain_text("Key “CI pipeline” is revoked.")
    toast.get_by_role("button", name="Dismiss").click()
    expect(toast).to_have_count(0)


def test_an_error_stays_until_it_is_dismissed_and_anything_else_goes_by_itself(console: Console, page: Page) -> None:
    page.clock.install()
    page.goto(f"{console.kit.base_url}/ui-kit/")
    page.get_by_role("link", name="Show a failure").click()
    error = page.get_by_role("alert").locator("[data-toast]")
    expect(error).to_be_visible()
    page.get_by_role("button", name="Show a toast").click()
    expect(page.locator("#toasts [data-toast]")).to_have_count(1)
    page.clock.fast_forward(60_000)  # milliseconds
    expect(page.locator("#toasts [data-toast]")).to_have_count(0)
    expect(error).to_contain_text("Key “CI pipeline” could not be revoked.")
    error.get_by_role("button", name="Dismiss").click()
    expect(error).to_have_count(0)


def test_a_chart_tells_its_numbers_under_the_pointer(console: Console, page: Page) -> None:
    page.goto(f"{console.kit.base_url}/ui-kit/overview/")
    plot = page.locator("#traffic .area-box")
    plot.hover(position={"x": 5, "y": 100})
    tip = page.locator("#traffic .chart-tip")
    first = page.locator("#traffic .as-table tbody tr").first
    expect(tip.locator("b").first).to_have_text(first.locator("th").text_content() or "")
    expect(tip).to_contain_text(first.locator("td").first.text_content() or "")
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()
    page.locator("#traffic").get_by_text("Show as table").click()
    expect(first).to_be_visible()


def test_a_prompt_shows_which_variables_are_whole(console: Console, page: Page) -> None:
    page.goto(f"{console.kit.base_url}/ui-kit/")
    marks = page.locator(".prompt-editor mark")
    expect(marks).to_have_text(["{{company}}", "{{ticket | none}}", "{{broken."])
    expect(marks.nth(2)).to_have_class("wrong")
    page.get_by_label("Prompt").fill(r"\{{not}} {{yes}}")
    expect(marks).to_have_text(["{{yes}}"])


def test_nothing_moves_while_a_page_loads(console: Console, signed_in: Page) -> None:
    signed_in.goto(f"{console.real.base_url}/t/{console.tenant.slug}/")
    signed_in.wait_for_load_state("networkidle")
    moved = signed_in.evaluate(
        """new Promise(done => {
            let sum = 0;
            const observer = new PerformanceObserver(list => list.getEntries().forEach(each => { sum += each.value; }));
            observer.observe({type: 'layout-shift', buffered: true});
            setTimeout(() => done(sum), 300);
        })"""
    )
    assert moved <= 0.02


# --- without JavaScript -----------------------------------------------------------------------------------------------


def test_everything_in_the_frame_works_without_javascript(console: Console, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    sign_in_by_the_form(page, console, "admin")
    page.get_by_role("link", name="Go to…").click()
    page.get_by_role("searchbox", name="Search pages and actions").last.fill("over")
    page.get_by_role("button", name="Search").click()
    page.locator("#main").get_by_role("link", name="Overview").click()
    page.get_by_role("button", name="Theme: system. Switch to light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.locator("#range-button").click()
    page.get_by_role("link", name="Last hour").click()
    expect(page).to_have_url(re.compile(r"\?range=1h$"))
    page.locator("#account-button").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to NEXUS")
    page.goto(f"{console.kit.base_url}/ui-kit/")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("dialog", name="Revoke “CI pipeline”?")).to_be_visible()
    context.close()


def test_the_server_process_complained_of_nothing(console: Console) -> None:
    assert "Traceback" not in console.real.log.read_text()
    assert "Traceback" not in console.kit.log.read_text()
