"""The OpenAPI document says what there is: every URL, every method, every error, and examples that are right."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client as Browser
from drf_spectacular.validation import validate_schema

from gateway.streaming import metrics_request, model_request, small_request
from nexus.documents import openapi_document
from nexus.openapi import document, error_codes
from tests.conftest import Person
from tests.openapi import assert_answer, assert_valid, inlined, resolved
from tests.routes import every_view
from tests.test_access import ROUTES, call

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"get", "post", "put", "patch", "delete"}
OPERATIONS = [(path, method, told) for path, methods in document()["paths"].items() for method, told in methods.items()]
IDS = [f"{method.upper()} {path}" for path, method, _ in OPERATIONS]
OPERATORS = ("healthz", "readyz", "metrics")


def as_documented(pattern: str) -> str:
    """Return a path of Django's URL table as the document writes it."""
    path = {"^v1/models/.+$": "v1/models/<path:model>"}.get(pattern, pattern)
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)


def served() -> Iterator[tuple[str, str]]:
    """Yield every path and method of the API that the URL table has."""
    for route in ROUTES:
        yield from ((as_documented(route.path), method.lower()) for method in route.methods)
    functions = [each for prefix in ("v1/", "^v1/", *OPERATORS) for each in every_view(prefix)]
    for path, view in functions:
        if view is model_request:
            yield as_documented(path), "post"
        elif view in (small_request, metrics_request, openapi_document):
            yield as_documented(path), "get"
        else:
            assert hasattr(view, "view_class"), f"{path} is neither a view of the API nor of the data plane"


def test_every_url_of_the_api_is_in_the_document_and_nothing_else() -> None:
    assert {(path, method) for path, method, _ in OPERATIONS} == set(served())


def test_it_is_valid_openapi_3_1() -> None:
    assert document()["openapi"] == "3.1.0"
    validate_schema(document())  # type: ignore[no-untyped-call]


def test_it_names_the_version_of_the_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert document()["info"]["version"] == project["version"] == settings.SPECTACULAR_SETTINGS["VERSION"]


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [told["operationId"] for _, _, told in OPERATIONS]
    assert sorted(names) == sorted(set(names))
    # One that nobody gave would be made of the path: v1_keys_retrieve.
    assert [name for name in names if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)] == []


@pytest.mark.parametrize(("path", "method", "told"), OPERATIONS, ids=IDS)
def test_an_operation_is_described(path: str, method: str, told: dict[str, Any]) -> None:
    assert method in METHODS
    assert told["summary"]
    assert told["tags"]
    assert "security" in told
    assert re.findall(r"{(\w+)}", path) == [each["name"] for each in told.get("parameters", []) if each["in"] == "path"]
    good = [status for status in told["responses"] if status.startswith("2")]
    assert good, "it never succeeds"
    for status in good:
        answer = resolved(told["responses"][status])
        assert "x-request-id" in answer["headers"]
        assert ("content" in answer) == (status != "204")


@pytest.mark.parametrize(("path", "method", "told"), OPERATIONS, ids=IDS)
def test_every_error_of_an_operation_has_the_one_shape(path: str, method: str, told: dict[str, Any]) -> None:
    for status, answer in told["responses"].items():
        if status.startswith("2") or path == "/readyz":  # which tells what is missing, in the shape of what is there
            continue
        content = resolved(answer)["content"]
        assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    if told["security"] and path != "/metrics":
        assert {"401", "default"} <= set(told["responses"])


def examples_in(part: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each example with the schema that it is one of."""
    if isinstance(part, list):
        for each in part:
            yield from examples_in(each)
    elif isinstance(part, dict):
        if "schema" in part:
            yield from ((each["value"], part["schema"]) for each in part.get("examples", {}).values())
            if "example" in part:
                yield part["example"], part["schema"]
        elif isinstance(part.get("examples"), list):
            yield from ((each, part) for each in part["examples"])
        for each in part.values():
            yield from examples_in(each)


def test_every_example_is_as_its_schema_says() -> None:
    found = list(examples_in(document()))
    assert len(found) >= 8
    for value, schema in found:
        assert_valid(value, schema)


def test_the_error_shape_names_the_codes_that_there_are() -> None:
    (codes, _) = document()["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["anyOf"]
    assert codes["enum"] == error_codes()
    assert {"INVALID_API_KEY", "SCOPE_REQUIRED", "MODEL_NOT_FOUND", "ALL_PROVIDERS_FAILED", "CONFLICT"} <= set(
        codes["enum"]
    )


def test_a_misspelt_member_of_an_answer_would_be_noticed() -> None:
    key = inlined({"$ref": "#/components/schemas/Key"}, closed=True)
    assert key["additionalProperties"] is False
    assert set(key["required"]) == set(key["properties"])


@pytest.mark.parametrize(
    ("method", "path", "url", "body", "status"),
    [
        ("GET", "/v1/keys", "/v1/keys?limit=0", None, 400),
        ("GET", "/v1/requests", "/v1/requests?unheard=of", None, 400),
        ("POST", "/v1/keys", "/v1/keys", {"name": 7}, 400),
        ("POST", "/v1/providers", "/v1/providers", {"name": "x", "family": "unheard of", "models": {"a": "b"}}, 400),
        ("GET", "/v1/keys/{key_id}", "/v1/keys/01a21235-38d2-723d-80b0-d22a1f7f8d85", None, 404),
        ("POST", "/v1/members", "/v1/members", {"email": "ada@acme.example", "role": "admin"}, 409),
    ],
)
def test_real_refusals_are_as_described(ada: Person, method: str, path: str, url: str, body: Any, status: int) -> None:
    answer = ada.browser.generic(
        method,
        url,
        json.dumps(body).encode() if body is not None else b"",
        content_type="application/json",
        headers={"authorization": f"Bearer {ada.key}"},
    )
    assert answer.status_code == status, answer.content
    assert_answer(method, path, status, dict(answer.headers.items()), answer.json())


def test_strangers_and_the_powerless_are_refused_as_described(ada: Person, vera: Person) -> None:
    for answer, status in ((call(None, "GET", "/v1/keys"), 401), (call(vera.key, "GET", "/v1/keys"), 403)):
        assert answer.status_code == status
        assert_answer("GET", "/v1/keys", status, dict(answer.headers.items()), answer.json())


def test_the_document_is_served_to_everybody_and_only_when_it_is_new(db: None) -> None:
    answer = Browser().get("/v1/openapi.json")
    assert answer.status_code == 200
    assert answer["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(document()))
    assert Browser().get("/v1/openapi.json", headers={"if-none-match": answer["etag"]}).status_code == 304
    assert Browser().post("/v1/openapi.json").status_code == 405
