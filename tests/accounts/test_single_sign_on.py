"""Single sign-on against a provider that really signs: who comes in, who does not, and what a lying one achieves."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.test import Client as Browser

from accounts import invitations
from accounts.audit import Actor
from accounts.models import AuditEvent, Membership, Tenant, User
from accounts.sign_in.oidc import PROVIDER_ID, Settings
from tests import oidc
from tests.conftest import Person
from tests.oidc import CLIENT_ID, CLIENT_SECRET, Provider, make_key

BEGIN = f"/accounts/oidc/{PROVIDER_ID}/login/"
ADA = {"sub": "ada-1", "email": "Ada@acme.example", "email_verified": True, "name": "Ada Byron"}
NEW = {"sub": "new-1", "email": "new@acme.example", "email_verified": True, "name": "Nia New"}


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    with oidc.running() as provider:
        provider.claims = dict(ADA)
        given = Settings(provider.url, CLIENT_ID, CLIENT_SECRET, "Acme ID", ("openid", "email"), False, "")
        settings.NEXUS_OIDC_ISSUER, settings.NEXUS_OIDC_NAME = provider.url, "Acme ID"
        settings.SOCIALACCOUNT_PROVIDERS = given.providers()
        yield provider


def go_there(browser: Browser, address: str = BEGIN) -> str:
    """Go to the provider and let it send the browser back; return where to."""
    there = browser.get(address)
    assert there.status_code == 302, there.content
    back = httpx.get(there["location"]).headers["location"]
    return back.removeprefix("http://testserver")


def come_back(browser: Browser, address: str = BEGIN) -> Any:
    return browser.get(go_there(browser, address))


def is_signed_in(browser: Browser) -> bool:
    return bool(browser.get("/v1/settings").status_code == 200)


def test_the_sign_in_page_offers_it_by_its_name(provider: Provider, db: None) -> None:
    page = Browser().get("/accounts/login/?next=/t/acme/keys/").content.decode()
    assert "Continue with Acme ID" in page
    assert f'href="{BEGIN}?next=%2Ft%2Facme%2Fkeys%2F"' in page


def test_without_a_provider_there_is_no_such_way(db: None) -> None:
    assert "Continue with" not in Browser().get("/accounts/login/").content.decode()
    assert Browser().get(BEGIN).status_code == 404
    assert Browser().get(f"{BEGIN}callback/").status_code == 404


def test_another_providers_name_is_nowhere(provider: Provider, db: None) -> None:
    assert Browser().get("/accounts/oidc/other/login/").status_code == 404


def test_somebody_known_comes_in_and_is_known_again_by_subject(provider: Provider, ada: Person) -> None:
    browser = Browser()
    answer = come_back(browser, f"{BEGIN}?next=/t/acme/palette/")
    assert (answer.status_code, answer["location"]) == (302, "/t/acme/palette/")
    assert is_signed_in(browser)
    provider.claims["email"] = "renamed@acme.example"
    again = Browser()
    assert come_back(again).status_code == 302
    assert again.session["_auth_user_id"] == str(ada.user.id)
    actions = list(AuditEvent.objects.for_tenant(ada.tenant).values_list("action", flat=True))
    assert sorted(actions) == ["user.sign_in_linked", "user.signed_in", "user.signed_in"]
    assert AuditEvent.objects.for_tenant(ada.tenant).filter(action="user.signed_in")[0].changes == {
        "method": [None, "single sign-on"]
    }


def test_their_password_stays(provider: Provider, ada: Person) -> None:
    ada.user.set_password("a long enough sentence")
    ada.user.save()
    come_back(Browser())
    ada.user.refresh_from_db()
    assert ada.user.check_password("a long enough sentence")


def test_what_is_asked_of_the_provider_is_asked_safely(provider: Provider, ada: Person) -> None:
    come_back(Browser(), f"{BEGIN}?auth_params=prompt%3Dnone&scope=admin&process=connect")
    asked = provider.asked[0]
    assert (asked["client_id"], asked["response_type"]) == (CLIENT_ID, "code")
    assert set(asked["scope"].split()) == {"openid", "email"}
    assert asked["redirect_uri"] == f"http://testserver{BEGIN}callback/"
    assert asked["code_challenge_method"] == "S256"
    assert "prompt" not in asked
    assert CLIENT_SECRET not in str(asked)


def test_nobody_is_sent_elsewhere_afterwards(provider: Provider, ada: Person) -> None:
    assert come_back(Browser(), f"{BEGIN}?next=https://evil.example/")["location"] == "/"


LIES: dict[str, dict[str, Any]] = {
    "another issuer": {"lies": {"iss": "https://evil.example"}},
    "another client": {"lies": {"aud": "somebody-else"}},
    "several clients, and given to another": {"lies": {"aud": [CLIENT_ID, "other"], "azp": "other"}},
    "run out": {"lies": {"exp": 1}},
    "no end": {"lies": {"exp": None}},
    "no subject": {"lies": {"sub": None}},
    "another key": {"signing_key": make_key()},
    "no signature": {"algorithm": "none"},
    "signed by the client's secret": {"algorithm": "HS256", "signing_key": CLIENT_SECRET * 4},
    "somebody else's user information": {"userinfo": {**ADA, "sub": "gus-1"}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_lets_nobody_in(provider: Provider, ada: Person, lie: str, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in LIES[lie].items():
        setattr(provider, name, value)
    browser = Browser()
    answer = come_back(browser)
    assert answer.status_code == 401
    assert "Single sign-on failed" in answer.content.decode()
    assert not is_signed_in(browser)
    assert any("single sign-on failed" in record.message for record in caplog.records)


def test_a_code_of_somebody_elses_sign_in_is_good_for_nothing(provider: Provider, ada: Person) -> None:
    theirs = go_there(Browser())
    victim = Browser()
    victim.get(BEGIN)
    assert victim.get(theirs).status_code == 401
    assert not is_signed_in(victim)
    mine = urlsplit(go_there(victim))
    state = parse_qs(mine.query)["state"][0]
    stolen = parse_qs(urlsplit(theirs).query)["code"][0]
    assert victim.get(f"{mine.path}?code={stolen}&state={state}").status_code == 401  # the verifier is not theirs
    assert not is_signed_in(victim)


def test_an_answer_is_good_once(provider: Provider, ada: Person) -> None:
    browser = Browser()
    back = go_there(browser)
    assert browser.get(back).status_code == 302
    browser.logout()
    assert browser.get(back).status_code == 401


def test_a_provider_that_does_not_answer_is_told_of_in_words(provider: Provider, db: None) -> None:
    provider.answers = False
    answer = Browser().get(BEGIN)
    assert answer.status_code == 401
    assert "could not be asked" in answer.content.decode()


@pytest.mark.parametrize("said", [False, "false", None, 1, "yes"])
def test_an_address_that_is_not_proven_is_nobodys(provider: Provider, ada: Person, said: Any) -> None:
    provider.claims["email_verified"] = said
    browser = Browser()
    answer = come_back(browser)
    assert answer.status_code == 403
    assert "does not say that <strong>ada@acme.example</strong> is yours" in answer.content.decode()
    assert not is_signed_in(browser)


def test_an_operator_can_trust_a_provider_that_says_nothing(provider: Provider, ada: Person, settings: Any) -> None:
    settings.NEXUS_OIDC_TRUST_EMAIL = True
    del provider.claims["email_verified"]
    assert come_back(Browser()).status_code == 302
    provider.claims = {**NEW, "sub": "x", "email": "dev@acme.example", "email_verified": False}  # it does say something
    assert come_back(Browser()).status_code == 403


def test_somebody_switched_off_stays_out(provider: Provider, ada: Person) -> None:
    assert come_back(Browser()).status_code == 302
    ada.user.is_active = False
    ada.user.save()
    browser = Browser()
    come_back(browser)
    assert not is_signed_in(browser)


def test_somebody_switched_off_who_never_came_is_refused(provider: Provider, ada: Person) -> None:
    User.objects.filter(id=ada.user.id).update(is_active=False)
    assert come_back(Browser()).status_code == 403
    assert User.objects.count() == 1


def test_whom_nobody_invited_is_refused_and_not_made(provider: Provider, acme: Tenant) -> None:
    provider.claims = dict(NEW)
    answer = come_back(Browser())
    assert answer.status_code == 403
    assert "Nobody has invited <strong>new@acme.example</strong>" in answer.content.decode()
    assert not User.objects.filter(email="new@acme.example").exists()


def test_who_is_invited_comes_in_and_joins(provider: Provider, ada: Person) -> None:
    provider.claims = dict(NEW)
    _, url = invitations.invite(
        ada.tenant, email="new@acme.example", role="developer", actor=Actor.of_user(ada.user), inviter=ada.user,
        now=datetime.now(UTC),
    )  # fmt: skip
    path = urlsplit(url).path
    browser = Browser()
    assert f"{BEGIN}?next=" in browser.get(path).content.decode()
    assert come_back(browser, f"{BEGIN}?next={path}")["location"] == path
    assert "Join Acme" in browser.get(path).content.decode()
    assert browser.post(path)["location"] == "/t/acme/"
    member = Membership.objects.get(user__email="new@acme.example")
    assert (member.role, member.user.name, member.user.has_usable_password()) == ("developer", "Nia New", False)


def test_newcomers_get_the_place_that_the_operator_gives_them(provider: Provider, acme: Tenant, settings: Any) -> None:
    settings.NEXUS_OIDC_NEWCOMERS = "acme:viewer"
    provider.claims = dict(NEW)
    browser = Browser()
    assert come_back(browser).status_code == 302
    assert Membership.objects.get(user__email="new@acme.example").role == "viewer"
    assert is_signed_in(browser)
    added = AuditEvent.objects.for_tenant(acme).get(action="member.added")
    assert (added.actor_kind, added.actor_label) == ("system", "single sign-on")


@pytest.mark.parametrize("said", [True, "true"])
def test_a_newcomers_address_is_kept_in_the_one_form(
    provider: Provider, acme: Tenant, settings: Any, said: Any
) -> None:
    settings.NEXUS_OIDC_NEWCOMERS = "acme:viewer"
    provider.claims = {**NEW, "email": "New@Acme.Example", "email_verified": said}
    assert come_back(Browser()).status_code == 302
    assert come_back(Browser()).status_code == 302  # and known again
    assert list(User.objects.values_list("email", flat=True)) == ["new@acme.example"]


def test_passwords_can_be_switched_off(provider: Provider, ada: Person, settings: Any) -> None:
    settings.NEXUS_PASSWORD_SIGN_IN = False
    ada.user.set_password("a long enough sentence")
    ada.user.save()
    browser = Browser()
    assert 'type="password"' not in browser.get("/accounts/login/").content.decode()
    answer = browser.post("/accounts/login/", {"login": ada.user.email, "password": "a long enough sentence"})
    assert "Passwords are switched off here" in answer.content.decode()
    assert not is_signed_in(browser)
    assert come_back(browser).status_code == 302
