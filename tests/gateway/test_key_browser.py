"""The API keys pages in a real browser: a key made by keyboard sends its first request; without JavaScript too."""

import re
from collections.abc import Iterator

import httpx
import pytest
from django.db import transaction
from playwright.sync_api import Page, expect

from accounts.revisions import announce
from gateway.models import ModelRoute
from tests.browser import complaints
from tests.gateway.driving import Driven, admin, driven, plain
from tests.gateway.test_overview import make_provider
from tests.stack import eventually
from tests.upstream import Upstream

pytestmark = pytest.mark.browser
__all__ = ["admin", "driven", "plain"]


@pytest.fixture(scope="module")
def vendor(driven: Driven) -> Iterator[Upstream]:
    """A vendor that the tenant is connected to."""
    with Upstream(family="openai_compatible") as running:
        with transaction.atomic():
            provider = make_provider(driven.tenant, "Vendor", family="openai_compatible", base_url=running.base_url)
            ModelRoute.objects.create(
                tenant=driven.tenant, provider=provider, public_name="gpt-4o-mini", upstream_name="gpt-4o-mini"
            )
            announce()
        yield running


def send(driven: Driven, secret: str) -> int:
    answer = httpx.post(
        f"{driven.server.base_url}/v1/chat/completions",
        headers={"authorization": f"Bearer {secret}"},
        json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
        timeout=30,
    )
    return answer.status_code


@pytest.mark.usefixtures("vendor")
def test_by_keyboard_a_key_is_made_copied_and_sends_its_first_request(driven: Driven, admin: Page) -> None:
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin.goto(driven.url("keys/new/"))
    admin.get_by_label("Name").focus()
    admin.keyboard.type("Support bot")
    admin.keyboard.press("Enter")
    field = admin.get_by_role("textbox", name="Support bot")
    secret = field.input_value()
    expect(admin).to_have_url(re.compile("/keys/$"))  # a reload asks for the list, not for another key
    expect(admin.get_by_text("Waiting for the first request…")).to_be_visible()
    assert complaints(admin) == []
    admin.locator("[data-copy='secret']").focus()
    admin.keyboard.press("Enter")
    eventually(lambda: admin.evaluate("navigator.clipboard.readText()") == secret, what="the copy")

    eventually(lambda: send(driven, secret) == 200, what="an answer with the new key")
    expect(admin.get_by_text(re.compile(r"Received, 200 in .* via openai_compatible"))).to_be_visible(timeout=20_000)
    admin.get_by_role("link", name="open it").click()
    expect(admin.get_by_role("complementary", name="Details").get_by_text("Vendor")).to_be_visible()
    admin.goto(driven.url("keys/"))
    assert secret not in admin.content()


def test_by_mouse_a_key_is_rotated_and_revoked(driven: Driven, admin: Page) -> None:
    admin.goto(driven.url("keys/"))
    admin.get_by_role("link", name="Create key").first.click()
    admin.get_by_label("Name").fill("CI pipeline")
    admin.get_by_label("Requests a month").fill("500")
    admin.get_by_role("button", name="Create key").click()
    first = admin.get_by_role("textbox", name="CI pipeline").input_value()
    admin.get_by_role("textbox", name="CI pipeline").press("Control+a")
    admin.keyboard.press("Control+c")  # whoever leaves without copying is asked
    admin.get_by_role("link", name="Done").click()
    expect(admin.get_by_text("0 of 500 requests")).to_be_visible()
    admin.get_by_role("button", name="Rotate").click()
    dialog = admin.get_by_role("dialog", name="Rotate “CI pipeline”?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert complaints(admin) == []
    dialog.get_by_role("button", name="Rotate key").click()
    second = admin.get_by_role("textbox", name="CI pipeline").input_value()
    assert second != first
    admin.get_by_role("button", name="Copy", exact=True).first.click()
    admin.get_by_role("link", name="Done").click()
    admin.get_by_role("button", name="Revoke").click()
    admin.get_by_role("dialog", name="Revoke “CI pipeline”?").get_by_role("button", name="Revoke key").click()
    expect(admin.locator("#toasts")).to_contain_text("CI pipeline is revoked.")
    expect(admin.get_by_role("button", name="Rotate")).to_have_count(0)
    admin.get_by_role("link", name="All keys").click()
    expect(admin.locator("tr.gone")).to_contain_text("CI pipeline")


def test_everything_works_without_javascript(driven: Driven, plain: Page) -> None:
    plain.goto(driven.url("keys/new/"))
    plain.get_by_label("Name").fill("Plain")
    plain.get_by_label("Requests a minute").fill("9999999999")
    plain.get_by_role("button", name="Create key").click()
    expect(plain.get_by_role("alert").first).to_contain_text("2147483647")
    plain.get_by_label("Requests a minute").fill("60")
    plain.get_by_role("button", name="Create key").click()
    assert plain.get_by_role("textbox", name="Plain").input_value().startswith("nxk_")
    plain.get_by_text("Python", exact=True).click()
    expect(plain.get_by_text("from openai import OpenAI")).to_be_visible()
    plain.get_by_role("link", name="Done").click()
    expect(plain.get_by_text("60 requests a minute.")).to_be_visible()
    plain.get_by_role("button", name="Revoke").click()
    plain.get_by_role("dialog", name="Revoke “Plain”?").get_by_role("button", name="Revoke key").click()
    expect(plain.locator("#toasts")).to_contain_text("Plain is revoked.")
