"""API keys over REST: made once in plain sight, bounded by their creator, revoked for good."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client as Browser
from pytest_django import DjangoAssertNumQueries

from accounts.audit import Actor
from accounts.keys import hash_key
from accounts.models import ApiKey, AuditEvent, Membership, Tenant
from accounts.services import change_role, remove_member
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key


def call(key: str, method: str, path: str, body: Any = None) -> Any:
    return Browser().generic(
        method,
        path,
        data=b"" if body is None else json.dumps(body).encode(),
        content_type="application/json",
        headers={"authorization": f"Bearer {key}"},
    )


def post_key(key: str, **body: Any) -> Any:
    return call(key, "POST", "/v1/keys", {"name": "ci", "scopes": ["completions:write"], **body})


def test_a_key_is_shown_once_and_stored_as_its_hash(ada: Person) -> None:
    answer = post_key(ada.key, monthly_request_quota=1000)
    assert answer.status_code == 201
    made = answer.json()
    plaintext = made.pop("api_key")
    assert plaintext.startswith("nxk_")
    assert len(plaintext) == 47
    assert made["prefix"] == plaintext[:8]
    assert answer["cache-control"] == "no-store"
    row = ApiKey.objects.get(id=made["id"])
    assert row.key_hash == hash_key(plaintext)
    assert plaintext not in str(ApiKey.objects.filter(id=row.id).values().get())
    assert "api_key" not in call(ada.key, "GET", f"/v1/keys/{row.id}").json()
    assert plaintext not in call(ada.key, "GET", "/v1/keys").content.decode()
    assert plaintext not in str(list(AuditEvent.objects.values()))


def test_making_a_key_leaves_an_audit_row(ada: Person) -> None:
    made = post_key(ada.key).json()
    event = AuditEvent.objects.get(action="key.created")
    assert (event.target_id, event.actor_kind) == (made["id"], "key")
    assert event.changes["scopes"] == [[], ["completions:write"]]
    assert event.request_id is not None
    assert event.ip == "127.0.0.1"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"scopes": ["root:all"]}, "scopes"),
        ({"scopes": "completions:write"}, "scopes"),
        ({"scopes": ["keys:read", None]}, "scopes.1"),
        ({"monthly_request_quota": 0}, "monthly_request_quota"),
        ({"monthly_request_quota": "many"}, "monthly_request_quota"),
        ({"rpm": 0}, "rpm"),
        ({"tpm": -1}, "tpm"),
        ({"max_concurrent": 1.5}, "max_concurrent"),
        ({"expires_at": "yesterday"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_is_named(ada: Person, body: dict[str, Any], param: str) -> None:
    answer = post_key(ada.key, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("INVALID_REQUEST", param)
    assert error["type"] == "invalid_request_error"
    assert error["request_id"] == answer["x-request-id"]
    assert ApiKey.objects.filter(name="ci").count() == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(ada: Person, body: bytes) -> None:
    answer = Browser().post(
        "/v1/keys", data=body, content_type="application/json", headers={"authorization": f"Bearer {ada.key}"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_REQUEST"


def test_a_key_cannot_make_a_stronger_one(ada: Person) -> None:
    weak = make_key(ada.tenant, ada.user, scopes=["keys:write"])
    answer = post_key(weak, scopes=["completions:write"])
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "SCOPE_REQUIRED"
    assert "completions:write" in answer.json()["error"]["message"]


def test_a_key_made_by_a_key_is_bounded_by_the_same_person(ada: Person) -> None:
    made = post_key(ada.key, scopes=["keys:read"]).json()
    assert ApiKey.objects.get(id=made["id"]).created_by == ada.user


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_only_admins_change_keys(dev: Person, vera: Person, ada: Person, method: str) -> None:
    target = post_key(ada.key).json()["id"]
    path = "/v1/keys" if method == "POST" else f"/v1/keys/{target}"
    for person in (dev, vera):
        answer = call(person.key, method, path, {"name": "x", "scopes": []})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "SCOPE_REQUIRED"


def test_a_developer_sees_keys_by_prefix_and_a_viewer_none(dev: Person, vera: Person) -> None:
    listed = call(dev.key, "GET", "/v1/keys")
    assert listed.status_code == 200
    assert all(len(key["prefix"]) == 8 and "key_hash" not in key for key in listed.json()["data"])
    assert call(vera.key, "GET", "/v1/keys").status_code == 403


def test_another_tenants_key_does_not_exist(ada: Person, gus: Person) -> None:
    theirs = post_key(ada.key).json()["id"]
    for method in ("GET", "PATCH", "DELETE"):
        answer = call(gus.key, method, f"/v1/keys/{theirs}", {"name": "mine"})
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NOT_FOUND"
    assert ApiKey.objects.get(id=theirs).revoked_at is None


def test_a_revoked_key_is_refused_and_stays_listed(ada: Person) -> None:
    made = post_key(ada.key, scopes=["keys:read"]).json()
    assert call(made["api_key"], "GET", "/v1/keys").status_code == 200
    assert call(ada.key, "DELETE", f"/v1/keys/{made['id']}").status_code == 204
    assert call(ada.key, "DELETE", f"/v1/keys/{made['id']}").status_code == 204
    assert call(made["api_key"], "GET", "/v1/keys").status_code == 401
    assert call(ada.key, "GET", f"/v1/keys/{made['id']}").json()["revoked_at"] is not None
    assert call(ada.key, "PATCH", f"/v1/keys/{made['id']}", {"name": "again"}).status_code == 409
    assert AuditEvent.objects.filter(action="key.revoked").count() == 1


def test_an_expired_key_is_refused(ada: Person) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert call(make_key(ada.tenant, ada.user, expires_at=past), "GET", "/v1/keys").status_code == 401


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer nxk_wrong", "Basic dXNlcjpwYXNz", "Bearer ' OR 1=1 --", "nxk_x", "Bearer \u00ff"],
)
def test_whatever_is_no_key_is_a_401_in_one_form(ada: Person, authorization: str) -> None:
    answer = Browser().get("/v1/keys", headers={"authorization": authorization} if authorization else {})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "INVALID_API_KEY"
    assert answer.json()["error"]["type"] == "authentication_error"


def test_a_demotion_binds_the_keys_that_exist(ada: Person, dev: Person) -> None:
    key = make_key(ada.tenant, dev.user)
    assert call(key, "GET", "/v1/keys").status_code == 200
    membership = Membership.objects.get(user=dev.user)
    change_role(membership.id, ada.tenant, role="viewer", actor=Actor.system("test"))
    assert call(key, "GET", "/v1/keys").status_code == 403
    remove_member(membership.id, ada.tenant, actor=Actor.system("test"))
    assert call(key, "GET", "/v1/settings").status_code == 403
    assert call(key, "GET", "/v1/circuits").status_code == 403


def test_changes_are_partial_and_audited(ada: Person) -> None:
    made = post_key(ada.key, monthly_request_quota=10).json()
    answer = call(ada.key, "PATCH", f"/v1/keys/{made['id']}", {"monthly_request_quota": None})
    assert answer.status_code == 200
    assert answer.json()["monthly_request_quota"] is None
    assert answer.json()["name"] == "ci"
    assert AuditEvent.objects.get(action="key.updated").changes == {"monthly_request_quota": [10, None]}


def test_limits_are_set_shown_lifted_and_audited(ada: Person) -> None:
    made = post_key(ada.key, rpm=60, tpm=90_000, max_concurrent=4).json()
    created = AuditEvent.objects.get(action="key.created")
    assert created.changes == {
        "scopes": [[], ["completions:write"]], "rpm": [None, 60], "tpm": [None, 90_000], "max_concurrent": [None, 4],
    }  # fmt: skip
    path = f"/v1/keys/{made['id']}"
    assert call(ada.key, "PATCH", path, {"rpm": 120, "tpm": None}).status_code == 200
    shown = call(ada.key, "GET", path).json()
    limits = {name: shown[name] for name in ("monthly_request_quota", "rpm", "tpm", "max_concurrent")}
    assert limits == {"monthly_request_quota": None, "rpm": 120, "tpm": None, "max_concurrent": 4}
    assert AuditEvent.objects.get(action="key.updated").changes == {"rpm": [60, 120], "tpm": [90_000, None]}


def test_the_database_takes_no_limit_of_nothing(tenant: Tenant) -> None:
    with pytest.raises(IntegrityError, match="key_limits_positive"):
        ApiKey.objects.create(tenant=tenant, name="none", prefix="nxk_none", key_hash="0" * 64, scopes=[], rpm=0)


def test_pages_do_not_shift_when_rows_are_added(ada: Person) -> None:
    reader = ada.key
    for number in range(5):
        make_key(ada.tenant, ada.user, name=f"k{number}")
    first = call(reader, "GET", "/v1/keys?limit=2").json()
    make_key(ada.tenant, ada.user, name="newcomer")
    second = call(reader, "GET", f"/v1/keys?limit=2&cursor={first['next_cursor']}").json()
    third = call(reader, "GET", f"/v1/keys?limit=2&cursor={second['next_cursor']}").json()
    names = [key["name"] for page in (first, second, third) for key in page["data"]]
    assert names == ["k4", "k3", "k2", "k1", "k0", "test"]
    assert third["next_cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=W10", "cursor=eyJhIjoxfQ"])
def test_a_malformed_page_is_named(ada: Person, query: str) -> None:
    answer = call(ada.key, "GET", f"/v1/keys?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize("rows", [1, 40])
def test_a_list_costs_the_same_for_one_row_and_for_many(
    ada: Person, rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key = ada.key
    for _ in range(rows):
        make_key(ada.tenant, ada.user)
    with django_assert_num_queries(WALL + 3):  # the key, its creator's role, the page
        call(key, "GET", "/v1/keys")
