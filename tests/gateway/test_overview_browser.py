"""Overview in a real browser: its measures, its widths, its last requests, and without JavaScript."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser import complaints, has_sideways_scroll
from tests.gateway.driving import Driven, admin, driven, plain
from tests.gateway.test_overview import make_provider, make_request

pytestmark = pytest.mark.browser
__all__ = ["admin", "driven", "plain"]


def test_before_the_first_request_it_leads_there(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url())
    expect(admin.get_by_role("heading", name="Send the first request")).to_be_visible()
    assert complaints(admin) == []


@pytest.fixture(scope="module")
def busy(driven: Driven) -> None:
    """Twelve requests of the last minutes, from the second test on."""
    provider = make_provider(driven.tenant, "Primary")
    good = {"provider": "openai", "provider_id": str(provider.id), "fate": "200", "ms": 340}
    for minutes in range(12):
        make_request(
            driven.tenant, minutes_ago=minutes + 1, attempts=[good], provider_id=provider.id, duration_ms=900,
            input_tokens=1_204, output_tokens=318, model="gpt-4o-mini-2024-07-18",
        )  # fmt: skip


@pytest.mark.usefixtures("busy")
def test_a_measure_is_chosen_by_mouse_and_stands_in_the_address(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url("?range=1h"))
    expect(admin.locator("#traffic .area-box")).to_have_attribute("aria-label", re.compile("^Requests by provider. 12"))
    admin.get_by_role("link", name="Tokens").last.click()
    expect(admin.locator("#traffic .area-box")).to_have_attribute("aria-label", re.compile("^Tokens by provider"))
    expect(admin).to_have_url(re.compile(r"range=1h&measure=tokens"))
    assert complaints(admin) == []


@pytest.mark.usefixtures("busy")
def test_at_1440_pixels_every_column_can_be_seen_and_at_320_nothing_is_lost(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url())
    expect(admin.locator("#rows tr")).to_have_count(8)
    assert admin.locator("#requests .scroll").evaluate("box => box.scrollWidth <= box.clientWidth")
    admin.set_viewport_size({"width": 320, "height": 800})
    assert not has_sideways_scroll(admin)


@pytest.mark.usefixtures("busy")
def test_a_new_request_comes_in_by_itself_and_leads_to_its_own(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url())
    made = make_request(driven.tenant, minutes_ago=0, model="just-now")
    expect(admin.locator("#rows tr").first).to_have_id(f"line-{made.id}", timeout=20_000)  # asked for every 5 s
    expect(admin.locator("#rows tr")).to_have_count(8)
    admin.locator(f"#row-{made.id}").click()
    expect(admin.get_by_role("complementary", name="Details").get_by_role("heading", name="just-now")).to_be_visible()


@pytest.mark.usefixtures("busy")
def test_figures_are_doors_without_javascript_too(driven: Driven, plain: Page) -> None:
    plain.goto(driven.url("?range=1h&measure=cost"))
    expect(plain.locator("#traffic .area-box")).to_have_attribute("aria-label", re.compile("^Cost by provider"))
    plain.get_by_role("link", name="Failed for clients").click()
    expect(plain).to_have_url(re.compile(r"requests/\?range=1h&status_class=5xx$"))
    expect(plain.get_by_text("No requests match these filters")).to_be_visible()
