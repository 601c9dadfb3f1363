"""Takes the pictures of docs/screenshots from a running demo (`make run`): `.venv/bin/python scripts/screenshots.py`.

Look at each before it is committed. A demo that has run for some days has the most to show.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
MOST_BYTES = 300 * 1024
# name, path under the tenant; a "*" is the first of its list
PAGES = {
    "overview": "?range=24h",
    "requests": "requests/?range=24h",
    "request": "requests/?range=24h&open=*",
    "providers": "providers/",
    "provider": "providers/*/",
    "keys": "keys/",
    "members": "members/",
    "audit": "audit/",
    "settings": "settings/",
}
BOTH, LIGHT, DARK = ("light", "dark"), ("light",), ("dark",)
ON_A_DESK = {
    "overview": BOTH, "requests": BOTH, "request": BOTH, "providers": LIGHT, "provider": BOTH, "keys": LIGHT,
    "members": LIGHT, "audit": BOTH, "settings": LIGHT,
}  # fmt: skip
IN_A_HAND = {"overview": BOTH, "requests": LIGHT, "request": DARK, "provider": LIGHT, "keys": DARK}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the demo")
    parser.add_argument("--data", type=Path, default=ROOT / ".nexus", help="its NEXUS_DATA_DIR, where the password is")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "screenshots")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    demo = json.loads((given.data / "demo.json").read_text())
    chromium = subprocess.run([ROOT / "scripts" / "browser"], cwd=ROOT, capture_output=True, text=True, check=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.stdout.strip(), args=["--no-sandbox"])
        for size, wanted in ((WIDE, ON_A_DESK), (NARROW, IN_A_HAND)):
            page = signed_in(browser, given.url.rstrip("/"), demo, size)
            for name, themes in wanted.items():
                take(page, f"{given.url.rstrip('/')}/t/demo/", name, themes, given.into)
        browser.close()


def signed_in(browser: Browser, url: str, demo: dict[str, str], size: ViewportSize) -> Page:
    page = browser.new_page(viewport=size, reduced_motion="reduce", timezone_id="Europe/Berlin")
    page.goto(f"{url}/accounts/login/")
    page.get_by_label("E-mail address").fill(demo["email"])
    page.get_by_label("Password").fill(demo["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/t/*/")
    return page


def take(page: Page, tenant_url: str, name: str, themes: Sequence[str], into: Path) -> None:
    """Take the pictures of one page."""
    page.goto(tenant_url + found(page, tenant_url, PAGES[name]), wait_until="networkidle")
    page.evaluate("document.fonts.ready")
    page.evaluate("document.documentElement.style.scrollbarGutter = 'auto'")  # no picture has a scrollbar
    narrow = "-narrow" if page.viewport_size == NARROW else ""
    for theme in themes:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
        file = into / f"{name}-{theme}{narrow}.png"
        page.screenshot(path=file)
        if file.stat().st_size > MOST_BYTES:
            raise SystemExit(f"{file.name} is larger than {MOST_BYTES // 1024} KiB.")


def found(page: Page, tenant_url: str, path: str) -> str:
    """Return a path with an object of its list in place of the star: the first that has a story, else the first."""
    if "*" not in path:
        return path
    page.goto(tenant_url + path.partition("*")[0].partition("&open=")[0])
    failed_over = page.locator("tbody tr:has(.route s) a.stretch")
    rows = failed_over if failed_over.count() else page.locator("tbody a.stretch")
    address = rows.first.get_attribute("href") or ""
    return path.replace("*", address.partition("?")[0].rstrip("/").rpartition("/")[2])


if __name__ == "__main__":
    main()
