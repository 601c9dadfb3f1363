"""An installation that asks for a second factor lets nobody further than to where one is added."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client as Browser

from accounts.models import User
from tests.accounts.test_keys_api import call
from tests.conftest import Person

SECURITY = "/profile/security/"


@pytest.fixture
def required(settings: Any) -> None:
    settings.NEXUS_MFA_REQUIRED = "everybody"


def give_factor(person: Person) -> None:
    Authenticator.objects.create(user=person.user, type="totp", data={"secret": "sealed"})


def test_who_has_none_is_led_to_where_one_is_added(required: None, ada: Person) -> None:
    for path in ("/", "/t/acme/", "/t/acme/members/", "/admin/"):
        answer = ada.browser.get(path)
        assert (answer.status_code, answer["location"]) == (302, SECURITY), path
    page = ada.browser.get(SECURITY).content.decode()
    assert "This installation asks everybody for a second step" in page
    assert ada.browser.get("/accounts/2fa/totp/activate/")["location"].startswith("/accounts/reauthenticate/")


def test_polls_and_the_api_are_told_so_in_their_own_way(required: None, ada: Person) -> None:
    poll = ada.browser.get("/t/acme/", headers={"hx-request": "true"})
    assert (poll.status_code, poll["hx-redirect"]) == (401, SECURITY)
    answer = ada.browser.get("/v1/settings")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "SECOND_FACTOR_REQUIRED")


def test_api_keys_and_strangers_are_as_they_were(required: None, ada: Person) -> None:
    assert call(ada.key, "GET", "/v1/settings").status_code == 200
    assert Browser().get("/accounts/login/").status_code == 200
    assert Browser().get("/t/acme/")["location"].startswith("/accounts/login/")


def test_who_has_one_goes_on(required: None, ada: Person) -> None:
    give_factor(ada)
    assert ada.browser.get("/t/acme/").status_code == 200
    assert "asks everybody" not in ada.browser.get(SECURITY).content.decode()


def test_recovery_codes_alone_are_none(required: None, ada: Person) -> None:
    Authenticator.objects.create(user=ada.user, type="recovery_codes", data={"seed": "sealed", "used_mask": 1023})
    assert ada.browser.get("/t/acme/").status_code == 302


def test_single_sign_on_brings_its_own(required: None, ada: Person) -> None:
    session = ada.browser.session
    session["account_authentication_methods"] = [{"method": "socialaccount", "at": 1.0}]
    session["account_authentication_methods_user"] = str(ada.user.pk)
    session.save()
    assert ada.browser.get("/t/acme/").status_code == 200


def test_it_may_be_asked_of_operators_alone(settings: Any, ada: Person, dev: Person) -> None:
    settings.NEXUS_MFA_REQUIRED = "operators"
    User.objects.filter(id=ada.user.id).update(is_staff=True)
    assert ada.browser.get("/admin/")["location"] == SECURITY
    assert dev.browser.get("/t/acme/").status_code == 200
