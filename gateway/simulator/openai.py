"""The OpenAI API, and by the same code a server that is compatible with it.

`openai` refuses what OpenAI refuses. `openai_compatible` is a self-hosted server: it takes members that it does not
know, does not tell reasoning models apart when it checks parameters, and needs no key unless it was given one.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from gateway.simulator import (
    openai_chat,
    openai_chat_request,
    openai_completions,
    openai_embeddings,
    openai_responses,
    openai_responses_request,
)
from gateway.simulator import openai_members as members
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Headers, Refused, Reply, Request, Stream
from gateway.simulator.openai_errors import error_body, failure, invalid, model_not_found
from gateway.simulator.openai_members import Body

BASE_PATH = "/v1"
MODELS = (
    *("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "o3", "o3-mini"),
    *("gpt-3.5-turbo-instruct", "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"),
)
_MODELS_CREATED = 1715367049
_POSTED = {
    "/chat/completions": openai_chat_request.MEMBERS,
    "/completions": openai_completions.MEMBERS,
    "/embeddings": openai_embeddings.MEMBERS,
    "/responses": openai_responses_request.MEMBERS,
}


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


def authenticate(request: Request, api_key: str, *, optional: bool) -> None:
    """Check the Bearer token against the key, or that there is one. Raises Refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if token == api_key if api_key else token or optional:
        return
    message = (
        f"Incorrect API key provided: {_masked(token)}. You can find your API key at "
        "https://platform.openai.com/account/api-keys."
        if token
        else "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
        "auth (i.e. Authorization: Bearer YOUR_KEY)."
    )
    raise invalid(message, code="invalid_api_key", status=401)


def respond(request: Request, asked: Asked, circumstances: Circumstances, *, strict: bool) -> Reply | Stream:
    """Answer a request, with the headers that every answer of OpenAI's has. Raises Refused."""
    headers = _headers(circumstances)
    try:
        return replace(route(request, asked, circumstances, strict=strict), headers=headers)
    except Refused as refused:
        refused.reply = replace(refused.reply, headers=headers)
        raise


def route(request: Request, asked: Asked, circumstances: Circumstances, *, strict: bool) -> Reply | Stream:
    """Answer a request by its path. Raises Refused."""
    path = request.path.removeprefix(BASE_PATH)
    known = _POSTED.get(path)
    if known is None and path != "/models" and not path.startswith("/models/"):
        raise invalid(f"Invalid URL ({request.method} {request.path})", status=404)
    if request.method != ("GET" if known is None else "POST"):
        raise invalid(
            f"Not allowed to {request.method} on {request.path}. (HINT: Perhaps you meant to use a different HTTP "
            "method?)",
            code="method_not_supported",
            status=405,
        )
    if known is None:
        return _models(asked, listed=path == "/models")
    body = _checked_body(request, asked, known, strict=strict)
    if path == "/chat/completions":
        return openai_chat.complete(asked, body, circumstances, strict=strict)
    if path == "/completions":
        return openai_completions.complete(asked, body, circumstances)
    if path == "/responses":
        return openai_responses.respond(asked, body, circumstances)
    return openai_embeddings.embed(asked, body, circumstances)


def _checked_body(request: Request, asked: Asked, known: frozenset[str], *, strict: bool) -> Body:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise invalid(
            f"Unsupported content type: '{content_type}'. This API method only accepts 'application/json' requests, "
            "but you specified the header 'Content-Type'.",
            code="unsupported_content_type",
        )
    body = asked.body
    if not isinstance(body, dict):
        raise invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    unknown = sorted(set(body) - known) if strict else None
    if unknown:
        raise invalid(
            f"Unrecognized request argument supplied: {unknown[0]}", param=unknown[0], code="unknown_parameter"
        )
    if members.text(body, "model") is None or not asked.model:
        raise invalid("you must provide a model parameter")
    _check_model(asked.model)
    return body


def _check_model(model: str) -> None:
    if "missing" in model or "does-not-exist" in model:
        raise model_not_found(model)


def _models(asked: Asked, *, listed: bool) -> Reply:
    if listed:
        return Reply(200, msgspec.json.encode({"object": "list", "data": [_model(name) for name in MODELS]}))
    _check_model(asked.model)
    return Reply(200, msgspec.json.encode(_model(asked.model)))


def _model(name: str) -> Body:
    return {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "simulated"}


def _masked(token: str) -> str:
    """Return what OpenAI shows of a wrong key."""
    return "*" * len(token) if len(token) < 12 else f"{token[:4]}{'*' * (len(token) - 8)}{token[-4:]}"


def _headers(circumstances: Circumstances) -> Headers:
    return (
        ("x-request-id", f"req_{circumstances.token}"),
        ("openai-organization", "org-simulated"),
        ("openai-processing-ms", str(circumstances.latency_ms)),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "1999000"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "30ms"),
    )


_ERROR = error_body(
    "The server had an error while processing your request. Sorry about that!", "server_error", None, None
)

OPENAI = Dialect(
    family="openai",
    base_path=BASE_PATH,
    look=look,
    authenticate=partial(authenticate, optional=False),
    answer=partial(respond, strict=True),
    failure=failure,
    quota_failure=Reply(
        429,
        error_body(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            None,
            "insufficient_quota",
        ),
    ),
    error_event=b"data: %b\n\n" % _ERROR,
    bad_event=b'data: {"id":"chatcmpl-simulated","object":"chat.completion.chunk","choices":[{"ind\n\n',
    unknown_event=b'event: simulated.unknown\ndata: {"object":"simulated.unknown","note":"nobody knows this"}\n\n',
    keep_alive=b": keep-alive\n\n\n",
)

OPENAI_COMPATIBLE = replace(
    OPENAI,
    family="openai_compatible",
    authenticate=partial(authenticate, optional=True),
    answer=partial(respond, strict=False),
)
