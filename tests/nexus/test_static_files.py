"""Static files, served by the console itself under both of Django's handlers."""

import warnings
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

STYLE = "/static/css/tokens.css"


def fetch(kind: str, path: str, **headers: str) -> Any:
    if kind == "wsgi":
        return Client().get(path, headers=headers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return async_to_sync(AsyncClient().get)(path, headers=headers)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_file_comes_whole_with_what_a_cache_needs(kind: str) -> None:
    answer = fetch(kind, STYLE)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == 'text/css; charset="utf-8"'
    assert int(answer.headers["content-length"]) == len(answer.content) > 1000
    again = fetch(kind, STYLE, **{"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-type" not in again.headers
    part = fetch(kind, STYLE, range="bytes=0-9")
    assert (part.status_code, part.content) == (206, answer.content[:10])


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("path", ["/static/css/../../manage.py", "/static/css/nothing.css", "/static/"])
def test_nothing_else_is_served(kind: str, path: str, db: None) -> None:
    assert fetch(kind, path).status_code == 404
