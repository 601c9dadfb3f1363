"""The Requests page in a real browser: by mouse, by keyboard, live, narrow, and without JavaScript."""

import re

import pytest
from playwright.sync_api import Page, expect

from gateway.models import ModelRoute
from tests.browser import has_sideways_scroll
from tests.gateway.driving import Driven, admin, driven, plain
from tests.gateway.test_overview import make_provider, make_request

pytestmark = pytest.mark.browser
__all__ = ["admin", "driven", "plain"]


@pytest.fixture(scope="module", autouse=True)
def requests(driven: Driven) -> list[str]:
    """Three requests, newest first, of which the second failed over and the third failed."""
    first = make_provider(driven.tenant, "Primary", family="openai")
    second = make_provider(driven.tenant, "Backup", family="openai_compatible")
    ModelRoute.objects.create(
        tenant=driven.tenant, provider=first, public_name="gpt-4o-mini", upstream_name="gpt-4o-mini"
    )
    failed = {"provider": "openai", "provider_id": str(first.id), "fate": "503", "ms": 12, "kind": "server_error"}
    good = {"provider": "openai_compatible", "provider_id": str(second.id), "fate": "200", "ms": 340}
    rows = [
        make_request(driven.tenant, minutes_ago=3, status=502, error_class="server_error", attempts=[failed]),
        make_request(driven.tenant, minutes_ago=2, attempts=[failed, good], duration_ms=420, model="gpt-4o-mini"),
        make_request(driven.tenant, minutes_ago=1, attempts=[good], duration_ms=310, model="claude"),
    ]
    return [str(row.id) for row in reversed(rows)]


@pytest.mark.parametrize("width", [320, 860])
def test_nothing_is_lost_on_a_narrow_screen(driven: Driven, admin: Page, requests: list[str], width: int) -> None:
    admin.set_viewport_size({"width": width, "height": 800})
    for path in ("requests/?status_class=5xx", f"requests/?open={requests[1]}", f"requests/{requests[1]}/"):
        admin.goto(driven.url(path))
        assert not has_sideways_scroll(admin), path


def test_at_1440_pixels_every_column_can_be_seen(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url("requests/"))
    assert admin.locator("#request-list .scroll").evaluate("box => box.scrollWidth <= box.clientWidth")


def test_a_filter_is_chosen_and_taken_off_by_mouse(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url("requests/"))
    rows = admin.locator("#rows tr")
    expect(rows).to_have_count(3)
    admin.get_by_role("button", name="Status").click()
    admin.get_by_role("link", name="5xx failed").click()
    expect(rows).to_have_count(1)
    expect(admin).to_have_url(re.compile(r"\?status_class=5xx$"))
    expect(admin.get_by_role("heading", name="1 request", exact=True)).to_be_visible()
    admin.get_by_role("link", name="Status 5xx failed: remove this filter").click()
    expect(rows).to_have_count(3)
    admin.go_back()
    expect(rows).to_have_count(1)


def test_by_keyboard_a_request_opens_the_next_follows_and_the_focus_comes_back(
    driven: Driven, admin: Page, requests: list[str]
) -> None:
    admin.goto(driven.url("requests/"))
    admin.keyboard.press("j")
    expect(admin.locator(f"#row-{requests[0]}")).to_be_focused()
    admin.keyboard.press("Enter")
    drawer = admin.get_by_role("complementary", name="Details")
    expect(drawer.get_by_role("heading", name="claude")).to_be_focused()
    expect(admin).to_have_url(re.compile(f"open={requests[0]}$"))
    admin.keyboard.press("j")
    expect(drawer.get_by_role("heading", name="gpt-4o-mini")).to_be_focused()
    expect(drawer.get_by_text("answered 503: its own fault")).to_be_visible()
    expect(admin.locator(f"#line-{requests[1]}")).to_have_class(re.compile("sel"))
    admin.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(admin.locator(f"#row-{requests[1]}")).to_be_focused()
    expect(admin).to_have_url(re.compile(r"requests/\?$"))


def test_new_requests_come_in_by_themselves_unless_somebody_reads(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url("requests/"))
    admin.get_by_role("link", name="Live").click()
    expect(admin.locator("#request-list .live-on")).to_be_visible()
    admin.mouse.move(2, 2)
    made = make_request(driven.tenant, minutes_ago=0, model="just-now")
    expect(admin.locator("#rows tr").first).to_have_id(f"line-{made.id}")

    admin.locator("#rows tr").nth(1).hover()
    expect(admin.get_by_text("Paused while you read")).to_be_visible()
    make_request(driven.tenant, minutes_ago=0, model="while-reading")
    asked: list[str] = []
    admin.on("request", lambda request: asked.append(request.url))
    admin.wait_for_timeout(2_500)  # longer than a poll's interval: none may come
    assert asked == []
    admin.mouse.move(2, 2)
    expect(admin.locator("#rows tr").first).to_contain_text("while-reading")
    expect(admin.locator(f"#line-{made.id}")).to_have_count(1)
    admin.get_by_role("link", name="Pause").click()
    expect(admin.locator("[data-live-rows]")).to_have_count(0)


def test_the_command_is_copied(driven: Driven, admin: Page, requests: list[str]) -> None:
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin.goto(driven.url(f"requests/{requests[1]}/"))
    admin.get_by_role("button", name="Copy").last.click()
    text = admin.evaluate("navigator.clipboard.readText()")
    assert text.startswith(f"curl {driven.server.base_url}/v1/chat/completions")
    assert '"model": "gpt-4o-mini"' in text


def test_everything_works_without_javascript(driven: Driven, plain: Page, requests: list[str]) -> None:
    plain.goto(driven.url("requests/"))
    plain.get_by_role("button", name="Model").click()
    plain.get_by_role("link", name="gpt-4o-mini", exact=True).click()
    expect(plain.locator("#rows tr")).to_have_count(1)
    plain.locator(f"#row-{requests[1]}").click()
    expect(plain.get_by_role("heading", name=requests[1])).to_be_visible()
    plain.get_by_role("link", name="All requests").click()
    expect(plain).to_have_url(re.compile("model=gpt-4o-mini"))
    plain.get_by_label("Find by request id").fill(requests[0])
    plain.keyboard.press("Enter")
    expect(plain.locator("#rows tr")).to_have_id(f"line-{requests[0]}")
    with plain.expect_download() as download:
        plain.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "requests.csv"
