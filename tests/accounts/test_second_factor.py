"""Second factors: added, asked for, counted, removed; and what is kept and told of each."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core import mail
from django.test import Client as Browser

from accounts.models import AuditEvent, User
from tests.conftest import Person

PASSWORD = "a long enough sentence"
SIGN_IN, SECURITY = "/accounts/login/", "/profile/security/"
CODE, AGAIN = "/accounts/2fa/authenticate/", "/accounts/reauthenticate/"


@pytest.fixture
def person(ada: Person) -> Person:
    ada.user.set_password(PASSWORD)
    ada.user.save()
    return Person(ada.user, ada.tenant, signed_in(ada.user))


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.post(SIGN_IN, {"login": user.email, "password": PASSWORD})
    return browser


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time())))))


def confirm(browser: Browser, address: str) -> Any:
    """Prove again who one is, where an address asks for it; return the address's own page."""
    asked = browser.get(address)
    assert asked.status_code == 302, asked.content
    assert asked["location"].startswith(AGAIN)
    answer = browser.post(asked["location"], {"password": PASSWORD, "next": address})
    assert (answer.status_code, answer["location"]) == (302, address)
    return browser.get(address)


def add_app(browser: Browser) -> tuple[str, list[str]]:
    """Add an authenticator app; return its secret and the recovery codes, which are shown this once."""
    page = confirm(browser, "/accounts/2fa/totp/activate/")
    secret = page.context["form"].secret
    assert secret in page.content.decode()
    answer = browser.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)})
    assert answer["location"] == "/accounts/2fa/recovery-codes/"
    return secret, browser.get(answer["location"]).context["unused_codes"]


def actions(person: Person) -> list[str]:
    return list(AuditEvent.objects.for_tenant(person.tenant).values_list("action", flat=True))


def is_signed_in(browser: Browser) -> bool:
    return bool(browser.get("/v1/settings").status_code == 200)


def test_an_app_is_asked_for_from_the_next_sign_in_on(person: Person) -> None:
    secret, _ = add_app(person.browser)
    browser = signed_in(person.user)
    assert not is_signed_in(browser)
    assert "One more step" in browser.get(CODE).content.decode()
    assert browser.get("/t/acme/").status_code == 302
    browser.post(CODE, {"code": "000000"})
    assert not is_signed_in(browser)
    Authenticator.objects.update(last_used_at=None)
    answer = browser.post(CODE, {"code": code_of(secret)})
    assert (answer.status_code, answer["location"]) == (302, "/")
    assert is_signed_in(browser)
    signed = (
        AuditEvent.objects.for_tenant(person.tenant).filter(action="user.signed_in").order_by("-created_at", "-id")[0]
    )
    assert signed.changes == {"method": [None, "password and code"]}
    failed = AuditEvent.objects.for_tenant(person.tenant).get(action="user.sign_in_failed")
    assert (failed.changes["reason"], failed.target_label) == ([None, "code"], person.user.email)
    assert (failed.actor_kind, failed.tenant_id, failed.ip) == ("system", person.tenant.id, "127.0.0.1")


def test_a_code_is_good_once(person: Person) -> None:
    secret, _ = add_app(person.browser)
    code = code_of(secret)
    signed_in(person.user).post(CODE, {"code": code})
    other = signed_in(person.user)
    other.post(CODE, {"code": code})
    assert not is_signed_in(other)


def test_a_recovery_code_lets_in_once(person: Person) -> None:
    _, codes = add_app(person.browser)
    assert len(codes) == 10
    first, second = signed_in(person.user), signed_in(person.user)
    first.post(CODE, {"code": codes[0]})
    second.post(CODE, {"code": codes[0]})
    assert (is_signed_in(first), is_signed_in(second)) == (True, False)
    assert "9 of 10 codes are unused" in first.get(SECURITY).content.decode()


def test_recovery_codes_are_shown_once(person: Person) -> None:
    _, codes = add_app(person.browser)
    page = person.browser.get("/accounts/2fa/recovery-codes/").content.decode()
    assert not any(code in page for code in codes)
    assert "They were shown once" in page
    new = person.browser.post("/accounts/2fa/recovery-codes/generate/")
    shown = person.browser.get(new["location"]).context["unused_codes"]
    assert not set(shown) & set(codes)
    browser = signed_in(person.user)
    browser.post(CODE, {"code": codes[1]})
    assert not is_signed_in(browser)


def test_nothing_is_kept_that_could_be_used(person: Person) -> None:
    secret, codes = add_app(person.browser)
    kept = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in kept
    assert not any(code in kept for code in codes)
    logged = str(list(AuditEvent.objects.for_tenant(person.tenant).values()))
    assert secret not in logged
    assert not any(code in logged for code in codes)


def test_codes_cannot_be_guessed(person: Person) -> None:
    secret, _ = add_app(person.browser)
    browser = signed_in(person.user)
    for _ in range(5):
        browser.post(CODE, {"code": "000000"})
    Authenticator.objects.update(last_used_at=None)
    answer = browser.post(CODE, {"code": code_of(secret)})
    assert "Too many attempts" in answer.content.decode()
    assert not is_signed_in(browser)


def test_each_change_is_written_down_and_told_by_mail(person: Person, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        add_app(person.browser)
    with django_capture_on_commit_callbacks(execute=True):
        person.browser.post("/accounts/2fa/recovery-codes/generate/")
    with django_capture_on_commit_callbacks(execute=True):
        answer = person.browser.post("/accounts/2fa/totp/deactivate/")
    assert answer["location"] == SECURITY
    assert sorted(actions(person)) == [
        "user.recovery_codes_made",
        "user.second_factor_added",
        "user.second_factor_added",  # the recovery codes that come with it
        "user.second_factor_removed",
        "user.second_factor_removed",
        "user.signed_in",
    ]
    assert {each.to[0] for each in mail.outbox} == {person.user.email}
    told = [next(line for line in each.body.splitlines() if " UTC, from " in line) for each in mail.outbox]
    assert [line.partition(": ")[2] for line in told] == [
        "an authenticator app was added.",
        "new recovery codes were made, and the old ones ended.",
        "the authenticator app was removed.",
    ]
    assert not Authenticator.objects.exists()
    assert is_signed_in(signed_in(person.user))


@pytest.mark.parametrize(
    "address",
    [
        "/accounts/2fa/totp/activate/",
        "/accounts/2fa/webauthn/add/",
    ],
)
def test_a_session_alone_changes_no_factor(person: Person, address: str) -> None:
    for method in (person.browser.get, person.browser.post):
        answer = method(address)
        assert (answer.status_code, answer["location"].partition("?")[0]) == (302, AGAIN)
    assert not Authenticator.objects.exists()


def test_asking_again_takes_the_password_and_counts(person: Person) -> None:
    address = f"{AGAIN}?next=/accounts/2fa/totp/activate/"
    for _ in range(5):
        assert "That is not your password" in person.browser.post(address, {"password": "wrong"}).content.decode()
    assert "Too many attempts" in person.browser.post(address, {"password": PASSWORD}).content.decode()
    assert actions(person).count("user.sign_in_failed") == 5


def test_a_mail_that_cannot_be_sent_stops_nothing(
    person: Person, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "127.0.0.1", "port": 9}}}  # fmt: skip  # noqa: E501
    with django_capture_on_commit_callbacks(execute=True):
        add_app(person.browser)
    assert Authenticator.objects.filter(type="totp").exists()


def test_the_admin_is_behind_the_same_factor(person: Person) -> None:
    add_app(person.browser)
    User.objects.filter(id=person.user.id).update(is_staff=True, is_superuser=True)
    browser = Browser()
    assert browser.get("/admin/", follow=True).redirect_chain[-1][0] == "/accounts/login/?next=/admin/"
    answer = browser.post("/admin/login/", {"username": person.user.email, "password": PASSWORD})
    assert (answer.status_code, answer["location"]) == (302, "/accounts/login/?next=/admin/")
    browser.post(SIGN_IN, {"login": person.user.email, "password": PASSWORD, "next": "/admin/"})
    assert browser.get("/admin/").status_code == 302
    _, codes = "", person.browser.get(SECURITY).context["codes_left"]
    assert codes == 10
    Authenticator.objects.update(last_used_at=None)
    secret = Authenticator.objects.get(type="totp").wrap()
    answer = browser.post(CODE, {"code": code_of(secret_of(secret))})
    assert answer["location"] == "/admin/"
    assert browser.get("/admin/").status_code == 200


def secret_of(app: Any) -> str:
    from allauth.mfa.adapter import get_adapter  # noqa: PLC0415  (settings are there by now)

    return str(get_adapter().decrypt(app.instance.data["secret"]))


def test_no_operator_of_the_admins_own_sign_in_is_left(ada: Person) -> None:
    assert ada.browser.get("/admin/login/").status_code == 403
    assert ada.browser.get("/admin/password_change/").status_code == 302
    User.objects.filter(id=ada.user.id).update(is_staff=True)
    assert ada.browser.get("/admin/login/")["location"] == "/admin/"
