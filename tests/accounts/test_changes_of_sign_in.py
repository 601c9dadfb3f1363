"""What changes how somebody signs in: asks who they are once more, and is there with its audit row or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core import mail
from django.db import DatabaseError, connection
from django.test import Client as Browser

from accounts.models import AuditEvent, SignedInSession, User
from tests.accounts.test_passwords import RESET, choose, link_in_mail
from tests.accounts.test_second_factor import AGAIN, PASSWORD, SECURITY, add_app, code_of, confirm, signed_in
from tests.conftest import Person

ANOTHER = "quite another sentence"
ACTIVATE, DEACTIVATE = "/accounts/2fa/totp/activate/", "/accounts/2fa/totp/deactivate/"
CODES, PASSWORD_CHANGE = "/accounts/2fa/recovery-codes/generate/", "/accounts/password/change/"


@pytest.fixture
def person(ada: Person) -> Person:
    ada.user.set_password(PASSWORD)
    ada.user.save()
    return Person(ada.user, ada.tenant, signed_in(ada.user))


@contextmanager
def without_audit_log() -> Iterator[None]:
    """Let the database fail at every audit row."""

    def fail(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith('INSERT INTO "accounts_auditevent"'):
            sql, params = "SELECT 1 / 0", None
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        yield


def factors(person: Person) -> set[tuple[int, str]]:
    return set(Authenticator.objects.filter(user=person.user).values_list("id", "type"))


def refused(person: Person, address: str, form: dict[str, str], capture: Any) -> None:
    """Send a form whose audit row cannot be written."""
    before, rows, told = factors(person), AuditEvent.objects.count(), len(mail.outbox)
    with without_audit_log(), capture(execute=True), pytest.raises(DatabaseError, match="division by zero"):
        person.browser.post(address, form)
    assert (factors(person), AuditEvent.objects.count(), len(mail.outbox)) == (before, rows, told)


def test_no_app_is_added_without_its_audit_row(person: Person, django_capture_on_commit_callbacks: Any) -> None:
    form = {"code": code_of(confirm(person.browser, ACTIVATE).context["form"].secret)}
    refused(person, ACTIVATE, form, django_capture_on_commit_callbacks)
    assert "was added" not in person.browser.get(SECURITY).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        assert person.browser.post(ACTIVATE, form).status_code == 302  # the same form, with an audit log
    assert {kind for _, kind in factors(person)} == {"totp", "recovery_codes"}


@pytest.mark.parametrize("address", [DEACTIVATE, CODES])
def test_no_factor_goes_and_no_codes_are_made_without_their_audit_row(
    person: Person, django_capture_on_commit_callbacks: Any, address: str
) -> None:
    add_app(person.browser)
    refused(person, address, {}, django_capture_on_commit_callbacks)
    page = person.browser.get(SECURITY).content.decode()
    assert "10 of 10 codes are unused" in page
    assert "deactivated" not in page  # nor does a message tell of what did not happen


def test_no_password_changes_without_its_audit_row(person: Person, django_capture_on_commit_callbacks: Any) -> None:
    form = {"oldpassword": PASSWORD, "password1": ANOTHER, "password2": ANOTHER}
    refused(person, PASSWORD_CHANGE, form, django_capture_on_commit_callbacks)
    page = person.browser.get("/profile/sessions/")
    assert page.status_code == 200  # the session goes on as it was
    assert "Password successfully changed" not in page.content.decode()
    assert signed_in(person.user).get("/v1/settings").status_code == 200


def test_no_forgotten_password_is_chosen_without_its_audit_row(
    person: Person, django_capture_on_commit_callbacks: Any
) -> None:
    browser = Browser()
    browser.post(RESET, {"email": person.user.email})
    link = link_in_mail()
    with without_audit_log(), pytest.raises(DatabaseError, match="division by zero"):
        choose(browser, link)
    assert User.objects.get(id=person.user.id).check_password(PASSWORD)
    with django_capture_on_commit_callbacks(execute=True):
        assert choose(Browser(), link)["location"] == "/accounts/password/reset/key/done/"  # the link is still good
    assert "by a link sent to this address" in mail.outbox[-1].body


@pytest.mark.parametrize("path", ["", "sessions/end/"])
def test_neither_name_nor_sessions_change_without_their_audit_row(person: Person, path: str) -> None:
    signed_in(person.user)
    before = (User.objects.get(id=person.user.id).name, SignedInSession.objects.count())
    with without_audit_log(), pytest.raises(DatabaseError, match="division by zero"):
        person.browser.post(f"/profile/{path}", {"name": "Somebody Else"})
    assert (User.objects.get(id=person.user.id).name, SignedInSession.objects.count()) == before


def passkey_address(person: Person, action: str) -> str:
    passkey = Authenticator.objects.create(user=person.user, type=Authenticator.Type.WEBAUTHN, data={"name": "Key"})
    return f"/accounts/2fa/webauthn/keys/{passkey.pk}/{action}/"


@pytest.mark.parametrize("what", ["app", "codes", "passkey", "another passkey", "name of a passkey"])
def test_a_session_that_proved_itself_long_ago_changes_nothing(person: Person, what: str) -> None:
    add_app(person.browser)
    address = {
        "app": DEACTIVATE,
        "codes": CODES,
        "passkey": passkey_address(person, "remove"),
        "another passkey": "/accounts/2fa/webauthn/add/",
        "name of a passkey": passkey_address(person, "edit"),
    }[what]
    session = person.browser.session
    session["account_authentication_methods"] = [
        {**each, "at": each["at"] - 3600} for each in session["account_authentication_methods"]
    ]
    session.save()
    before = factors(person)
    for method in (person.browser.get, person.browser.post):
        answer = method(address)
        assert answer.status_code == 302
        assert answer["location"].startswith((AGAIN, "/accounts/2fa/reauthenticate/"))
    assert factors(person) == before
