"""A key gets a new secret: shown once, the same key otherwise, and the old secret good for its grace alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.keys import hash_key
from accounts.models import ApiKey, AuditEvent
from tests.accounts.test_keys_api import call
from tests.conftest import Person
from tests.factories import make_key

STAYING = ("id", "name", "scopes", "monthly_request_quota", "created_by", "created_at", "expires_at", "revoked_at")


def make(ada: Person, **fields: Any) -> dict[str, Any]:
    body = {"name": "worker", "scopes": ["keys:read"], "monthly_request_quota": 100, **fields}
    made: dict[str, Any] = call(ada.key, "POST", "/v1/keys", body).json()
    return made


def rotate(key: str, key_id: str, **body: Any) -> Any:
    return call(key, "POST", f"/v1/keys/{key_id}/rotate", body)


def works(secret: str) -> bool:
    status: int = call(secret, "GET", "/v1/keys").status_code
    assert status in (200, 401)
    return status == 200


def test_the_key_stays_and_its_secret_changes(ada: Person) -> None:
    made = make(ada)
    answer = rotate(ada.key, made["id"])
    rotated = answer.json()
    assert (answer.status_code, answer["cache-control"]) == (200, "no-store")
    assert {name: rotated[name] for name in STAYING} == {name: made[name] for name in STAYING}
    assert set(rotated) == set(made)
    assert rotated["api_key"] != made["api_key"]
    assert rotated["prefix"] == rotated["api_key"][:8]
    assert datetime.fromisoformat(rotated["rotated_at"]) > datetime.fromisoformat(made["created_at"])
    assert works(rotated["api_key"])


def test_without_grace_the_old_secret_ends_at_once(ada: Person) -> None:
    made = make(ada)
    assert rotate(ada.key, made["id"]).json()["previous_expires_at"] is None
    assert not works(made["api_key"])


def test_a_body_is_not_needed(ada: Person) -> None:
    made = make(ada)
    assert call(ada.key, "POST", f"/v1/keys/{made['id']}/rotate").status_code == 200


def test_with_grace_both_secrets_are_the_same_key_until_it_is_over(ada: Person) -> None:
    made = make(ada)
    rotated = rotate(ada.key, made["id"], grace_s=3600).json()
    end = datetime.fromisoformat(rotated["previous_expires_at"])
    assert end - datetime.fromisoformat(rotated["rotated_at"]) == timedelta(hours=1)
    assert works(made["api_key"])
    assert works(rotated["api_key"])
    ApiKey.objects.filter(id=made["id"]).update(previous_expires_at=datetime.now(UTC))
    assert not works(made["api_key"])
    assert works(rotated["api_key"])


def test_only_the_latest_of_the_old_secrets_has_grace(ada: Person) -> None:
    first = make(ada)
    second = rotate(ada.key, first["id"], grace_s=3600).json()
    third = rotate(ada.key, first["id"], grace_s=3600).json()
    assert not works(first["api_key"])
    assert works(second["api_key"])
    assert works(third["api_key"])
    fourth = rotate(ada.key, first["id"]).json()
    assert [works(each["api_key"]) for each in (first, second, third, fourth)] == [False, False, False, True]


def test_a_revocation_ends_both(ada: Person) -> None:
    made = make(ada)
    rotated = rotate(ada.key, made["id"], grace_s=3600).json()
    assert call(ada.key, "DELETE", f"/v1/keys/{made['id']}").status_code == 204
    assert not works(made["api_key"])
    assert not works(rotated["api_key"])


def test_the_expiry_of_the_key_ends_both(ada: Person) -> None:
    made = make(ada)
    rotated = rotate(ada.key, made["id"], grace_s=3600).json()
    ApiKey.objects.filter(id=made["id"]).update(expires_at=datetime.now(UTC))
    assert not works(made["api_key"])
    assert not works(rotated["api_key"])


def test_no_secret_is_kept_or_told(ada: Person) -> None:
    made = make(ada)
    rotated = rotate(ada.key, made["id"], grace_s=60).json()
    row = ApiKey.objects.filter(id=made["id"]).values().get()
    assert (row["key_hash"], row["previous_hash"]) == (hash_key(rotated["api_key"]), hash_key(made["api_key"]))
    told = str(row) + call(ada.key, "GET", "/v1/keys").content.decode() + str(list(AuditEvent.objects.values()))
    for secret in (made["api_key"], rotated["api_key"]):
        assert secret not in told
    shown = call(ada.key, "GET", f"/v1/keys/{made['id']}").content.decode() + str(list(AuditEvent.objects.values()))
    assert row["previous_hash"] not in shown
    assert row["key_hash"] not in shown


def test_it_leaves_an_audit_row(ada: Person) -> None:
    made = make(ada)
    rotated = rotate(ada.key, made["id"], grace_s=60).json()
    event = AuditEvent.objects.get(action="key.rotated")
    assert (event.target_id, event.actor_kind) == (made["id"], "key")
    assert event.changes["prefix"] == [made["prefix"], rotated["prefix"]]
    until = datetime.fromisoformat(event.changes["previous_expires_at"][1])
    assert until == datetime.fromisoformat(rotated["previous_expires_at"])


@pytest.mark.parametrize("grace", [-1, 604_801, "soon", None, 1.5])
def test_a_grace_out_of_bounds_is_refused(ada: Person, grace: Any) -> None:
    made = make(ada)
    answer = rotate(ada.key, made["id"], grace_s=grace)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "grace_s")
    assert works(made["api_key"])


def test_the_longest_grace_is_a_week(ada: Person) -> None:
    made = make(ada)
    assert rotate(ada.key, made["id"], grace_s=604_800).status_code == 200


def test_a_member_that_is_not_known_is_refused(ada: Person) -> None:
    made = make(ada)
    assert rotate(ada.key, made["id"], grace=60).json()["error"]["param"] == "grace"


@pytest.mark.parametrize(
    ("state", "code"),
    [({"revoked_at": datetime.now(UTC)}, "KEY_REVOKED"), ({"expires_at": datetime.now(UTC)}, "KEY_EXPIRED")],
)
def test_a_dead_key_is_not_rotated(ada: Person, state: dict[str, Any], code: str) -> None:
    made = make(ada)
    ApiKey.objects.filter(id=made["id"]).update(**state)
    answer = rotate(ada.key, made["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)
    assert AuditEvent.objects.filter(action="key.rotated").count() == 0


def test_rotation_is_no_way_to_a_stronger_key(ada: Person) -> None:
    strong = make(ada, scopes=["completions:write", "keys:write"])
    weak = make_key(ada.tenant, ada.user, scopes=["keys:write"])
    answer = rotate(weak, strong["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "SCOPE_REQUIRED")
    assert "completions:write" in answer.json()["error"]["message"]
    assert ApiKey.objects.get(id=strong["id"]).key_hash == hash_key(strong["api_key"])


def test_a_key_may_rotate_itself(ada: Person) -> None:
    made = make(ada, scopes=["keys:read", "keys:write"])
    rotated = rotate(made["api_key"], made["id"]).json()
    assert works(rotated["api_key"])
    assert not works(made["api_key"])


def test_only_admins_rotate(ada: Person, dev: Person, vera: Person) -> None:
    made = make(ada)
    for person in (dev, vera):
        assert rotate(person.key, made["id"]).status_code == 403
    assert works(made["api_key"])


def test_another_tenants_key_does_not_exist(ada: Person, gus: Person) -> None:
    made = make(ada)
    assert rotate(gus.key, made["id"], grace_s=60).status_code == 404
    assert works(made["api_key"])


def test_the_database_keeps_no_secret_in_endless_grace(ada: Person) -> None:
    made = make(ada)
    with pytest.raises(IntegrityError, match="grace_has_an_end"), transaction.atomic():
        ApiKey.objects.filter(id=made["id"]).update(previous_hash="0" * 64)


def test_the_admin_shows_no_hash(ada: Person) -> None:
    made = make(ada)
    rotate(ada.key, made["id"], grace_s=60)
    row = ApiKey.objects.get(id=made["id"])
    ada.user.is_staff = ada.user.is_superuser = True
    ada.user.save()
    page = ada.browser.get(f"/admin/accounts/apikey/{row.id}/change/").content.decode()
    assert row.prefix in page
    assert row.key_hash not in page
    assert str(row.previous_hash) not in page


def test_finding_a_key_by_either_secret_reads_indexes_only(ada: Person) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # the table of a test is too small for an index to be worth it
        cursor.execute(
            "EXPLAIN SELECT id FROM accounts_apikey WHERE key_hash = 'x' OR (previous_hash = 'x' AND "
            "previous_expires_at > now())"
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan" not in plan
