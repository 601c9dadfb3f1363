"""Sessions: the table knows the hash of a cookie only, and a cookie that it could have been made from opens nothing."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.models import Session
from django.test import Client as Browser
from django.utils import timezone

from accounts.sessions import SessionStore, stored_key
from tests.conftest import Person


def signed_in(browser: Browser) -> bool:
    return browser.get("/v1/members").status_code == 200


def test_the_table_holds_the_hash_of_the_cookie_and_not_the_cookie(ada: Person) -> None:
    cookie = ada.browser.cookies["sessionid"].value
    row = Session.objects.get()
    assert row.session_key == stored_key(cookie)
    assert cookie not in f"{row.session_key} {row.session_data} {row.get_decoded()}"
    assert signed_in(ada.browser)


def test_what_stands_in_the_table_is_no_cookie(ada: Person) -> None:
    thief = Browser()
    thief.cookies["sessionid"] = Session.objects.get().session_key
    assert not signed_in(thief)
    assert signed_in(ada.browser)


def test_a_session_that_has_ended_opens_nothing(ada: Person) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not signed_in(ada.browser)


def test_who_signs_out_leaves_no_session(ada: Person) -> None:
    cookie = ada.browser.cookies["sessionid"].value
    ada.browser.logout()
    assert not Session.objects.exists()
    thief = Browser()
    thief.cookies["sessionid"] = cookie
    assert not signed_in(thief)


@pytest.mark.django_db
def test_a_new_key_takes_the_data_along_and_the_old_one_is_gone() -> None:
    store = SessionStore()
    store["x"] = 1
    store.save()
    before = store.session_key or ""
    store.cycle_key()
    after = store.session_key or ""
    assert before != after
    assert (SessionStore(before).get("x"), SessionStore(after).get("x")) == (None, 1)
    assert (store.exists(before), store.exists(after)) == (False, True)


@pytest.mark.django_db
def test_the_asynchronous_half_is_the_same() -> None:
    async def story() -> tuple[object, object, bool, bool]:
        store = SessionStore()
        await store.aset("x", 1)
        await store.asave()
        key = store.session_key or ""
        seen = await SessionStore(key).aget("x")
        there = await store.aexists(key)
        await store.adelete()
        return seen, await SessionStore(key).aget("x"), there, await store.aexists(key)

    assert async_to_sync(story)() == (1, None, True, False)
    assert not Session.objects.exists()
