"""A real browser for tests: Chromium by Playwright. A page that reports an error, or breaks its CSP, fails its test.

Playwright's synchronous interface runs an event loop in the test's thread, which Django's ORM would take for a mistake;
so the browser lives for one module, and the ORM's guard is off for as long.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connections
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
_ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root, in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],  # what is in order need not be described, element by element
}


def complaints(page: Page, *, only: Sequence[str] = ()) -> list[str]:
    """Return what axe has against a page, one line for each element; by some rules `only`, where the rest is known."""
    options = {"runOnly": {"type": "rule", "values": list(only)}} if only else _RULES
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


def has_sideways_scroll(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = subprocess.run(
        [ROOT / "scripts" / "browser"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        connections.close_all()  # within a running loop Django keeps connections of their own, which nobody would close
        browser.close()


@pytest.fixture
def page(chromium: Browser, tmp_path: Path) -> Iterator[Page]:
    """Give a page in a fresh context. What its console reports as an error fails the test, CSP violations included."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(10_000)
    page = context.new_page()
    noted: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            noted.append(f"{message.type}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: noted.append(f"page error: {error}"))
    yield page
    if directory := os.environ.get("NEXUS_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{tmp_path.name}.png", full_page=True)
    context.close()
    assert not noted, noted
