"""Invitations: a link that is good once, for one address, for some days."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.test import Client as Browser

from accounts import invitations
from accounts.audit import Actor
from accounts.invitations import AlreadyInvited
from accounts.models import AuditEvent, Invitation, Membership, User
from accounts.services import AlreadyMember
from nexus.errors import NotFound
from tests.conftest import Person

PASSWORD = "a long enough sentence"
NEW = {"name": "Nia New", "password": PASSWORD}


def invite(by: Person, email: str = "new@acme.example", role: str = "developer", days: int = 0) -> str:
    """Invite somebody, some days ago; return the link's path."""
    now = datetime.now(UTC) - timedelta(days=days)
    row, url = invitations.invite(
        by.tenant, email=email, role=role, actor=Actor.of_user(by.user), inviter=by.user, now=now
    )
    invitations.deliver(row, url)
    return urlsplit(url).path


def test_somebody_new_makes_their_account_and_is_in(ada: Person) -> None:
    path = invite(ada, "New@Acme.Example")
    assert (mail.outbox[0].to, mail.outbox[0].subject) == (["new@acme.example"], "Join Acme on NEXUS")
    assert f"http://127.0.0.1:8000{path}" in mail.outbox[0].body
    browser = Browser()
    page = browser.get(path).content.decode()
    assert "ada@acme.example invites" in page
    answer = browser.post(path, NEW)
    assert (answer.status_code, answer["location"]) == (302, "/t/acme/")
    assert browser.get("/t/acme/").status_code == 200
    member = Membership.objects.get(user__email="new@acme.example")
    assert (member.role, member.user.name, member.user.check_password(PASSWORD)) == ("developer", "Nia New", True)
    actions = list(
        AuditEvent.objects.for_tenant(ada.tenant).order_by("created_at", "id").values_list("action", "actor_label")
    )
    assert actions == [
        ("member.invited", "ada@acme.example"),
        ("user.created", "new@acme.example"),
        ("member.invitation_accepted", "new@acme.example"),
        ("member.added", "new@acme.example"),
        ("user.signed_in", "new@acme.example"),
    ]


def test_only_a_hash_of_the_link_is_kept(ada: Person) -> None:
    token = invite(ada).split("/")[-2]
    assert token not in str(list(Invitation.objects.values()))
    assert token not in str(list(AuditEvent.objects.for_tenant(ada.tenant).values()))


def test_a_link_is_good_once(ada: Person) -> None:
    path = invite(ada)
    Browser().post(path, NEW)
    for answer in (Browser().get(path), Browser().post(path, {**NEW, "password": "another long sentence"})):
        assert answer.status_code == 404
        assert "not good any more" in answer.content.decode()
    assert User.objects.get(email="new@acme.example").check_password(PASSWORD)


def test_a_link_runs_out(ada: Person) -> None:
    assert Browser().get(invite(ada, days=8)).status_code == 404
    assert Browser().get(invite(ada, "other@acme.example", days=6)).status_code == 200


def test_one_that_is_taken_back_or_sent_again_ends(ada: Person) -> None:
    path = invite(ada)
    row: Invitation = Invitation.objects.get()
    actor, now = Actor.of_user(ada.user), datetime.now(UTC)
    _, url = invitations.renew(row.id, ada.tenant, actor=actor, now=now)
    assert Browser().get(path).status_code == 404
    assert Browser().get(urlsplit(url).path).status_code == 200
    invitations.revoke(row.id, ada.tenant, actor=actor, now=now)
    assert Browser().get(urlsplit(url).path).status_code == 404
    with pytest.raises(NotFound):
        invitations.renew(row.id, ada.tenant, actor=actor, now=now)


def test_another_tenants_is_not_there(ada: Person, gus: Person) -> None:
    invite(ada)
    row: Invitation = Invitation.objects.get()
    for verb in (invitations.renew, invitations.revoke):
        with pytest.raises(NotFound):
            verb(row.id, gus.tenant, actor=Actor.of_user(gus.user), now=datetime.now(UTC))
    assert list(invitations.open_ones(gus.tenant)) == []


def test_nobody_is_invited_twice_or_who_is_in(ada: Person, dev: Person, gus: Person) -> None:
    invite(ada)
    with pytest.raises(AlreadyInvited):
        invite(ada, "NEW@acme.example")
    with pytest.raises(AlreadyMember):
        invite(ada, dev.user.email)
    assert Browser().get(invite(gus)).status_code == 200  # another tenant's is another matter


def test_one_that_has_run_out_gives_way_to_a_new_one(ada: Person) -> None:
    old = invite(ada, days=8)
    assert Browser().get(invite(ada)).status_code == 200
    assert Browser().get(old).status_code == 404


def test_who_has_an_account_signs_in_to_accept(ada: Person, gus: Person) -> None:
    gus.user.set_password(PASSWORD)
    gus.user.save()
    path = invite(ada, gus.user.email, "viewer")
    browser = Browser()
    assert "Sign in to accept" in browser.get(path).content.decode()
    assert browser.post(path, NEW).status_code == 200  # and no new password by it
    gus.user.refresh_from_db()
    assert gus.user.check_password(PASSWORD)
    answer = browser.post("/accounts/login/", {"login": gus.user.email, "password": PASSWORD, "next": path})
    assert answer["location"] == path
    assert "Join Acme" in browser.get(path).content.decode()
    assert not Membership.objects.filter(tenant=ada.tenant, user=gus.user).exists()  # looking is not accepting
    assert browser.post(path)["location"] == "/t/acme/"
    assert Membership.objects.get(tenant=ada.tenant, user=gus.user).role == "viewer"


def test_it_is_for_the_address_that_was_invited(ada: Person, gus: Person) -> None:
    path = invite(ada)
    assert "You are signed in as gus@globex.example" in gus.browser.get(path).content.decode()
    assert gus.browser.post(path).status_code == 200
    assert not Membership.objects.filter(tenant=ada.tenant, user=gus.user).exists()


def test_a_person_without_a_way_in_gets_one(ada: Person) -> None:
    User.objects.create_user("new@acme.example")
    browser = Browser()
    assert browser.post(invite(ada), NEW).status_code == 302
    assert browser.get("/t/acme/").status_code == 200


def test_a_weak_password_is_refused_and_the_link_stays_good(ada: Person) -> None:
    path = invite(ada)
    for bad in ("short", "new@acme.example", "1234567890"):
        assert Browser().post(path, {**NEW, "password": bad}).status_code == 422
    assert not User.objects.filter(email="new@acme.example").exists()
    assert Browser().post(path, NEW).status_code == 302


def test_two_who_accept_at_once_make_one_member(ada: Person) -> None:
    path = invite(ada, "new@acme.example")
    token = path.split("/")[-2]
    user = User.objects.create_user("new@acme.example")
    given: dict[str, Any] = {"ip": None, "request_id": ada.tenant.id, "now": datetime.now(UTC)}
    invitations.accept(token, user, **given)
    with pytest.raises(invitations.InvitationGone):
        invitations.accept(token, user, **given)
    assert Membership.objects.filter(user=user).count() == 1


@pytest.mark.parametrize("token", ["x", "a" * 43, "%00", "' OR 1=1"])
def test_a_link_that_was_never_given_out_is_like_one_that_is_used(ada: Person, token: str) -> None:
    assert Browser().get(f"/accounts/invitations/{token}/").status_code == 404
