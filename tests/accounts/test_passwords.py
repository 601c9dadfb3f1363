"""Passwords: forgotten, changed, guessed. Nothing tells whether an address is anybody's."""

import re
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent, Throttle, User
from accounts.tasks import send_password_reset
from tests.conftest import Person

PASSWORD, ANOTHER = "a long enough sentence", "quite another sentence"
SIGN_IN, RESET = "/accounts/login/", "/accounts/password/reset/"


@pytest.fixture
def person(ada: Person) -> Person:
    ada.user.set_password(PASSWORD)
    ada.user.save()
    return Person(ada.user, ada.tenant, signed_in(ada.user.email))


def signed_in(email: str, password: str = PASSWORD) -> Browser:
    browser = Browser()
    browser.post(SIGN_IN, {"login": email, "password": password})
    return browser


def is_signed_in(browser: Browser) -> bool:
    return bool(browser.get("/v1/settings").status_code == 200)


def link_in_mail() -> str:
    found = re.search(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def choose(browser: Browser, link: str, password: str = ANOTHER) -> Any:
    """Follow a link, and send the form behind it."""
    there = browser.get(link)
    if there.status_code != 302:
        return there
    return browser.post(there["location"], {"password1": password, "password2": password})


def test_a_forgotten_password_is_chosen_anew_by_mail(person: Person, django_capture_on_commit_callbacks: Any) -> None:
    browser = Browser()
    assert browser.post(RESET, {"email": "ADA@acme.example"})["location"] == f"{RESET}done/"
    assert (mail.outbox[0].to, mail.outbox[0].subject) == (["ada@acme.example"], "Choose a new password for NEXUS")
    link = link_in_mail()
    with django_capture_on_commit_callbacks(execute=True):
        answer = choose(browser, link)
    assert answer["location"] == "/accounts/password/reset/key/done/"
    assert not is_signed_in(person.browser)  # every session has ended
    assert not is_signed_in(signed_in(person.user.email))
    assert is_signed_in(signed_in(person.user.email, ANOTHER))
    assert AuditEvent.objects.for_tenant(person.tenant).filter(action="user.password_reset").count() == 1
    assert "by a link sent to this address" in mail.outbox[-1].body


def test_a_link_is_good_once_and_for_an_hour(person: Person, settings: Any) -> None:
    Browser().post(RESET, {"email": person.user.email})
    link = link_in_mail()
    choose(Browser(), link)
    assert "not good any more" in choose(Browser(), link, "a third sentence").content.decode()
    Browser().post(RESET, {"email": person.user.email})
    assert settings.PASSWORD_RESET_TIMEOUT == 3600
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "not good any more" in choose(Browser(), link_in_mail()).content.decode()


def test_a_link_names_the_installation_whatever_the_request_calls_it(person: Person, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    Browser().post(RESET, {"email": person.user.email}, headers={"host": "evil.example"})
    assert "evil.example" not in mail.outbox[-1].body
    link_in_mail()


def test_the_new_password_must_be_good(person: Person) -> None:
    Browser().post(RESET, {"email": person.user.email})
    page = choose(Browser(), link_in_mail(), "short").content.decode()
    assert "too short" in page
    assert is_signed_in(signed_in(person.user.email))


@pytest.mark.parametrize("address", ["nobody@acme.example", "off@acme.example"])
def test_asking_for_a_link_tells_nobody_who_there_is(person: Person, address: str) -> None:
    User.objects.create_user("off@acme.example", PASSWORD, is_active=False)
    theirs, ours = (Browser().post(RESET, {"email": each}) for each in (address, person.user.email))
    assert [each.to for each in mail.outbox] == [[person.user.email]]
    assert (theirs.status_code, theirs["location"]) == (ours.status_code, ours["location"])


def test_a_link_is_no_way_round_what_is_switched_off(person: Person, settings: Any) -> None:
    settings.NEXUS_PASSWORD_SIGN_IN = False
    assert Browser().post(RESET, {"email": person.user.email}).status_code == 302
    assert mail.outbox == []


def test_a_worker_tries_again_while_the_mail_server_is_away(person: Person, settings: Any) -> None:
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "127.0.0.1", "port": 9}}}  # fmt: skip  # noqa: E501
    result = send_password_reset.apply(kwargs={"email": person.user.email})
    assert result.failed() or result.status == "RETRY"
    assert result.traceback is None or "NotSent" in str(result.traceback)


def test_changing_a_password_ends_the_other_sessions_and_not_this_one(person: Person) -> None:
    other = signed_in(person.user.email)
    form = {"oldpassword": PASSWORD, "password1": ANOTHER, "password2": ANOTHER}
    answer = person.browser.post("/accounts/password/change/", form)
    assert answer["location"] == "/profile/security/"
    assert (is_signed_in(person.browser), is_signed_in(other)) == (True, False)
    page = person.browser.get("/profile/sessions/")
    assert [here for _, _, here in page.context["rows"]] == [True]
    assert AuditEvent.objects.for_tenant(person.tenant).filter(action="user.password_changed").count() == 1
    assert ANOTHER not in str(list(AuditEvent.objects.for_tenant(person.tenant).values()))


def test_changing_it_takes_the_present_one(person: Person) -> None:
    form = {"oldpassword": "wrong", "password1": ANOTHER, "password2": ANOTHER}
    assert person.browser.post("/accounts/password/change/", form).status_code == 200
    assert is_signed_in(signed_in(person.user.email))


# --- guessing ---------------------------------------------------------------------------------------------------------


def guess(email: str, password: str = "wrong", ip: str = "192.0.2.1") -> str:
    answer = Browser(REMOTE_ADDR=ip).post(SIGN_IN, {"login": email, "password": password})
    return "in" if answer.status_code == 302 else answer.content.decode()


def test_an_account_is_closed_for_a_while_after_five_wrong_passwords_from_anywhere(person: Person) -> None:
    for number in range(5):
        assert "do not belong together" in guess(person.user.email, ip=f"192.0.2.{number}")
    assert "Too many attempts" in guess(person.user.email, PASSWORD, ip="192.0.2.99")
    Throttle.objects.update(expires_at="2020-01-01T00:00Z")
    assert guess(person.user.email, PASSWORD, ip="192.0.2.99") == "in"


def test_an_address_on_the_net_tries_ten_accounts_and_no_more(person: Person) -> None:
    for number in range(10):
        assert "do not belong together" in guess(f"nobody-{number}@acme.example")
    assert "Too many attempts" in guess("nobody-11@acme.example")
    assert "Too many attempts" in guess(person.user.email, PASSWORD)
    assert guess(person.user.email, PASSWORD, ip="192.0.2.2") == "in"


def test_signing_in_well_counts_for_nothing(person: Person) -> None:
    for _ in range(12):
        assert guess(person.user.email, PASSWORD) == "in"


def test_no_answer_of_all_tells_whether_there_is_such_a_person(person: Person) -> None:
    User.objects.create_user("invited@acme.example")
    User.objects.create_user("off@acme.example", PASSWORD, is_active=False)
    addresses = [person.user.email, "nobody@acme.example", "invited@acme.example", "off@acme.example"]
    pages = {email: [guess(email, ip=f"198.51.100.{index}") for _ in range(6)] for index, email in enumerate(addresses)}
    varying = r'nonce="[^"]+"|value="\w{60,}"|x-csrftoken&quot;: &quot;\w+|"x-csrftoken": "\w+"'
    seen = {tuple(re.sub(varying, "", page.replace(email, "")) for page in answers) for email, answers in pages.items()}
    assert len(seen) == 1


def test_a_refusal_asks_the_database_the_same_of_everybody(person: Person) -> None:
    counts = set()
    for number, email in enumerate((person.user.email, "nobody@acme.example")):
        with CaptureQueriesContext(connection) as queries:
            guess(email, ip=f"203.0.113.{number}")
        counts.add(len(queries))
    assert len(counts) == 1


def test_a_failed_sign_in_is_told_to_the_tenants_of_the_person(person: Person) -> None:
    guess(person.user.email)
    event = AuditEvent.objects.for_tenant(person.tenant).get(action="user.sign_in_failed")
    assert (event.target_label, event.changes, event.ip) == (
        person.user.email,
        {"reason": [None, "password"]},
        "192.0.2.1",
    )
    guess("my password, typed in the wrong field@acme.example", ip="192.0.2.3")
    assert "typed in the wrong field" not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    "path", ["signup/", "email/", "3rdparty/", "confirm-email/", "2fa/", "sessions/", "login/code/"]
)
def test_pages_of_the_library_that_we_do_not_have_are_nowhere(ada: Person, path: str) -> None:
    for browser in (Browser(), ada.browser):
        assert browser.get(f"/accounts/{path}").status_code == 404


def test_scripts_may_name_the_field_as_django_does(person: Person) -> None:
    browser = Browser()
    browser.post(SIGN_IN, {"username": person.user.email, "password": PASSWORD})
    assert is_signed_in(browser)
