"""/docs in a real browser: the whole API, from this server alone, under its Content-Security-Policy."""

from typing import Any

import pytest
from django.test import Client as Browser
from playwright.sync_api import Page, Request, expect

from nexus.openapi import document
from tests.gateway.conftest import Client, Servers

pytestmark = pytest.mark.browser
PATIENCE_MS = 60_000  # the page is a megabyte and a half of JavaScript
OPERATIONS = sum(len(methods) for methods in document()["paths"].values())


@pytest.fixture
def asked(page: Page) -> list[str]:
    """What the page asks for, every address."""
    found: list[str] = []

    def note(request: Request) -> None:
        found.append(request.url)

    page.on("request", note)
    return found


def test_every_operation_is_shown_and_nothing_comes_from_elsewhere(
    page: Page, asked: list[str], servers: Servers
) -> None:
    page.goto(f"{servers.door.base_url}/docs")
    expect(page.locator(".opblock")).to_have_count(OPERATIONS, timeout=PATIENCE_MS)
    expect(page.get_by_text("/v1/chat/completions", exact=True)).to_be_visible()
    assert [url for url in asked if not url.startswith((servers.door.base_url, "data:"))] == []


def test_a_call_can_be_tried_with_a_key(page: Page, servers: Servers, routed: Client) -> None:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{servers.door.base_url}/docs#/Keys/listKeys")
    page.get_by_role("button", name="Authorize").first.click()
    form = page.locator(".auth-container form").filter(has_text="apiKey (http, Bearer)")
    form.get_by_label("auth-bearer-value").fill(routed.key)
    form.locator("button[type=submit]").click()
    page.locator(".dialog-ux .btn-done").first.click()
    block = page.locator("#operations-Keys-listKeys")
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response").first
    expect(answer.locator(".response-col_status")).to_contain_text("200", timeout=PATIENCE_MS)
    expect(answer).to_contain_text(routed.key[:8])


def test_the_policy_of_the_page_lets_no_foreign_script_run(db: None) -> None:
    policy: Any = Browser().get("/docs")["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert "unsafe" not in rules["script-src"]
    assert rules["connect-src"] == "'self'"
    assert rules["default-src"] == "'none'"
    other: Any = Browser().get("/accounts/login/")["content-security-policy"]
    assert "unsafe" not in other
