"""Where somebody is signed in: listed, ended, and ended by themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client as Browser

from accounts.models import AuditEvent, SignedInSession, User
from accounts.sign_in.browsers import name_of
from accounts.sign_in.session_records import how
from accounts.tasks import forget_what_has_run_out
from tests.conftest import Person

PASSWORD = "a long enough sentence"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PAGE = "/profile/sessions/"


@pytest.fixture
def user(ada: Person) -> User:
    SignedInSession.objects.all().delete()
    Session.objects.all().delete()  # of the cast's own browser
    ada.user.set_password(PASSWORD)
    ada.user.save()
    return ada.user


def signed_in(user: User, **environment: str) -> Browser:
    browser = Browser(**environment)  # type: ignore[arg-type]  # of WSGI's
    browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return browser


def is_signed_in(browser: Browser) -> bool:
    return bool(browser.get("/v1/settings").status_code == 200)


def test_sessions_are_listed_with_what_one_knows_them_by(user: User) -> None:
    here = signed_in(user, HTTP_USER_AGENT=FIREFOX, REMOTE_ADDR="192.0.2.7")
    signed_in(user, HTTP_USER_AGENT="curl/8.14")
    rows = here.get(PAGE).context["rows"]
    assert {(name, row.ip, row.method, current) for row, name, current in rows} == {
        ("Firefox on Linux", "192.0.2.7", "password", True),
        ("curl", "127.0.0.1", "password", False),
    }


def test_what_is_listed_opens_nothing(user: User) -> None:
    browser = signed_in(user)
    cookie = browser.cookies["sessionid"].value
    assert cookie not in browser.get(PAGE).content.decode()
    assert cookie not in str(SignedInSession.objects.values_list()[0])


def test_one_is_ended_at_its_next_request(user: User) -> None:
    here, there = signed_in(user), signed_in(user)
    row = next(row for row, _, current in here.get(PAGE).context["rows"] if not current)
    assert here.post(f"{PAGE}{row.id}/end/")["location"] == PAGE
    assert (is_signed_in(here), is_signed_in(there)) == (True, False)
    assert len(here.get(PAGE).context["rows"]) == 1
    assert AuditEvent.objects.filter(action="user.session_ended", target_id=str(user.id)).count() == 1


def test_all_others_are_ended_at_once(user: User) -> None:
    here, *others = (signed_in(user) for _ in range(3))
    here.post(f"{PAGE}end/")
    assert is_signed_in(here)
    assert not any(is_signed_in(each) for each in others)


def test_somebody_elses_is_not_there(user: User, gus: Person) -> None:
    browser = signed_in(user)
    row = SignedInSession.objects.get()
    assert gus.browser.post(f"{PAGE}{row.id}/end/").status_code == 404
    assert is_signed_in(browser)
    assert gus.browser.get(PAGE).context["rows"] == []


def test_ending_takes_a_post_and_somebody_signed_in(user: User) -> None:
    browser = signed_in(user)
    assert browser.get(f"{PAGE}end/").status_code == 405
    assert Browser().post(f"{PAGE}end/").status_code == 302
    assert is_signed_in(browser)


def test_signing_out_takes_it_off_the_list(user: User) -> None:
    browser = signed_in(user)
    browser.post("/accounts/logout/")
    assert not SignedInSession.objects.exists()
    assert AuditEvent.objects.filter(action="user.signed_out", target_id=str(user.id)).count() == 1


def test_a_session_that_nobody_uses_ends_and_one_in_use_does_not(user: User, settings: Any) -> None:
    settings.NEXUS_SESSION_IDLE_MINUTES = 30
    browser = signed_in(user)
    soon = datetime.now(UTC) + timedelta(minutes=31)
    assert Session.objects.get().expire_date < soon
    stale(browser, minutes=20)
    Session.objects.update(expire_date=datetime.now(UTC) + timedelta(minutes=10))
    assert is_signed_in(browser)
    assert Session.objects.get().expire_date > datetime.now(UTC) + timedelta(minutes=29)
    Session.objects.update(expire_date=datetime.now(UTC) - timedelta(seconds=1))
    assert not is_signed_in(browser)


def test_no_use_carries_a_session_past_its_last_moment(user: User, settings: Any) -> None:
    settings.NEXUS_SESSION_HOURS, settings.NEXUS_SESSION_IDLE_MINUTES = 1, 600
    browser = signed_in(user)
    last = datetime.now(UTC) + timedelta(hours=1, seconds=5)
    stale(browser, minutes=10)
    assert is_signed_in(browser)
    assert Session.objects.get().expire_date < last


def test_use_is_noted_once_a_minute_and_not_with_every_request(user: User, django_assert_num_queries: Any) -> None:
    browser = signed_in(user)
    before = SignedInSession.objects.get().seen_at
    is_signed_in(browser)
    assert SignedInSession.objects.get().seen_at == before
    stale(browser, minutes=2)
    is_signed_in(browser)
    assert SignedInSession.objects.get().seen_at > before


def stale(browser: Browser, *, minutes: int) -> None:
    """Let a session look as if it had last been used some minutes ago."""
    session = browser.session
    record, last, noted = session["record"]
    session["record"] = [record, last, noted - minutes * 60]
    session.save()


def test_what_has_run_out_is_forgotten(user: User) -> None:
    alive, gone = signed_in(user), signed_in(user)
    Session.objects.exclude(session_key=SignedInSession.objects.earliest("created_at").session_key).update(
        expire_date=datetime.now(UTC) - timedelta(seconds=1)
    )
    SignedInSession.objects.update(seen_at=datetime.now(UTC) - timedelta(hours=2))
    forget_what_has_run_out()
    assert (is_signed_in(alive), is_signed_in(gone)) == (True, False)
    assert (Session.objects.count(), SignedInSession.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/18 Safari/605", "Safari on macOS"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/140.0 Safari/537 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537 Chrome/140.0 Mobile Safari/537", "Chrome on Android"),
        ("<script>alert(1)</script>", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browsers_are_named_as_people_call_them(agent: str, name: str) -> None:
    assert name_of(agent) == name


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([{"method": "password"}], "password"),
        ([{"method": "password"}, {"method": "mfa", "type": "totp"}], "password and code"),
        ([{"method": "mfa", "type": "webauthn", "passwordless": True}], "passkey"),
        ([{"method": "socialaccount"}, {"method": "mfa", "type": "webauthn"}], "single sign-on and security key"),
        ([], ""),
    ],
)
def test_how_somebody_signed_in_is_said_in_words(records: list[dict[str, Any]], told: str) -> None:
    assert how(records) == told
