"""Invitations over REST: listed, sent, sent again, taken back; the link is told where no mail takes it."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.test import Client as Browser

from accounts.models import AuditEvent, Invitation, Membership
from tests.accounts.test_invitations import NEW
from tests.accounts.test_keys_api import call
from tests.conftest import Person

PATH = "/v1/invitations"
PLACE = {"email": "New@Acme.example", "role": "developer"}


def test_somebody_is_invited_and_comes_by_the_link(ada: Person) -> None:
    answer = call(ada.key, "POST", PATH, PLACE)
    assert (answer.status_code, answer["cache-control"]) == (201, "no-store")
    sent = answer.json()
    assert {name: sent[name] for name in ("email", "role", "invited_by", "mailed")} == {
        "email": "new@acme.example",
        "role": "developer",
        "invited_by": ada.user.email,
        "mailed": False,  # without a mail server the mail is a file
    }
    browser = Browser()
    assert browser.post(urlsplit(sent["link"]).path, NEW).status_code == 302
    assert Membership.objects.get(user__email="new@acme.example").role == "developer"
    assert call(ada.key, "GET", PATH).json()["data"] == []


def test_a_link_that_goes_out_by_mail_is_told_to_nobody_else(ada: Person, settings: Any) -> None:
    settings.EMAIL_URL = "smtp://mail.acme.example"
    sent = call(ada.key, "POST", PATH, PLACE).json()
    assert (sent["mailed"], sent["link"]) == (True, None)
    assert mail.outbox[0].to == ["new@acme.example"]


def test_a_link_that_the_mail_server_refused_is_shown_to_who_asked(ada: Person, settings: Any) -> None:
    settings.EMAIL_URL = "smtp://127.0.0.1:9"
    settings.MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": 9},
        }
    }
    answer = call(ada.key, "POST", PATH, PLACE)
    assert (answer.status_code, answer.json()["mailed"]) == (201, False)
    assert Browser().get(urlsplit(answer.json()["link"]).path).status_code == 200


def test_the_list_shows_what_is_open_and_no_link(ada: Person) -> None:
    sent = call(ada.key, "POST", PATH, PLACE).json()
    call(ada.key, "POST", PATH, {"email": "two@acme.example", "role": "viewer"})
    listed = call(ada.key, "GET", PATH)
    assert [each["email"] for each in listed.json()["data"]] == ["two@acme.example", "new@acme.example"]
    assert sent["link"].split("/")[-2] not in listed.content.decode()
    page = call(ada.key, "GET", f"{PATH}?limit=1").json()
    further = call(ada.key, "GET", f"{PATH}?limit=1&cursor={page['next_cursor']}").json()
    assert [each["email"] for each in page["data"] + further["data"]] == ["two@acme.example", "new@acme.example"]


def test_another_link_ends_the_one_before(ada: Person) -> None:
    first = call(ada.key, "POST", PATH, PLACE).json()
    second = call(ada.key, "POST", f"{PATH}/{first['id']}/resend").json()
    assert second["id"] == first["id"]
    links = [urlsplit(each["link"]).path for each in (first, second)]
    assert [Browser().get(link).status_code for link in links] == [404, 200]


def test_an_invitation_is_taken_back_once(ada: Person) -> None:
    sent = call(ada.key, "POST", PATH, PLACE).json()
    path = f"{PATH}/{sent['id']}"
    assert [call(ada.key, "DELETE", path).status_code for _ in range(2)] == [204, 404]
    assert Browser().get(urlsplit(sent["link"]).path).status_code == 404
    actions = AuditEvent.objects.for_tenant(ada.tenant).order_by("created_at", "id").values_list("action", flat=True)
    assert list(actions) == ["member.invited", "member.invitation_revoked"]


@pytest.mark.parametrize(
    ("place", "code"),
    [({"email": "vera@acme.example"}, "ALREADY_MEMBER"), ({"email": "n@x.example"}, "ALREADY_INVITED")],
)
def test_nobody_is_invited_twice(ada: Person, vera: Person, place: dict[str, str], code: str) -> None:
    call(ada.key, "POST", PATH, {"email": "n@x.example", "role": "viewer"})
    answer = call(ada.key, "POST", PATH, {**place, "role": "viewer"})
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"]) == (409, code, "email")
    assert Invitation.objects.for_tenant(ada.tenant).count() == 1
