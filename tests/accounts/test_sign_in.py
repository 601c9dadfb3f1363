"""Signing in and out, and which tenant a session works in."""

import re

import pytest
from django.test import Client as Browser

from accounts.models import Membership, User
from tests.conftest import Person
from tests.factories import make_member, make_tenant

PASSWORD = "a long enough sentence"
SIGN_IN, SIGN_OUT = "/accounts/login/", "/accounts/logout/"


@pytest.fixture
def signed_out(ada: Person) -> Browser:
    ada.user.set_password(PASSWORD)
    ada.user.save()
    return Browser()


def test_the_page_has_no_inline_script_or_style(db: None) -> None:
    answer = Browser().get(SIGN_IN)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "default-src 'none'" in answer["content-security-policy"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)


def test_an_address_in_any_case_signs_in_and_out(signed_out: Browser) -> None:
    answer = signed_out.post(SIGN_IN, {"login": "ADA@acme.example", "password": PASSWORD})
    assert (answer.status_code, answer["location"]) == (302, "/")
    assert signed_out.get("/v1/settings").json()["tenant"] == "acme"
    assert signed_out.post(SIGN_OUT).status_code == 302
    assert signed_out.get("/v1/settings").status_code == 401


def test_signing_in_changes_the_session(signed_out: Browser, ada: Person) -> None:
    signed_out.get(SIGN_IN)
    signed_out.cookies["sessionid"] = "chosen-by-somebody-else-0123456789"
    signed_out.post(SIGN_IN, {"login": ada.user.email, "password": PASSWORD})
    assert signed_out.cookies["sessionid"].value != "chosen-by-somebody-else-0123456789"


@pytest.mark.parametrize("address", ["ada@acme.example", "nobody@acme.example", "invited@acme.example"])
def test_a_refusal_does_not_tell_whether_there_is_such_a_person(signed_out: Browser, address: str) -> None:
    User.objects.create_user("invited@acme.example")
    answer = signed_out.post(SIGN_IN, {"login": address, "password": "wrong"})
    page = answer.content.decode().replace(address, "")
    assert answer.status_code == 200
    assert "do not belong together" in page
    assert signed_out.get("/v1/settings").status_code == 401


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(signed_out: Browser, ada: Person, elsewhere: str) -> None:
    answer = signed_out.post(SIGN_IN, {"login": ada.user.email, "password": PASSWORD, "next": elsewhere})
    assert answer["location"] == "/"


def test_signing_out_takes_a_post(ada: Person) -> None:
    assert ada.browser.get(SIGN_OUT).status_code == 405
    assert ada.browser.get("/v1/settings").status_code == 200


def test_a_new_password_ends_the_other_sessions(ada: Person) -> None:
    ada.user.set_password("another long sentence")
    ada.user.save()
    assert ada.browser.get("/v1/settings").status_code == 401


def test_a_chosen_tenant_stays_chosen_until_it_is_lost(ada: Person) -> None:
    other = make_tenant("other")
    make_member(other, "boss@other.example")
    make_member(other, ada.user.email, "viewer")
    assert ada.browser.get("/t/other/").status_code == 200
    assert ada.browser.get("/v1/settings").json()["tenant"] == "other"
    assert ada.browser.patch("/v1/settings", {}, content_type="application/json").status_code == 403
    Membership.objects.get(tenant=other, user=ada.user).delete()
    assert ada.browser.get("/v1/settings").json()["tenant"] == "acme"


def test_a_foreign_tenant_cannot_be_chosen(ada: Person, gus: Person) -> None:
    assert ada.browser.get("/t/globex/").status_code == 404
    assert ada.browser.get("/v1/settings").json()["tenant"] == "acme"


def test_a_role_taken_away_is_gone_at_the_next_request(ada: Person, dev: Person) -> None:
    membership = Membership.objects.get(user=dev.user)
    assert dev.browser.get("/v1/keys").status_code == 200
    path = f"/v1/members/{membership.id}"
    assert ada.browser.patch(path, {"role": "viewer"}, content_type="application/json").status_code == 200
    assert dev.browser.get("/v1/keys").status_code == 403
    assert ada.browser.delete(path).status_code == 204
    assert dev.browser.get("/v1/settings").status_code == 403
