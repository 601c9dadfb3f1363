"""Members, settings and the audit log over REST."""

import json
from typing import Any

import pytest
from django.db import Error, connection, transaction
from django.test import Client as Browser

from accounts.models import AuditEvent, Membership, Tenant, User
from nexus.encryption import Cipher
from tests.accounts.test_keys_api import call
from tests.conftest import Person
from tests.factories import make_key, make_member, make_tenant


def test_an_admin_adds_changes_and_removes_members(ada: Person) -> None:
    key = ada.key
    added = call(key, "POST", "/v1/members", {"email": "New@Acme.example", "role": "developer"})
    assert added.status_code == 201
    assert added.json()["email"] == "new@acme.example"
    path = f"/v1/members/{added.json()['id']}"
    assert call(key, "PATCH", path, {"role": "viewer"}).json()["role"] == "viewer"
    assert call(key, "DELETE", path).status_code == 204
    assert call(key, "DELETE", path).status_code == 404
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["member.added", "member.role_changed", "member.removed"]


def test_nobody_is_added_twice(ada: Person, vera: Person) -> None:
    answer = call(ada.key, "POST", "/v1/members", {"email": vera.user.email, "role": "admin"})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "ALREADY_MEMBER"
    assert Membership.objects.get(user=vera.user).role == "viewer"


@pytest.mark.parametrize("body", [{"role": "viewer"}, None])
def test_the_last_admin_stays(ada: Person, body: dict[str, str] | None) -> None:
    membership = Membership.objects.get(user=ada.user)
    answer = call(ada.key, "PATCH" if body else "DELETE", f"/v1/members/{membership.id}", body)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "LAST_ADMIN"
    assert Membership.objects.get(user=ada.user).role == "admin"
    assert AuditEvent.objects.count() == 0


def test_raw_sql_cannot_take_the_last_admin_either(ada: Person) -> None:
    demote = "UPDATE accounts_membership SET role = 'viewer' WHERE user_id = %s"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(demote, [ada.user.id])
        with pytest.raises(Error, match="last admin"):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        transaction.set_rollback(True)
    assert Membership.objects.get(user=ada.user).role == "admin"


def test_developers_and_viewers_see_no_members(dev: Person, vera: Person) -> None:
    for person in (dev, vera):
        assert call(person.key, "GET", "/v1/members").status_code == 403
        assert call(person.key, "POST", "/v1/members", {"email": "x@y.example", "role": "admin"}).status_code == 403


def test_foreign_members_do_not_exist(ada: Person, gus: Person) -> None:
    membership = Membership.objects.get(user=ada.user)
    assert call(gus.key, "PATCH", f"/v1/members/{membership.id}", {"role": "viewer"}).status_code == 404
    assert call(gus.key, "DELETE", f"/v1/members/{membership.id}").status_code == 404


def test_settings_are_read_by_all_and_written_by_admins(ada: Person, dev: Person, vera: Person) -> None:
    for person in (ada, dev, vera):
        assert call(person.key, "GET", "/v1/settings").json()["max_attempts"] == 4
    for person in (dev, vera):
        assert call(person.key, "PATCH", "/v1/settings", {"max_attempts": 1}).status_code == 403
    changed = call(ada.key, "PATCH", "/v1/settings", {"routing_strategy": "weighted", "max_attempts": 2})
    assert changed.status_code == 200
    assert changed.json()["routing_strategy"] == "weighted"
    assert AuditEvent.objects.get().changes == {"routing_strategy": ["priority", "weighted"], "max_attempts": [4, 2]}


def test_the_webhook_secret_is_sealed_and_never_shown(ada: Person, settings: Any) -> None:
    secret = "canary-webhook-secret"
    answer = call(ada.key, "PATCH", "/v1/settings", {"gitops_secret": secret})
    assert answer.json()["gitops_secret_set"] is True
    assert secret not in answer.content.decode()
    tenant = Tenant.objects.get(id=ada.tenant.id)
    assert secret not in tenant.gitops_secret_sealed
    cipher = Cipher(settings.NEXUS_ENCRYPTION_KEYS)
    assert cipher.open(tenant.gitops_secret_sealed, context=f"tenant:{tenant.id}:gitops") == secret
    assert secret not in json.dumps(list(AuditEvent.objects.values("changes")))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"deadline_s": 601}, "deadline_s"),
        ({"routing_strategy": "fastest"}, "routing_strategy"),
        ({"slug": "mine"}, "slug"),
        ({"gitops_secret_sealed": "x"}, "gitops_secret_sealed"),
    ],
)
def test_settings_refuse_what_they_do_not_know(ada: Person, body: dict[str, Any], param: str) -> None:
    answer = call(ada.key, "PATCH", "/v1/settings", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_audit_log_is_for_admins_and_of_one_tenant(ada: Person, dev: Person, gus: Person) -> None:
    call(ada.key, "PATCH", "/v1/settings", {"max_attempts": 3})
    listed = call(ada.key, "GET", "/v1/audit?action=settings.updated").json()["data"]
    assert [event["actor"]["kind"] for event in listed] == ["key"]
    assert call(ada.key, "GET", "/v1/audit?action=other").json()["data"] == []
    assert call(ada.key, "GET", "/v1/audit?colour=red").json()["error"]["param"] == "colour"
    assert call(gus.key, "GET", "/v1/audit").json()["data"] == []
    assert call(dev.key, "GET", "/v1/audit").status_code == 403


def test_a_session_needs_the_csrf_token_to_write(ada: Person) -> None:
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(ada.user)
    assert browser.get("/v1/settings").status_code == 200
    refused = browser.patch("/v1/settings", data={"max_attempts": 2}, content_type="application/json")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "CSRF_FAILED"
    browser.get("/t/acme/")  # any page hands out the token
    token = browser.cookies["csrftoken"].value
    accepted = browser.patch(
        "/v1/settings", data={"max_attempts": 2}, content_type="application/json", headers={"x-csrftoken": token}
    )
    assert accepted.status_code == 200


def test_a_session_chooses_among_its_own_tenants(ada: Person, gus: Person) -> None:
    second = make_tenant("second")
    make_member(second, ada.user.email, "viewer")
    assert ada.browser.get("/v1/settings").json()["tenant"] == "acme"
    assert ada.browser.get("/v1/settings", headers={"x-nexus-tenant": "second"}).json()["tenant"] == "second"
    assert ada.browser.get("/v1/settings", headers={"x-nexus-tenant": "globex"}).status_code == 404


def test_a_person_without_a_tenant_sees_nothing(db: None) -> None:
    browser = Browser()
    browser.force_login(User.objects.create(email="nobody@example.com"))
    assert browser.get("/v1/settings").status_code == 403


def test_a_switched_off_person_has_no_session_and_no_key(ada: Person) -> None:
    key = make_key(ada.tenant, ada.user)
    ada.user.is_active = False
    ada.user.save()
    assert ada.browser.get("/v1/settings").status_code == 401
    assert call(key, "GET", "/v1/keys").status_code == 403
