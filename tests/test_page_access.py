"""Who may open which page: one table of every page by method, for strangers and each role. A page without a line fails.

The management API, whose views declare scopes too, is walked in tests/test_access.py.
"""

from collections.abc import Mapping
from uuid import uuid4

import pytest
from django.test import Client as Browser

from accounts.auth import ANY_SCOPE
from accounts.models import User
from accounts.rbac import ROLE_SCOPES
from tests.conftest import Person
from tests.routes import every_view

EVERYBODY, SIGNED_IN, STRANGERS, STAFF = "everybody", "signed in", "strangers", "staff"
# What is no tenant's, by the beginning of its path: who gets something else than the way to the sign-in.
ELSEWHERE: Mapping[str, str] = {
    "accounts/login/": STRANGERS,
    "accounts/logout/": EVERYBODY,  # by POST; for strangers it does nothing
    "accounts/inactive/": EVERYBODY,
    "accounts/reauthenticate/": SIGNED_IN,
    "accounts/password/change/": SIGNED_IN,
    "accounts/password/set/": SIGNED_IN,
    "accounts/password/reset/": EVERYBODY,
    "accounts/^password/reset/key/": EVERYBODY,
    "accounts/invitations/": EVERYBODY,  # who has the link
    "accounts/2fa/authenticate/": STRANGERS,  # half way in
    "accounts/2fa/webauthn/login/": STRANGERS,
    "accounts/2fa/": SIGNED_IN,
    "accounts/oidc/": EVERYBODY,
    "profile/": SIGNED_IN,
    "theme/": EVERYBODY,
    "ui-kit/": EVERYBODY,  # nowhere but in development
    "docs": EVERYBODY,
    "admin/": STAFF,
    "": SIGNED_IN,  # home
}
# Pages of a tenant: the scope of each method. Roles follow from accounts.rbac.
PAGES: Mapping[str, Mapping[str, str]] = {
    "": {"GET": "analytics:read"},
    "palette/": {"GET": ANY_SCOPE},
    "requests/": {"GET": "analytics:read"},
    "requests/<uuid:request_id>/": {"GET": "analytics:read"},
    "providers/": {"GET": "analytics:read"},
    "providers/new/": {"GET": "providers:write", "POST": "providers:write"},
    "providers/<uuid:provider_id>/": {"GET": "analytics:read"},
    "providers/<uuid:provider_id>/edit/": {"GET": "providers:write", "POST": "providers:write"},
    "providers/<uuid:provider_id>/test/": {"POST": "providers:write"},
    "providers/<uuid:provider_id>/circuit/": {"POST": "providers:write"},
    "providers/<uuid:provider_id>/switch/": {"POST": "providers:write"},
    "providers/<uuid:provider_id>/delete/": {"POST": "providers:write"},
    "keys/": {"GET": "keys:read"},
    "keys/new/": {"GET": "keys:write", "POST": "keys:write"},
    "keys/<uuid:key_id>/": {"GET": "keys:read"},
    "keys/<uuid:key_id>/edit/": {"GET": "keys:write", "POST": "keys:write"},
    "keys/<uuid:key_id>/rotate/": {"POST": "keys:write"},
    "keys/<uuid:key_id>/revoke/": {"POST": "keys:write"},
    "keys/<uuid:key_id>/first/": {"GET": "keys:read"},
    "members/": {"GET": "members:read"},
    "members/invite/": {"POST": "members:write"},
    "members/<uuid:member_id>/role/": {"POST": "members:write"},
    "members/<uuid:member_id>/remove/": {"POST": "members:write"},
    "members/invitations/<uuid:invitation_id>/again/": {"POST": "members:write"},
    "members/invitations/<uuid:invitation_id>/revoke/": {"POST": "members:write"},
    "audit/": {"GET": "audit:read"},
    "audit/<uuid:event_id>/": {"GET": "audit:read"},
    "settings/": {"GET": "members:read", "POST": "members:write"},
    "settings/gitops-secret/": {"POST": "members:write"},
}
TENANT = "t/<slug:slug>/"
OURS = {path.removeprefix(TENANT): view for path, view in every_view() if path.startswith(TENANT)}
PROGRAMS = ("v1/", "^v1/", "healthz", "readyz", "metrics")
OTHERS = [path for path, _ in every_view() if not path.startswith((TENANT, *PROGRAMS))]


def test_every_page_of_a_tenant_has_a_line_and_declares_what_it_says() -> None:
    assert {path: dict(getattr(view, "scopes", {})) for path, view in OURS.items()} == PAGES


@pytest.mark.parametrize(
    ("scope", "roles"),
    [
        ("analytics:read", {"admin", "developer", "viewer"}),
        ("members:read", {"admin"}),
        ("members:write", {"admin"}),
        ("audit:read", {"admin"}),
        ("providers:write", {"admin"}),
        ("keys:read", {"admin", "developer"}),
        ("keys:write", {"admin"}),
    ],
)
def test_roles_hold_the_scopes_of_pages_as_the_contract_says(scope: str, roles: set[str]) -> None:
    assert {role for role, scopes in ROLE_SCOPES.items() if scope in scopes} == roles


def rule(path: str) -> str:
    """Return who may; the longest beginning counts, and "" is home alone."""
    found = [start for start in ELSEWHERE if (path.startswith(start) if start else path == "")]
    assert found, f"{path} has no line in ELSEWHERE"
    return ELSEWHERE[max(found, key=len)]


@pytest.mark.parametrize("path", OTHERS)
def test_every_other_page_has_a_line(path: str) -> None:
    rule(path)


def address(path: str) -> str:
    """Return an address of a path pattern that takes nothing, or values that nobody has."""
    values = {"token": "nothing", "provider_id": "sso", "pk": "1", "session_id": str(uuid4()), "name": "overview"}
    parts = [values[part.strip("<>").partition(":")[2]] if part.startswith("<") else part for part in path.split("/")]
    return "/" + "/".join(parts)


PLAIN = [path for path in OTHERS if not path.startswith(("admin/", "accounts/^"))]


@pytest.mark.parametrize("path", PLAIN)
def test_strangers_are_led_to_the_sign_in_where_they_have_no_business(db: None, path: str) -> None:
    answer = Browser().get(address(path))
    led = answer.status_code == 302 and answer["location"].startswith("/accounts/login/")
    if rule(path) == SIGNED_IN:
        assert led or answer.status_code == 405
    else:
        assert not led or path.startswith("accounts/2fa/")  # who has not begun to sign in begins at the beginning


@pytest.mark.parametrize("role", ["ada", "dev", "vera"])
def test_roles_of_a_tenant_open_no_page_of_the_operators(request: pytest.FixtureRequest, role: str) -> None:
    person: Person = request.getfixturevalue(role)
    for path in OTHERS:
        if path.startswith("admin/") and "<" not in path and "(" not in path and path != "admin/login/":
            answer = person.browser.get(f"/{path}")
            assert answer.status_code in (302, 403, 404, 405), path


def test_staff_is_a_matter_of_the_installation_and_opens_no_tenant(ada: Person, db: None) -> None:
    operator = Browser()
    operator.force_login(User.objects.create_superuser("root@operators.example"))
    assert operator.get("/admin/").status_code == 200
    assert operator.get("/t/acme/").status_code == 404
