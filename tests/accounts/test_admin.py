"""Django's admin is for operators, honours the database's rules and leaves an audit row for each change."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client as Browser

from accounts.models import ApiKey, AuditEvent, Membership, Tenant, User
from tests.conftest import Person
from tests.factories import make_key, make_member


@pytest.fixture
def operator(db: None) -> Browser:
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root@operators.example", "a long enough sentence"))
    return browser


def event(action: str) -> AuditEvent:
    found: AuditEvent = AuditEvent.objects.get(action=action)
    assert found.actor_label == "root@operators.example"
    assert found.request_id is not None
    return found


def only_key() -> ApiKey:
    key: ApiKey = ApiKey.objects.get()
    return key


def test_a_tenants_admin_is_no_operator(ada: Person) -> None:
    assert ada.browser.get("/admin/").status_code == 302


@pytest.mark.parametrize("model", ["tenant", "user", "membership", "apikey", "auditevent"])
def test_every_list_and_form_opens(operator: Browser, ada: Person, model: str) -> None:
    make_key(ada.tenant, ada.user)
    operator.post("/admin/accounts/tenant/add/", tenant_form(slug="new"))
    rows: dict[str, Any] = {
        "tenant": Tenant, "user": User, "membership": Membership, "apikey": ApiKey, "auditevent": AuditEvent
    }  # fmt: skip
    identifier = rows[model].objects.values_list("pk", flat=True).first()
    assert operator.get(f"/admin/accounts/{model}/?q=a").status_code == 200
    assert operator.get(f"/admin/accounts/{model}/{identifier}/change/").status_code == 200


def tenant_form(**fields: Any) -> dict[str, Any]:
    return {
        "slug": "acme", "name": "Acme", "routing_strategy": "priority", "max_attempts": 4, "deadline_s": 120, **fields
    }  # fmt: skip


def test_a_change_is_logged_with_its_values(operator: Browser, ada: Person) -> None:
    answer = operator.post(f"/admin/accounts/tenant/{ada.tenant.id}/change/", tenant_form(max_attempts=2, name="Acme"))
    assert answer.status_code == 302
    logged = event("tenant.updated")
    assert logged.changes == {"max_attempts": [4, 2]}
    assert logged.tenant_id == ada.tenant.id


def test_the_last_admin_stays_and_the_page_says_why(tenant: Tenant) -> None:
    """Committed, because the rule is checked at the end of the admin's own transaction."""
    operator = Browser()
    operator.force_login(User.objects.create_superuser(f"root@{tenant.slug}.example"))
    user = make_member(tenant, f"ada@{tenant.slug}.example")
    membership = Membership.objects.get(user=user)
    form = {"user": user.id, "tenant": tenant.id, "role": "viewer"}
    chosen = {"action": "delete_selected", "_selected_action": [str(membership.id)], "post": "yes"}
    for path, given in ((f"{membership.id}/change/", form), ("", chosen)):
        answer = operator.post(f"/admin/accounts/membership/{path}", given)
        assert answer.status_code == 409
        assert "last admin" in answer.content.decode()
    membership.refresh_from_db()
    assert membership.role == "admin"
    assert not AuditEvent.objects.for_tenant(tenant).exists()


def test_no_page_shows_a_keys_hash_or_a_sealed_secret(operator: Browser, ada: Person) -> None:
    make_key(ada.tenant, ada.user)
    Tenant.objects.filter(id=ada.tenant.id).update(gitops_secret_sealed="canary-sealed")
    key_page = operator.get(f"/admin/accounts/apikey/{only_key().id}/change/").content.decode()
    tenant_page = operator.get(f"/admin/accounts/tenant/{ada.tenant.id}/change/").content.decode()
    assert only_key().key_hash not in key_page
    assert "canary-sealed" not in tenant_page


def test_keys_are_neither_made_nor_deleted_here(operator: Browser, ada: Person) -> None:
    make_key(ada.tenant, ada.user)
    assert operator.get("/admin/accounts/apikey/add/").status_code == 403
    assert operator.post(f"/admin/accounts/apikey/{only_key().id}/delete/", {"post": "yes"}).status_code == 403
    assert ApiKey.objects.count() == 1


def test_keys_are_revoked_and_stay_so(operator: Browser, ada: Person) -> None:
    make_key(ada.tenant, ada.user)
    chosen = {"action": "revoke", "_selected_action": [str(only_key().id)]}
    assert operator.post("/admin/accounts/apikey/", chosen).status_code == 302
    revoked_at = only_key().revoked_at
    assert revoked_at is not None
    assert event("key.revoked").target_id == str(only_key().id)
    form = {"name": "renamed", "revoked_at_0": "", "revoked_at_1": "", "expires_at_0": "", "expires_at_1": ""}
    assert operator.post(f"/admin/accounts/apikey/{only_key().id}/change/", form).status_code == 302
    assert (only_key().name, only_key().revoked_at) == ("renamed", revoked_at)
    assert event("key.updated").changes == {"name": ["test", "renamed"]}


def test_people_are_made_with_an_address_that_signs_in(operator: Browser) -> None:
    password = "canary long enough sentence"
    form = {"email": "New@Acme.Example", "usable_password": "true", "password1": password, "password2": password}
    assert operator.post("/admin/accounts/user/add/", form).status_code == 302
    assert Browser().login(username="new@acme.example", password=password)
    assert "canary" not in str(event("user.created").changes)


def test_a_password_that_is_set_is_logged_without_it(operator: Browser, ada: Person) -> None:
    form = {"usable_password": "true", "password1": "canary long sentence", "password2": "canary long sentence"}
    assert operator.post(f"/admin/accounts/user/{ada.user.id}/password/", form).status_code == 302
    assert Browser().login(username=ada.user.email, password="canary long sentence")
    assert event("user.password_set").changes == {}


def test_a_password_that_is_refused_is_not_logged(operator: Browser, ada: Person) -> None:
    form = {"usable_password": "true", "password1": "one", "password2": "another"}
    assert operator.post(f"/admin/accounts/user/{ada.user.id}/password/", form).status_code == 200
    assert AuditEvent.objects.count() == 0


def test_deleting_many_logs_each(operator: Browser, ada: Person, dev: Person, vera: Person) -> None:
    members = Membership.objects.filter(user__in=[dev.user, vera.user]).values_list("id", flat=True)
    chosen = {"action": "delete_selected", "_selected_action": [str(each) for each in members], "post": "yes"}
    assert operator.post("/admin/accounts/membership/", chosen).status_code == 302
    assert Membership.objects.count() == 1
    assert AuditEvent.objects.filter(action="member.deleted").count() == 2


def test_the_audit_log_is_read_only(operator: Browser, ada: Person) -> None:
    operator.post(f"/admin/accounts/tenant/{ada.tenant.id}/change/", tenant_form(max_attempts=2))
    identifier = event("tenant.updated").id
    assert operator.get("/admin/accounts/auditevent/add/").status_code == 403
    assert operator.post(f"/admin/accounts/auditevent/{identifier}/change/", {"action": "x"}).status_code == 403
    assert operator.post(f"/admin/accounts/auditevent/{identifier}/delete/", {"post": "yes"}).status_code == 403
    assert AuditEvent.objects.count() == 1


def test_a_lost_phone_is_no_lost_account(operator: Browser, ada: Person) -> None:
    Authenticator.objects.create(user=ada.user, type="totp", data={"secret": "sealed"})
    chosen = {"action": "remove_second_factors", "_selected_action": [str(ada.user.id)]}
    assert operator.post("/admin/accounts/user/", chosen).status_code == 302
    assert not Authenticator.objects.exists()
    assert event("user.second_factors_removed").target_id == str(ada.user.id)


def test_the_librarys_own_tables_have_no_pages(operator: Browser) -> None:
    for path in ("account/emailaddress", "mfa/authenticator", "socialaccount/socialapp", "socialaccount/socialaccount"):
        assert operator.get(f"/admin/{path}/").status_code == 404
