"""The API keys pages: shown once, limited, rotated, revoked; who sees them, and what of it the audit log keeps."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client as Browser

from accounts.keys import hash_key, looks_like_key
from accounts.models import ApiKey, AuditEvent, Tenant
from gateway import key_pages
from gateway.models import KeyUse
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key
from tests.gateway.test_overview import make_request, text_of

pytestmark = pytest.mark.django_db
LIST = "/t/acme/keys/"
FORM = {"name": "CI pipeline", "scopes": ["completions:write", "prompts:read"], "rpm": "60", "expires_at": ""}


def secret_in(page: str) -> str:
    found = re.search(r'id="secret" readonly value="([^"]+)"', page)
    assert found is not None
    return found[1]


def made(tenant: Tenant, person: Person | None, **fields: Any) -> ApiKey:
    return ApiKey.objects.get(key_hash=hash_key(make_key(tenant, person.user if person else None, **fields)))


def test_a_key_is_shown_once_and_only_its_hash_is_kept(ada: Person) -> None:
    answer = ada.browser.post(f"{LIST}new/", FORM)
    page = answer.content.decode()
    secret = secret_in(page)
    key = ApiKey.objects.get()

    assert answer.status_code == 200  # no redirect: the secret is in this answer alone
    assert "no-store" in answer.headers["cache-control"]
    assert looks_like_key(secret)
    assert (key.key_hash, key.prefix, key.scopes) == (hash_key(secret), secret[:8], FORM["scopes"])
    assert (key.rpm, key.monthly_request_quota, key.expires_at, key.created_by) == (60, None, None, ada.user)
    assert page.count(secret) == 5  # the field, and four ways to use it
    assert 'hx-history="false"' in page
    assert f'data-address="{LIST}"' in page
    assert "Waiting for the first request" in page
    for path in (LIST, f"{LIST}{key.id}/", f"{LIST}{key.id}/edit/"):
        assert secret not in ada.browser.get(path).content.decode()
    event = AuditEvent.objects.get(action="key.created")
    assert event.actor_label == ada.user.email
    assert secret not in str(event.changes)


def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(ada: Person) -> None:
    for field, value, told in (
        ("name", "", "may not be blank"),
        ("rpm", "0", "greater than or equal to 1"),
        ("monthly_request_quota", "many", "valid integer"),
        ("expires_at", "2020-01-01T00:00", "must lie in the future"),
        ("expires_at", "soon", "wrong format"),
        ("scopes", ["keys:own"], "do not exist"),
    ):
        answer = ada.browser.post(f"{LIST}new/", {**FORM, field: value})
        page = answer.content.decode()
        assert answer.status_code == 422, field
        assert told in page, (field, told)
        assert field == "scopes" or re.search(rf'id="f-{field}"[^>]*aria-invalid="true"', page), field
        assert 'value="prompts:read" checked' in page or field == "scopes"
    assert not ApiKey.objects.exists()


def test_roles_see_what_is_theirs_and_only_admins_act(ada: Person, dev: Person, vera: Person, acme: Tenant) -> None:
    key = made(acme, ada, name="CI")

    theirs = text_of(dev.browser.get(LIST))
    assert "Only admins can create keys. Ask ada@acme.example." in theirs
    assert f"{key.prefix}…" in theirs
    assert "Rotate" not in text_of(dev.browser.get(f"{LIST}{key.id}/"))
    assert vera.browser.get(LIST).status_code == 403
    assert "/keys/" not in vera.browser.get("/t/acme/").content.decode()
    for person in (dev, vera):
        for path in ("new", f"{key.id}/edit", f"{key.id}/rotate", f"{key.id}/revoke"):
            assert person.browser.post(f"{LIST}{path}/").status_code == 403
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(ada.user)
    assert strict.post(f"{LIST}{key.id}/revoke/").status_code == 403  # no token
    key.refresh_from_db()
    assert key.revoked_at is None


def test_a_key_is_changed_and_keeps_the_seconds_of_its_expiry(ada: Person, acme: Tenant) -> None:
    expires = datetime.now(UTC) + timedelta(days=3, seconds=7)
    key = made(acme, ada, name="CI", scopes=["completions:write"], expires_at=expires)
    shown = f"{expires:%Y-%m-%dT%H:%M}"
    assert f'value="{shown}"' in ada.browser.get(f"{LIST}{key.id}/edit/").content.decode()

    answer = ada.browser.post(
        f"{LIST}{key.id}/edit/",
        {"name": "CI 2", "scopes": ["completions:write"], "monthly_request_quota": "1000", "expires_at": shown},
        follow=True,
    )

    key.refresh_from_db()
    assert "CI 2 is saved." in text_of(answer)
    assert (key.name, key.monthly_request_quota, key.expires_at) == ("CI 2", 1000, expires)
    assert AuditEvent.objects.get(action="key.updated").changes == {
        "name": ["CI", "CI 2"], "monthly_request_quota": [None, 1000],
    }  # fmt: skip
    cleared = {"name": "CI 2", "scopes": ["completions:write"], "expires_at": ""}
    assert ada.browser.post(f"{LIST}{key.id}/edit/", cleared).status_code == 303
    key.refresh_from_db()
    assert (key.monthly_request_quota, key.expires_at) == (None, None)


def test_a_rotation_shows_the_new_secret_once_and_keeps_the_old_one_for_its_grace(ada: Person, acme: Tenant) -> None:
    old = make_key(acme, ada.user, name="CI")
    key = ApiKey.objects.get()

    page = ada.browser.post(f"{LIST}{key.id}/rotate/", {"grace_s": "3600"}).content.decode()

    secret = secret_in(page)
    key.refresh_from_db()
    assert (key.key_hash, key.previous_hash) == (hash_key(secret), hash_key(old))
    assert "Waiting for the first request" not in page  # the old one may still be in use
    detail = text_of(ada.browser.get(f"{LIST}{key.id}/"))
    assert "The secret before is good until" in detail
    assert "two secrets" in text_of(ada.browser.get(LIST))
    assert AuditEvent.objects.filter(action="key.rotated").count() == 1
    assert ada.browser.post(f"{LIST}{key.id}/rotate/", {"grace_s": "99999999"}).status_code == 422
    key.revoked_at = datetime.now(UTC)
    key.save()
    refused = ada.browser.post(f"{LIST}{key.id}/rotate/", {"grace_s": "0"})
    assert refused.status_code == 422
    assert "This key is revoked. Make a new one." in text_of_any(refused)


def text_of_any(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_a_revoked_key_stays_in_the_list_struck_through(ada: Person, acme: Tenant) -> None:
    key = made(acme, ada, name="CI")

    answer = ada.browser.post(f"{LIST}{key.id}/revoke/", follow=True)

    assert "CI is revoked. Requests with it fail within a second." in text_of(answer)
    assert f'<tr id="key-{key.id}" class="gone">' in ada.browser.get(LIST).content.decode()
    assert "Rotate" not in text_of(answer)
    assert AuditEvent.objects.get(action="key.revoked").target_id == str(key.id)
    edit = ada.browser.post(f"{LIST}{key.id}/edit/", FORM)
    assert (edit.status_code, "This key is revoked." in edit.content.decode()) == (422, True)


def test_keys_are_found_by_state_name_and_prefix(ada: Person, gus: Person, acme: Tenant) -> None:
    now = datetime.now(UTC)
    keys = {
        "live": made(acme, ada, name="Runner"),
        "expired": made(acme, ada, name="Old runner", expires_at=now - timedelta(days=1)),
        "revoked": made(acme, ada, name="Gone", revoked_at=now),
    }

    def found(query: str) -> set[str]:
        page = ada.browser.get(LIST + query).content.decode()
        return {name for name, key in keys.items() if f'id="key-{key.id}"' in page}

    assert found("") == {"live", "expired", "revoked"}
    for state in keys:
        assert found(f"?state={state}") == {state}
    assert found("?q=runner") == {"live", "expired"}
    assert found(f"?q={keys['revoked'].prefix}") == {"revoked"}
    assert "No keys match these filters" in text_of(ada.browser.get(f"{LIST}?q=nothing"))
    assert "No keys yet" in text_of(gus.browser.get("/t/globex/keys/"))
    palette = ada.browser.get("/t/acme/palette/", {"q": "Runn"}).content.decode()
    assert f'href="{LIST}{keys["live"].id}/"' in palette


def test_the_list_tells_what_a_key_has_used_of_its_quota(ada: Person, acme: Tenant) -> None:
    key = made(acme, ada, name="CI", monthly_request_quota=1_000)
    month = datetime.now(UTC).date().replace(day=1)
    for process, requests in (("", 400), ("runtime-1", 450)):
        KeyUse.objects.create(key_id=key.id, month=month, process=process, tenant=acme, requests=requests)
    KeyUse.objects.create(
        key_id=key.id, month=(month - timedelta(days=1)).replace(day=1), process="", tenant=acme, requests=5_000
    )

    page = ada.browser.get(LIST).content.decode()

    assert "850 / 1,000" in page
    assert 'class="meter warn"' in page
    assert 'aria-label="85% of its quota"' in page


def test_the_first_request_ends_the_wait(ada: Person, acme: Tenant) -> None:
    key = made(acme, ada, name="CI")
    poll = {"hx-request": "true"}

    waiting = ada.browser.get(f"{LIST}{key.id}/first/", headers=poll)
    assert (waiting.status_code, 'hx-trigger="every 2s"' in waiting.content.decode()) == (200, True)
    row = make_request(acme, minutes_ago=0, key_id=key.id, duration_ms=487, provider="openai")
    received = ada.browser.get(f"{LIST}{key.id}/first/", headers=poll)
    page = received.content.decode()
    assert received.status_code == 286
    assert "hx-trigger" not in page
    assert "Received</b>, 200 in 487 ms via openai" in page
    assert f"open={row.id}" in page
    assert ada.browser.get(f"{LIST}{key.id}/first/").status_code == 302  # without htmx: to its page

    old = made(acme, ada, name="Old")
    ApiKey.objects.filter(id=old.id).update(created_at=datetime.now(UTC) - timedelta(minutes=11))
    late = ada.browser.get(f"{LIST}{old.id}/first/", headers=poll)
    assert (late.status_code, "No request within 10 minutes." in late.content.decode()) == (286, True)


def test_pages_follow_each_other_and_cost_the_same(
    ada: Person, acme: Tenant, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(key_pages, "PAGE", 3)
    keys = [made(acme, ada, name=f"k{number}") for number in range(1)]
    with django_assert_num_queries(WALL + 6):  # session, user, memberships; keys, uses; the sidebar's circuits
        ada.browser.get(LIST)
    keys += [made(acme, ada, name=f"k{number}") for number in range(1, 5)]
    with django_assert_num_queries(WALL + 6):
        page = ada.browser.get(LIST).content.decode()
    following = re.search(r'href="(\?cursor=[^"]+)" rel="next"', page)
    assert following is not None
    rest = ada.browser.get(LIST + following[1]).content.decode()
    assert [len(re.findall(r'<tr id="key-', each)) for each in (page, rest)] == [3, 2]
    with django_assert_num_queries(WALL + 6):  # session, user, membership; key, its first request, where that ended
        ada.browser.get(f"{LIST}{keys[0].id}/first/", headers={"hx-request": "true"})
