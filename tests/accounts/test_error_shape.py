"""Every error of the management API has one shape, whichever layer refuses."""

import logging
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client as Browser
from rest_framework.exceptions import Throttled
from rest_framework.test import APIRequestFactory

from accounts import api
from accounts.models import Membership
from nexus.rest import exception_handler
from tests.accounts.test_keys_api import call
from tests.conftest import Person


def assert_error(answer: Any, status: int, code: str, kind: str, param: str | None = None) -> None:
    assert answer.status_code == status, answer.content
    assert answer["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert sorted(set(error) - {"nexus"}) == ["code", "message", "param", "request_id", "type"]
    assert (error["code"], error["type"], error["param"]) == (code, kind, param)
    assert error["request_id"] == answer["x-request-id"]
    assert UUID(error["request_id"]).version == 7
    assert error["message"].endswith((".", "…`."))


def test_an_unknown_path_is_a_404(db: None) -> None:
    assert_error(Browser().get("/v1/nothing/here"), 404, "NOT_FOUND", "invalid_request_error")


def test_an_id_that_is_none_is_a_404(ada: Person) -> None:
    assert_error(call(ada.key, "GET", "/v1/keys/1%20OR%201=1"), 404, "NOT_FOUND", "invalid_request_error")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_wrong_method_is_a_405_that_names_the_right_ones(ada: Person, method: str) -> None:
    answer = call(ada.key, method, "/v1/keys", {})
    assert_error(answer, 405, "METHOD_NOT_ALLOWED", "invalid_request_error")
    assert answer["allow"].startswith("GET, POST")


def test_a_wrong_method_tells_strangers_nothing(db: None) -> None:
    assert_error(Browser().put("/v1/keys"), 401, "INVALID_API_KEY", "authentication_error")


def test_head_is_allowed_where_get_is(ada: Person, vera: Person) -> None:
    assert call(ada.key, "HEAD", "/v1/keys").status_code == 200
    assert call(vera.key, "HEAD", "/v1/keys").status_code == 403


def test_options_describe_nothing(ada: Person) -> None:
    assert_error(call(ada.key, "OPTIONS", "/v1/keys"), 403, "FORBIDDEN", "permission_error")


def test_a_view_without_a_declared_scope_answers_nobody(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(api.KeyList, "scopes")
    assert_error(call(ada.key, "GET", "/v1/keys"), 403, "FORBIDDEN", "permission_error")


def test_a_form_is_a_415(ada: Person) -> None:
    answer = Browser().post("/v1/keys", data={"name": "x"}, headers={"authorization": f"Bearer {ada.key}"})
    assert_error(answer, 415, "UNSUPPORTED_MEDIA_TYPE", "invalid_request_error")


def test_an_answer_nobody_takes_is_a_406(ada: Person) -> None:
    answer = Browser().get("/v1/keys", headers={"authorization": f"Bearer {ada.key}", "accept": "text/html"})
    assert_error(answer, 406, "NOT_ACCEPTABLE", "invalid_request_error")


def test_too_many_requests_say_when_to_come_back() -> None:
    answer = exception_handler(Throttled(wait=1.5), {"request": APIRequestFactory().get("/v1/keys")})
    assert (answer.status_code, answer["retry-after"]) == (429, "2")
    assert answer.data["error"]["type"] == "rate_limit_error"


def test_a_body_nested_too_deeply_is_the_clients_fault(ada: Person) -> None:
    answer = Browser().post(
        "/v1/keys",
        data=b'{"name":' + b"[" * 100_000,
        content_type="application/json",
        headers={"authorization": f"Bearer {ada.key}"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("name", ["a\u0000b", "a\ud800b", " ", "x" * 101, None, {"a": 1}, True])
def test_a_name_the_database_cannot_hold_is_refused_before_it(ada: Person, name: Any) -> None:
    answer = call(ada.key, "POST", "/v1/keys", {"name": name, "scopes": []})
    assert_error(answer, 400, "INVALID_REQUEST", "invalid_request_error", param="name")


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/v1/keys", {"name": 7, "scopes": []}, "name"),
        ("POST", "/v1/keys", {"name": "x", "scopes": ["keys:read", 7]}, "scopes.1"),
        ("POST", "/v1/keys", {"name": "x", "scopes": [], "monthly_request_quota": "5"}, "monthly_request_quota"),
        ("POST", "/v1/keys", {"name": "x", "scopes": [], "monthly_request_quota": True}, "monthly_request_quota"),
        ("POST", "/v1/keys", {"name": "x", "scopes": [], "expires_at": 4_070_908_800}, "expires_at"),
        ("PATCH", "/v1/settings", {"log_content": "yes"}, "log_content"),
        ("PATCH", "/v1/settings", {"log_content": 1}, "log_content"),
        ("PATCH", "/v1/settings", {"max_attempts": 2.5}, "max_attempts"),
        ("PATCH", "/v1/settings", {"default_embedding": 0}, "default_embedding"),
        ("PATCH", "/v1/settings", {"routing_strategy": ["priority"]}, "routing_strategy"),
        ("POST", "/v1/providers", {"name": "x", "family": "openai", "models": {"a": 0}}, "models.a"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(ada: Person, method: str, path: str, body: Any, param: str) -> None:
    answer = call(ada.key, method, path, body)
    assert_error(answer, 400, "INVALID_REQUEST", "invalid_request_error", param=param)


def test_a_whole_number_may_be_written_with_a_point(ada: Person) -> None:
    assert call(ada.key, "PATCH", "/v1/settings", {"max_attempts": 3.0}).json()["max_attempts"] == 3


@pytest.mark.parametrize("limit", ["\u00b2", "\u0663", "-1", "1e2", "99999999999999999999", ""])
def test_a_limit_in_other_digits_is_refused(ada: Person, limit: str) -> None:
    answer = call(ada.key, "GET", f"/v1/keys?limit={limit}")
    assert_error(answer, 400, "INVALID_REQUEST", "invalid_request_error", param="limit")


@pytest.mark.parametrize(("query", "param"), [("from=then", "from"), ("to=1", "to"), ("until=2026-01-01", "until")])
def test_a_malformed_filter_is_named_as_it_was_sent(ada: Person, query: str, param: str) -> None:
    answer = call(ada.key, "GET", f"/v1/audit?{query}")
    assert_error(answer, 400, "INVALID_REQUEST", "invalid_request_error", param=param)


def test_a_fault_of_our_own_shows_nothing_and_logs_all(
    ada: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("canary-of-the-inside")

    monkeypatch.setattr(api, "settings_json", broken)
    with caplog.at_level(logging.ERROR, logger="nexus.rest"):
        answer = call(ada.key, "GET", "/v1/settings")
    assert_error(answer, 500, "INTERNAL_ERROR", "server_error")
    assert "canary" not in answer.content.decode()
    assert "canary-of-the-inside" in caplog.text
    assert answer["x-request-id"] in [str(getattr(record, "request_id", "")) for record in caplog.records]


def test_a_refusal_of_the_database_is_told_in_its_words(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def demotes_everybody(*_: Any) -> None:
        Membership.objects.filter(tenant=ada.tenant).update(role="viewer")
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    monkeypatch.setattr(api, "settings_json", demotes_everybody)
    answer = call(ada.key, "GET", "/v1/settings")
    assert_error(answer, 409, "CONFLICT", "conflict_error")
    assert "the last admin" in answer.json()["error"]["message"]


def test_a_client_cannot_choose_the_request_id(ada: Person) -> None:
    answer = Browser().get("/v1/keys", headers={"x-request-id": "mine"})
    assert answer["x-request-id"] != "mine"


def test_pages_show_errors_as_pages(db: None) -> None:
    answer = Browser().get("/nothing/here")
    assert answer.status_code == 404
    assert answer["content-type"].startswith("text/html")
    assert answer["x-request-id"] in answer.content.decode()
