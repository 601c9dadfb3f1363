"""What the browser tests of the gateway's pages share: one console process, and people who are signed in already."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from accounts.models import Role, Tenant, User
from nexus.ids import uuid7
from tests.factories import make_member, make_tenant
from tests.sessions import give_session
from tests.stack import Server, Stack


@dataclass
class Driven:
    """A server with all doors, and a tenant of its own."""

    server: Server
    tenant: Tenant
    users: dict[str, User]

    def url(self, path: str = "") -> str:
        return f"{self.server.base_url}/t/{self.tenant.slug}/{path}"

    def sign_in(self, page: Page, role: str = Role.ADMIN) -> None:
        """Give a page the session of somebody."""
        give_session(page, self.server.base_url, self.users[role])


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any) -> Iterator[Driven]:
    with django_db_blocker.unblock():
        from django.db import connection  # noqa: PLC0415  (its settings are the tests' by now)

        tenant = make_tenant(f"pages-{uuid7().hex[-10:]}", name="Acme Robotics")
        users = {role: make_member(tenant, f"{role}@{tenant.slug}.example", role) for role in Role.values}
        stack = Stack(tmp_path_factory.mktemp("pages"), connection.settings_dict["NAME"])
        try:
            stack.run("ship")
            yield Driven(stack.serve("all"), tenant, users)
        finally:
            stack.stop()


@pytest.fixture
def admin(driven: Driven, page: Page) -> Page:
    """A page of an admin's, patient with a busy machine."""
    page.set_default_navigation_timeout(30_000)  # milliseconds
    driven.sign_in(page)
    return page


@pytest.fixture
def plain(driven: Driven, chromium: Browser) -> Iterator[Page]:
    """A page of an admin's without JavaScript."""
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(10_000)
    context.set_default_navigation_timeout(30_000)
    page = context.new_page()
    driven.sign_in(page)
    yield page
    context.close()
