"""The Members page: by the same services as the API, with the last admin protected by the database."""

import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client as Browser

from accounts.models import AuditEvent, Invitation, Membership, Tenant
from tests.conftest import Person
from tests.factories import make_member

PAGE = "/t/acme/members/"


def membership(person: Person) -> Membership:
    found: Membership = Membership.objects.get(user=person.user, tenant=person.tenant)
    return found


def the_action(tenant: Tenant) -> str:
    return str(AuditEvent.objects.for_tenant(tenant).get().action)


@pytest.fixture
def with_mail(settings: Any) -> None:
    settings.EMAIL_URL = "smtp://mail.example.com"  # the backend is the tests' own


def test_it_lists_people_with_their_roles(ada: Person, dev: Person, gus: Person) -> None:
    page = ada.browser.get(PAGE).content.decode()
    assert "2 members" in page
    assert "dev@acme.example" in page
    assert "gus@globex.example" not in page
    assert "the last one stays" in page  # ada, who is alone


def test_an_invitation_is_sent_and_listed(ada: Person, with_mail: None) -> None:
    answer = ada.browser.post(f"{PAGE}invite/", {"email": "new@acme.example", "role": "viewer"})
    assert (answer.status_code, answer["location"]) == (303, PAGE)
    assert mail.outbox[0].to == ["new@acme.example"]
    assert the_action(ada.tenant) == "member.invited"
    page = ada.browser.get(PAGE).content.decode()
    assert "new@acme.example is invited." in page
    assert "/accounts/invitations/" not in page


def test_without_a_mail_server_the_link_is_shown_once(ada: Person, settings: Any) -> None:
    settings.EMAIL_URL = ""
    answer = ada.browser.post(f"{PAGE}invite/", {"email": "new@acme.example", "role": "viewer"})
    assert answer.status_code == 200
    assert "no-store" in answer["cache-control"]
    link = re.search(r'value="http://127\.0\.0\.1:8000(/accounts/invitations/[\w-]+/)"', answer.content.decode())
    assert link
    assert "Join Acme" in Browser().get(link[1]).content.decode()
    assert link[1] not in ada.browser.get(PAGE).content.decode()


def test_a_mail_that_is_not_taken_leaves_the_link_to_pass_on(ada: Person, with_mail: None, settings: Any) -> None:
    options = {"host": "127.0.0.1", "port": 9}
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}}
    answer = ada.browser.post(f"{PAGE}invite/", {"email": "new@acme.example", "role": "viewer"})
    assert "did not take the mail" in answer.content.decode()
    assert Invitation.objects.count() == 1


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"email": "no address", "role": "viewer"}, 422),
        ({"email": "new@acme.example", "role": "owner"}, 422),
        ({"email": "ada@acme.example", "role": "viewer"}, 409),
        ({}, 422),
    ],
)
def test_what_cannot_be_is_said_beside_the_form(ada: Person, form: dict[str, str], status: int) -> None:
    answer = ada.browser.post(f"{PAGE}invite/", form)
    assert answer.status_code == status
    assert not Invitation.objects.exists()
    assert not AuditEvent.objects.for_tenant(ada.tenant).exists()


def test_an_invitation_is_sent_again_and_taken_back(ada: Person, with_mail: None) -> None:
    ada.browser.post(f"{PAGE}invite/", {"email": "new@acme.example", "role": "viewer"})
    row: Invitation = Invitation.objects.get()
    ada.browser.post(f"{PAGE}invitations/{row.id}/again/")
    assert len(mail.outbox) == 2
    assert mail.outbox[0].body != mail.outbox[1].body
    ada.browser.post(f"{PAGE}invitations/{row.id}/revoke/")
    assert "Taken back" not in ada.browser.get(PAGE).content.decode()
    assert list(ada.browser.get(PAGE).context["invited"]) == []
    assert ada.browser.post(f"{PAGE}invitations/{row.id}/revoke/").status_code == 404


def test_a_role_is_changed(ada: Person, dev: Person) -> None:
    answer = ada.browser.post(f"{PAGE}{membership(dev).id}/role/", {"role": "viewer"})
    assert (answer.status_code, membership(dev).role, the_action(ada.tenant)) == (303, "viewer", "member.role_changed")
    assert "dev@acme.example is viewer now." in ada.browser.get(PAGE).content.decode()
    assert ada.browser.post(f"{PAGE}{membership(dev).id}/role/", {"role": "god"}).status_code == 422


def test_a_member_is_removed(ada: Person, dev: Person) -> None:
    assert ada.browser.post(f"{PAGE}{membership(dev).id}/remove/").status_code == 303
    assert not Membership.objects.filter(user=dev.user).exists()
    assert the_action(ada.tenant) == "member.removed"
    assert dev.browser.get("/t/acme/").status_code == 404


@pytest.mark.parametrize(("verb", "form"), [("role", {"role": "viewer"}), ("remove", {})])
def test_the_last_admin_stays_and_the_page_says_why(ada: Person, verb: str, form: dict[str, str]) -> None:
    answer = ada.browser.post(f"{PAGE}{membership(ada).id}/{verb}/", form)
    assert answer.status_code == 409
    assert "keeps at least one admin" in answer.content.decode()
    assert membership(ada).role == "admin"
    assert not AuditEvent.objects.for_tenant(ada.tenant).exists()


def test_who_gives_their_own_place_away_is_led_out(ada: Person) -> None:
    make_member(ada.tenant, "boss@acme.example")
    assert ada.browser.post(f"{PAGE}{membership(ada).id}/role/", {"role": "viewer"})["location"] == "/t/acme/"
    assert ada.browser.get(PAGE).status_code == 403
    assert "Ask boss@acme.example for it" in ada.browser.get(PAGE).content.decode()


def test_the_sidebar_has_it_for_those_alone_who_may(ada: Person, dev: Person, vera: Person) -> None:
    for person, seen in ((ada, True), (dev, False), (vera, False)):
        page = person.browser.get("/t/acme/").content.decode()
        for path in ("members", "audit", "settings"):
            assert (f'href="/t/acme/{path}/"' in page) == seen
