"""`manage.py bootstrap`: what it makes, what it leaves alone, and what it refuses."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser

from accounts.models import ApiKey, AuditEvent, Membership, Tenant, User
from tests.accounts.test_keys_api import call
from tests.conftest import Person

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough sentence"


def bootstrap(**options: object) -> str:
    out = StringIO()
    given = {"tenant": "acme", "email": "Ada@Acme.example", "password": PASSWORD, **options}
    call_command("bootstrap", stdout=out, **given)
    return out.getvalue()


def test_it_makes_everything_that_a_first_request_needs() -> None:
    lines = bootstrap(scopes="keys:read,completions:write", json=True).splitlines()
    assert len(lines) == 1
    made = json.loads(lines[0])
    assert list(made) == ["tenant", "user", "api_key"]
    assert (made["tenant"], made["user"]) == ("acme", "ada@acme.example")
    assert Membership.objects.get().role == "admin"
    assert call(made["api_key"], "GET", "/v1/keys").status_code == 200
    assert Browser().login(username="ada@acme.example", password=PASSWORD)


def test_the_password_may_come_from_a_pipe_where_no_list_of_processes_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(f"{PASSWORD}\nand more\n"))
    bootstrap(password="-")
    assert Browser().login(username="ada@acme.example", password=PASSWORD)


def test_a_pipe_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(""))
    with pytest.raises(CommandError, match="password"):
        bootstrap(password="-")
    assert not User.objects.exists()


def test_it_makes_no_key_without_scopes() -> None:
    assert json.loads(bootstrap(json=True))["api_key"] is None
    assert ApiKey.objects.count() == 0


def test_a_second_run_changes_nothing_and_ends_no_session() -> None:
    bootstrap()
    browser = Browser()
    assert browser.login(username="ada@acme.example", password=PASSWORD)
    events = AuditEvent.objects.count()
    bootstrap()
    assert (Tenant.objects.count(), User.objects.count(), Membership.objects.count()) == (1, 1, 1)
    assert AuditEvent.objects.count() == events
    assert browser.get("/v1/settings").status_code == 200


def test_each_run_with_scopes_makes_a_new_key() -> None:
    first, second = (json.loads(bootstrap(scopes="keys:read", json=True))["api_key"] for _ in range(2))
    assert first != second
    assert ApiKey.objects.count() == 2


def test_another_password_is_set_and_another_role_given(ada: Person) -> None:
    bootstrap(email="dev@acme.example", role="viewer")
    bootstrap(email="dev@acme.example", role="developer", password="another long sentence")
    assert Membership.objects.get(user__email="dev@acme.example").role == "developer"
    assert Browser().login(username="dev@acme.example", password="another long sentence")


def test_the_actor_is_the_system() -> None:
    bootstrap(scopes="keys:read")
    events = AuditEvent.objects.order_by("created_at", "id").values_list("action", "actor_kind", "actor_label")
    actions = ["tenant.created", "user.created", "member.added", "key.created"]
    assert list(events) == [(action, "system", "manage.py bootstrap") for action in actions]
    assert PASSWORD not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tenant": "Not A Slug"}, "lower-case letters"),
        ({"email": "nobody"}, "valid email"),
        ({"password": "short"}, "too short"),
        ({"password": "password1234"}, "too common"),
        ({"scopes": "root:all"}, "do not exist: root:all"),
        ({"scopes": "keys:write", "role": "viewer"}, "more than its creator: keys:write"),
    ],
)
def test_what_it_refuses_it_refuses_whole_and_in_a_sentence(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        bootstrap(**options)
    assert (Tenant.objects.count(), User.objects.count(), AuditEvent.objects.count()) == (0, 0, 0)


def test_it_does_not_demote_the_last_admin() -> None:
    bootstrap()
    with pytest.raises(CommandError, match="at least one admin"):
        bootstrap(role="viewer")
    assert Membership.objects.get().role == "admin"
