"""What a provider said of a request that it refused, as the client is told it."""

import time
from typing import Any

import pytest

from gateway.failures import without_secrets
from gateway.providers.base import Failure, FailureKind

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"


def told(message: str, *, api_key: str = KEY, **more: Any) -> Failure:
    failure = Failure(FailureKind.REQUEST, message, status=400, **more)
    return without_secrets(failure, api_key=api_key, host="llm.internal")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"Bad key {KEY}.", "Bad key …."),
        (f"Bad key {KEY[:20]}***{KEY[-15:]}.", "Bad key …***…."),
        (f"{KEY[5:17]}", "…"),
        (f"Bad key {KEY[:8]}…{KEY[-4:]}.", f"Bad key {KEY[:8]}…{KEY[-4:]}."),
        ("Ask http://llm.internal/v1 again.", "Ask http://…/v1 again."),
        ("Your key is fine, and your request is not.", "Your key is fine, and your request is not."),
    ],
)
def test_the_key_and_what_is_left_of_a_shortened_one_are_cut_out(said: str, expected: str) -> None:
    assert told(said).message == expected


def test_every_part_of_the_error_is_searched() -> None:
    failure = told("x", type=f"type {KEY}", param=KEY[:30], code=f"{KEY[10:]}_invalid")
    assert (failure.type, failure.param, failure.code) == ("type …", "…", "…_invalid")
    assert told("x").code is None


@pytest.mark.parametrize("api_key", ["", "x", "short", "a" * 500])
def test_an_odd_key_and_a_book_of_an_error_keep_nobody_waiting(api_key: str) -> None:
    began = time.process_time()
    message = told("a" * 1_000_000, api_key=api_key).message
    assert time.process_time() - began < 2
    assert len(message) <= 20_000


def test_without_a_key_nothing_but_the_address_is_cut_out() -> None:
    assert told(f"Bad key {KEY} at llm.internal.", api_key="").message == f"Bad key {KEY} at …."
