"""The OpenAPI document as the tests use it: what an answer must look like, to the letter."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from nexus.openapi import document

Json = dict[str, Any]


def resolved(part: Any) -> Any:
    """Return a part of the document, looked up if it is a reference."""
    while isinstance(part, Mapping) and "$ref" in part:
        found: Any = document()
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def inlined(schema: Any, *, closed: bool) -> Any:
    """Return a schema without references; with `closed`, one in which a member that is not named is wrong."""
    schema = resolved(schema)
    if isinstance(schema, list):
        return [inlined(each, closed=closed) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {name: inlined(each, closed=closed) for name, each in schema.items() if name != "examples"}
    if closed and "properties" in made and isinstance(made["properties"], dict):
        made.setdefault("additionalProperties", False)
    return made


def assert_valid(value: Any, schema: Any, *, closed: bool = False) -> None:
    """Assert that a value is as a schema of the document says."""
    Draft202012Validator(inlined(schema, closed=closed), format_checker=FormatChecker()).validate(value)


def operation(method: str, path: str) -> Json:
    found: Json = document()["paths"][path][method.lower()]
    return found


def response(method: str, path: str, status: int) -> Json:
    """Return what the document says of an answer with a status."""
    known = operation(method, path)["responses"]
    found: Json = resolved(known.get(str(status), known.get("default")))
    assert found is not None, f"{method} {path} does not say that it may answer {status}"
    return found


def assert_answer(
    method: str, path: str, status: int, headers: Mapping[str, str], body: Any, *, closed: bool = True
) -> None:
    """Assert that an answer is one that the document describes: its status, headers, media type and members."""
    told = response(method, path, status)
    headers = {name.lower(): value for name, value in headers.items()}
    for name in told.get("headers", {}):
        shape = resolved(told["headers"][name])["schema"]
        if name in headers:
            assert_valid(_as(shape.get("type"), headers[name]), shape)
    ours = {name for name in headers if name.startswith(("x-nexus-", "x-ratelimit-"))}
    assert ours <= set(told.get("headers", {})), f"{method} {path} has headers that are not described"
    assert "x-request-id" in headers
    if "content" not in told:
        assert body in (None, b"", "")
        return
    media_type = headers["content-type"].partition(";")[0]
    assert media_type in told["content"]
    assert_valid(body, told["content"][media_type]["schema"], closed=closed)


def _as(kind: Any, value: str) -> Any:
    return int(value) if kind == "integer" else float(value) if kind == "number" else value
