"""Anthropic's Messages API, in both of its versions, with the list of models and the counting of tokens.

Facts: https://platform.claude.com/docs/en/api (messages, streaming, errors, versioning, rate limits).
"""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import msgspec

from gateway.simulator import anthropic_answer, anthropic_members
from gateway.simulator.anthropic_errors import QUOTA_FAILURE, error_body, failure, invalid, missing, refused
from gateway.simulator.anthropic_members import Body
from gateway.simulator.anthropic_messages import NEWEST_VERSION
from gateway.simulator.anthropic_models import MODELS, listed
from gateway.simulator.anthropic_request import MEMBERS, checked_prompt
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Headers, Refused, Reply, Request, Stream

VERSIONS = ("2023-01-01", "2023-06-01", NEWEST_VERSION)
MAX_BODY_BYTES = 32 * 1024 * 1024
_COUNTED_MEMBERS = MEMBERS - {"max_tokens", "stream", "stop_sequences", "metadata", "service_tier", "container"}
_POSTED = {"/v1/messages": MEMBERS, "/v1/messages/count_tokens": _COUNTED_MEMBERS}
_PAGE = 20  # models


def look(request: Request) -> Asked:
    """Read what can be read of a request, whatever its state."""
    if not request.body:
        _, found, model = request.path.partition("/models/")
        return Asked(model=model if found else "")
    try:
        body: Any = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Asked()
    if not isinstance(body, dict):
        return Asked(body=body)
    named = body.get("model")
    return Asked(named if isinstance(named, str) else "", body.get("stream") is True, body)


def authenticate(request: Request, api_key: str) -> None:
    """Check `x-api-key`, or else the Bearer token, against the key, or that there is one. Raises Refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("x-api-key", "") or (token.strip() if scheme.lower() == "bearer" else "")
    if not given:
        raise refused(401, "x-api-key header is required")
    if api_key and given != api_key:
        raise refused(401, "invalid x-api-key" if "x-api-key" in request.headers else "Invalid bearer token")


def respond(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request, with the headers that every answer of Anthropic's has. Raises Refused."""
    headers = _headers(circumstances)
    try:
        return replace(_route(request, asked, circumstances), headers=headers)
    except Refused as refusal:
        refusal.reply = replace(refusal.reply, headers=headers)
        raise


def _route(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    path = request.path
    known = _POSTED.get(path)
    if known is None and path != "/v1/models" and not path.startswith("/v1/models/"):
        raise refused(404, "Not Found")
    version = _checked_version(request)
    if request.method != ("GET" if known is None else "POST"):
        raise refused(405, "Method Not Allowed")
    if known is None:
        return _page(request) if path == "/v1/models" else _one(asked.model)
    body = _checked_body(request, asked, known)
    if path == "/v1/messages":
        return anthropic_answer.complete(asked, body, circumstances, version)
    return Reply(200, msgspec.json.encode({"input_tokens": checked_prompt(asked, body, version)}))


def _checked_version(request: Request) -> str:
    version = request.headers.get("anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(f'anthropic-version: "{version}" is not a valid version')
    return version


def _checked_body(request: Request, asked: Asked, known: frozenset[str]) -> Body:
    if len(request.body) > MAX_BODY_BYTES:
        raise refused(413, "Request exceeds the maximum size")
    body = asked.body
    if body is None:
        raise invalid("The request body is not valid JSON: expected value: line 1 column 1 (char 0)")
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary or object to extract fields from")
    anthropic_members.only(body, known)
    if anthropic_members.text(body, "model", "model") is None:
        raise missing("model")
    if not asked.model:
        raise invalid("model: String should have at least 1 character")
    _check_model(asked.model)
    return body


def _check_model(model: str) -> None:
    if "missing" in model or "does-not-exist" in model:
        raise refused(404, f"model: {model}")


def _page(request: Request) -> Reply:
    """List the models, newest first, a page at a time."""
    query = parse_qs(request.query)
    names = list(MODELS)
    after = query.get("after_id", [""])[0]
    start = names.index(after) + 1 if after in names else 0
    limit = query.get("limit", [str(_PAGE)])[0]
    if not limit.isdigit() or not 1 <= int(limit) <= 1000:
        raise invalid("limit: Input should be a valid integer from 1 to 1000")
    page = names[start : start + int(limit)]
    content = {
        "data": [listed(name) for name in page],
        "has_more": start + int(limit) < len(names),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
    return Reply(200, msgspec.json.encode(content))


def _one(model: str) -> Reply:
    _check_model(model)
    return Reply(200, msgspec.json.encode(listed(model)))


def _headers(circumstances: Circumstances) -> Headers:
    return (
        ("request-id", f"req_{circumstances.token[:24]}"),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2026-10-21T00:00:00Z"),
        ("anthropic-ratelimit-input-tokens-limit", "2000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
        ("anthropic-ratelimit-output-tokens-limit", "400000"),
        ("anthropic-ratelimit-output-tokens-remaining", "399000"),
    )


ANTHROPIC = Dialect(
    family="anthropic",
    base_path="",
    look=look,
    authenticate=authenticate,
    answer=respond,
    failure=failure,
    quota_failure=QUOTA_FAILURE,
    error_event=b"event: error\ndata: %b\n\n" % error_body("overloaded_error", "Overloaded"),
    bad_event=b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n',
    unknown_event=b'event: simulated_unknown\ndata: {"type":"simulated_unknown","note":"nobody knows this"}\n\n',
    keep_alive=b'event: ping\ndata: {"type": "ping"}\n\n',
)
