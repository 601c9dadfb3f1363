"""Each write leaves one row that says who, what, from where; and the log is read by its filters."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from accounts.models import ApiKey, AuditEvent, Membership
from tests.accounts.test_keys_api import call
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key, make_member


def the_row(answer: Any, action: str) -> AuditEvent:
    """Return the one row of a write, checked for what every row holds."""
    assert answer.status_code < 300, answer.content
    event: AuditEvent = AuditEvent.objects.get()
    assert (event.action, event.ip) == (action, "127.0.0.1")
    assert event.request_id == UUID(answer["x-request-id"])
    return event


def test_writes_to_keys(ada: Person) -> None:
    made = ada.browser.post("/v1/keys", {"name": "ci", "scopes": []}, content_type="application/json")
    event = the_row(made, "key.created")
    assert (event.actor_kind, event.actor_label, event.tenant_id) == ("user", "ada@acme.example", ada.tenant.id)
    assert (event.target_kind, event.target_id) == ("apikey", made.json()["id"])
    assert made.json()["api_key"] not in str(event.__dict__)
    assert ApiKey.objects.get().key_hash not in str(event.__dict__)


@pytest.mark.parametrize(
    ("method", "body", "action"), [("PATCH", {"name": "renamed"}, "key.updated"), ("DELETE", None, "key.revoked")]
)
def test_changes_of_a_key(ada: Person, method: str, body: Any, action: str) -> None:
    key = ada.key
    row = ApiKey.objects.get()
    event = the_row(call(key, method, f"/v1/keys/{row.id}", body), action)
    assert (event.actor_kind, event.actor_id) == ("key", row.id)


@pytest.mark.parametrize(
    ("method", "body", "action"),
    [("PATCH", {"role": "viewer"}, "member.role_changed"), ("DELETE", None, "member.removed")],
)
def test_changes_of_a_member(ada: Person, dev: Person, method: str, body: Any, action: str) -> None:
    membership = Membership.objects.get(user=dev.user)
    event = the_row(call(ada.key, method, f"/v1/members/{membership.id}", body), action)
    assert event.changes["role"] == ["developer", "viewer" if body else None]


@pytest.mark.parametrize("path", ["settings", "keys", "members"])
def test_a_change_of_nothing_is_none(ada: Person, path: str) -> None:
    key = ada.key
    target = {"settings": "", "keys": f"/{ApiKey.objects.get().id}", "members": f"/{Membership.objects.get().id}"}[path]
    body = {"settings": {"max_attempts": 4}, "keys": {"name": "test"}, "members": {"role": "admin"}}[path]
    for each in ({}, body):
        assert call(key, "PATCH", f"/v1/{path}{target}", each).status_code == 200
    assert AuditEvent.objects.count() == 0


def test_a_refused_write_leaves_no_row(ada: Person, vera: Person) -> None:
    call(vera.key, "POST", "/v1/members", {"email": "x@y.example", "role": "admin"})
    call(ada.key, "POST", "/v1/members", {"email": vera.user.email, "role": "admin"})
    call(ada.key, "POST", "/v1/keys", {"name": "x", "scopes": ["root:all"]})
    assert AuditEvent.objects.count() == 0


def test_a_secret_is_logged_as_set_and_as_removed(ada: Person) -> None:
    for secret in ("canary", ""):
        assert call(ada.key, "PATCH", "/v1/settings", {"gitops_secret": secret}).status_code == 200
    rows = AuditEvent.objects.order_by("created_at", "id").values_list("changes", flat=True)
    assert list(rows) == [{"gitops_secret_sealed": ["", "changed"]}, {"gitops_secret_sealed": ["", "removed"]}]


def test_the_log_is_filtered_by_actor_target_and_time(ada: Person) -> None:
    key = ada.key
    mine = ApiKey.objects.get()
    ada.browser.patch("/v1/settings", {"max_attempts": 3}, content_type="application/json")
    call(key, "PATCH", f"/v1/keys/{mine.id}", {"name": "renamed"})
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")

    def actions(query: str) -> list[str]:
        return [event["action"] for event in call(key, "GET", f"/v1/audit?{query}").json()["data"]]

    assert actions("") == ["key.updated", "settings.updated"]
    assert actions(f"actor={mine.id}") == ["key.updated"]
    assert actions("actor=ada@acme.example") == ["settings.updated"]
    assert actions(f"target={mine.id}&action=key.updated") == ["key.updated"]
    assert actions(f"from={later}") == []
    assert actions(f"to={later}&limit=1") == ["key.updated"]


def test_a_key_cannot_be_given_more_than_the_changing_key_holds(ada: Person) -> None:
    target = call(ada.key, "POST", "/v1/keys", {"name": "t", "scopes": ["keys:read"]}).json()
    weak = make_key(ada.tenant, ada.user, scopes=["keys:write"])
    path = f"/v1/keys/{target['id']}"
    refused = call(weak, "PATCH", path, {"scopes": ["keys:read", "providers:write"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "scopes")
    assert "providers:write" in refused.json()["error"]["message"]
    assert ApiKey.objects.get(id=target["id"]).scopes == ["keys:read"]
    assert call(weak, "PATCH", path, {"scopes": ["keys:read", "keys:write"]}).status_code == 200


def test_use_is_noted_once_a_minute(ada: Person, django_assert_num_queries: Any) -> None:
    key = make_key(ada.tenant, ada.user, last_used_at=None)
    with django_assert_num_queries(WALL + 7):  # the key, its creator's role; the note, which leaves the wall for it
        call(key, "GET", "/v1/settings")
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(WALL + 2):  # the key, its creator's role
        call(key, "GET", "/v1/settings")
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    call(key, "GET", "/v1/settings")
    assert ApiKey.objects.filter(last_used_at__gte=first).exists()


@pytest.mark.parametrize("rows", [1, 30])
@pytest.mark.parametrize(("path", "queries"), [("members", 3), ("audit", 3)])  # the key, its creator's role, the page
def test_lists_cost_the_same_for_one_row_and_for_many(
    ada: Person, django_assert_num_queries: Any, path: str, queries: int, rows: int
) -> None:
    key = ada.key
    for number in range(rows):
        make_member(ada.tenant, f"m{number}@acme.example", "viewer")
        call(key, "PATCH", "/v1/settings", {"max_attempts": 1 + number % 2})
    with django_assert_num_queries(WALL + queries):
        assert len(call(key, "GET", f"/v1/{path}").json()["data"]) >= rows


def test_an_invited_person_has_no_password_to_guess(ada: Person) -> None:
    call(ada.key, "POST", "/v1/members", {"email": "new@acme.example", "role": "viewer"})
    assert not Membership.objects.get(user__email="new@acme.example").user.has_usable_password()
