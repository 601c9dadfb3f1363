"""The Providers pages in a real browser: connect, test, force a circuit, delete; by keyboard and without JavaScript."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import complaints
from tests.gateway.driving import Driven, admin, driven, plain
from tests.gateway.test_overview import make_provider
from tests.upstream import Upstream

pytestmark = pytest.mark.browser
__all__ = ["admin", "driven", "plain"]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Upstream]:
    with Upstream(family="openai_compatible") as running:
        yield running


def fill(page: Page, name: str, vendor: Upstream) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Family").select_option("openai_compatible")
    page.get_by_label("Base URL").fill(vendor.base_url)
    page.get_by_label("API key").fill("sk-test-key-0000")
    page.get_by_label("Models").fill("gpt-4o")


def test_an_admin_connects_tests_and_opens_a_circuit_by_mouse(driven: Driven, admin: Page, vendor: Upstream) -> None:
    admin.goto(driven.url("providers/"))
    admin.get_by_role("link", name="Add provider").first.click()
    assert complaints(admin) == []
    fill(admin, "By mouse", vendor)
    admin.get_by_role("button", name="Add provider").click()
    expect(admin.locator("#toasts")).to_contain_text("By mouse is connected.")
    admin.get_by_role("button", name="Test connection").click()
    expect(admin.get_by_text("It answers, and takes the key.")).to_be_visible()
    assert complaints(admin) == []

    admin.get_by_role("button", name="Force open").click()
    dialog = admin.get_by_role("dialog", name="Open the circuit of By mouse?")
    assert complaints(admin) == []
    dialog.get_by_role("button", name="Force open").click()
    expect(dialog).to_be_visible()  # no reason, no opening
    dialog.get_by_label("Reason").fill("maintenance")
    dialog.get_by_role("button", name="Force open").click()
    expect(admin.get_by_text(re.compile("opened by admin@.*: maintenance"))).to_be_visible()
    expect(admin.locator(".top .bd.bad")).to_have_text("Open")


def test_by_keyboard_alone_a_provider_is_found_and_disabled(driven: Driven, admin: Page) -> None:
    provider = make_provider(driven.tenant, "By keyboard", weight=999)
    admin.goto(driven.url())
    admin.keyboard.press("g")
    admin.keyboard.press("p")
    admin.wait_for_url(re.compile("/providers/$"))
    admin.keyboard.press("j")
    expect(admin.locator(f"#provider-{provider.id}")).to_be_focused()
    admin.keyboard.press("Enter")
    disable = admin.get_by_role("button", name="Disable")
    disable.focus()
    admin.keyboard.press("Enter")
    expect(admin.get_by_role("button", name="Enable")).to_be_visible()
    expect(admin.locator("#toasts")).to_contain_text("By keyboard no longer takes traffic.")


def test_everything_works_without_javascript(driven: Driven, plain: Page, vendor: Upstream) -> None:
    plain.goto(driven.url("providers/new/"))
    fill(plain, "Plain", vendor)
    plain.get_by_label("Weight").fill("7000000")
    plain.get_by_role("button", name="Add provider").click()
    expect(plain.get_by_role("alert").first).to_contain_text("1000000")
    expect(plain.get_by_label("Name")).to_have_value("Plain")
    plain.get_by_label("Weight").fill("7")
    plain.get_by_role("button", name="Add provider").click()
    plain.get_by_role("button", name="Test connection").click()
    expect(plain.locator("#toasts")).to_contain_text(
        re.compile(r"Plain answered in \d+ ms, without a key")
    )  # it was not kept
    plain.get_by_role("button", name="Delete").click()
    dialog = plain.get_by_role("dialog", name="Delete “Plain”?")
    dialog.get_by_role("button", name="Delete provider").click()
    expect(plain.locator("#toasts")).to_contain_text("Plain is disconnected.")
