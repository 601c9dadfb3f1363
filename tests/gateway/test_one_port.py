"""One port for both roles: what is not the data plane's reaches the console, and the gateway does not depend on it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from playwright.sync_api import Page, expect

from tests.gateway.conftest import Client, Servers, in_force
from tests.stack import Process, Server, Stack, eventually
from tests.upstream import Upstream

PASSWORD = "correct horse battery"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
FORGED = {"x-forwarded-for": "10.9.8.7", "x-forwarded-host": "evil.example"}


@dataclass
class OnePort:
    """A runtime process, and a console behind it that may come and go."""

    stack: Stack
    socket: Path
    runtime: Server
    console: Process | None = None

    @property
    def url(self) -> str:
        return self.runtime.base_url

    def start_console(self) -> None:
        self.console = self.stack.run("serve", "console", "--uds", str(self.socket))
        eventually(lambda: httpx.get(f"{self.url}/accounts/login/").status_code == 200, seconds=20, what="the console")

    def stop_console(self) -> None:
        assert self.console is not None
        self.console.stop()


@pytest.fixture(scope="module")
def one_port(servers: Servers) -> Iterator[OnePort]:
    socket = servers.stack.folder / "console.sock"
    runtime = servers.stack.serve("runtime", environment={"NEXUS_CONSOLE_SOCKET": str(socket)})
    made = OnePort(servers.stack, socket, runtime)
    made.start_console()
    yield made
    runtime.stop()
    made.stop_console()


def test_the_management_api_answers_on_the_gateways_port(one_port: OnePort, client: Client) -> None:
    made = httpx.post(
        f"{one_port.url}/v1/keys",
        json={"name": "from outside", "scopes": ["completions:write"]},
        headers={**client.headers, **FORGED},
    )
    assert made.status_code == 201
    events = httpx.get(f"{one_port.url}/v1/audit?limit=1", headers=client.headers).json()["data"]
    assert events[0]["ip"] == "127.0.0.1"  # who connected, not what the client says of itself


def test_an_unknown_path_is_answered_in_the_error_shape(one_port: OnePort) -> None:
    answer = httpx.get(f"{one_port.url}/v1/nothing-here?x=1")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code", "request_id"}


def test_a_body_too_large_for_the_console_is_refused_before_it(one_port: OnePort, client: Client) -> None:
    answer = httpx.post(f"{one_port.url}/v1/keys", content=b"x" * (13 * 1024 * 1024), headers=client.headers)
    assert answer.status_code == 413


def test_the_gateway_goes_on_without_the_console(one_port: OnePort, routed: Client, upstream: Upstream) -> None:
    in_force(one_port.runtime)
    one_port.stop_console()
    try:
        away = httpx.get(f"{one_port.url}/accounts/login/")
        assert away.status_code == 503
        assert away.headers["retry-after"] == "1"
        assert "console is starting or restarting" in away.text
        answer = httpx.post(f"{one_port.url}/v1/chat/completions", json=BODY, headers=routed.headers)
        assert answer.status_code == 200
    finally:
        one_port.start_console()


@pytest.mark.browser
def test_one_signs_in_and_sees_the_last_request_and_the_circuit(
    one_port: OnePort, routed: Client, upstream: Upstream, page: Page
) -> None:
    in_force(one_port.runtime)
    routed.user.password = Argon2PasswordHasher().encode(PASSWORD, "salt-of-a-test")  # the tests' own hasher is weaker
    routed.user.save()
    upstream.script("status=503")
    answer = httpx.post(f"{one_port.url}/v1/chat/completions", json=BODY, headers=routed.headers)
    routed.row(answer.headers["x-request-id"])

    page.goto(one_port.url)
    page.get_by_label("E-mail address").fill(routed.user.email)
    page.get_by_label("Password").fill("wrong password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("p[role=alert]")).to_have_text("That e-mail address and password do not belong together.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()

    expect(page).to_have_url(f"{one_port.url}/t/{routed.tenant.slug}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.locator("#circuits")).to_contain_text("primary")
    expect(page.locator("#circuits .bd")).to_have_text("Closed")
    row = page.locator("#requests tbody tr").first
    expect(row.get_by_role("cell").nth(2)).to_have_text(re.compile(r"primary\s*503\s*→?\s*primary\s*2"))
    expect(row).to_contain_text("gpt-4o")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.get_by_role("button", name=routed.user.email).click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to NEXUS")
