"""The Cohere API, version 2: a format, events and units of usage of its own."""

from dataclasses import replace
from typing import Any

import msgspec

from gateway.simulator import cohere_chat, openai
from gateway.simulator import cohere_members as members
from gateway.simulator.cohere_errors import QUOTA_FAILURE, failure, invalid
from gateway.simulator.cohere_members import Body
from gateway.simulator.content import tokens
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Headers, Kind, Refused, Reply, Request, Stream
from gateway.simulator.openai_embeddings import packed
from gateway.simulator.vectors import vector

MODELS = ("command-a-03-2025", "command-a-reasoning-08-2025", "command-a-vision-07-2025", "command-r7b-12-2024")
EMBEDDING_MODELS = ("embed-v4.0", "embed-english-v3.0", "embed-multilingual-v3.0")
MAX_TEXTS = 96
_EMBED_MEMBERS = frozenset(
    (
        *("model", "input_type", "texts", "images", "inputs", "max_tokens", "output_dimension", "embedding_types"),
        *("truncate", "priority"),
    )
)
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
_TYPES = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_DIMENSIONS = (256, 512, 1024, 1536)


def authenticate(request: Request, api_key: str) -> None:
    """Check the Bearer token against the key, or that there is one. Raises Refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if not token:
        raise invalid("no api key supplied", 401)
    if api_key and token != api_key:
        raise Refused(failure(401, None))


def respond(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request, with the headers that every answer of Cohere's has. Raises Refused."""
    headers = _headers(circumstances)
    try:
        return replace(_route(request, asked, circumstances), headers=headers)
    except Refused as refused:
        refused.reply = replace(refused.reply, headers=headers)
        raise


def _route(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    if request.path == "/v1/models" or request.path.startswith("/v1/models/"):
        return _models(asked, listed=request.path == "/v1/models")
    if request.path not in ("/v2/chat", "/v2/embed"):
        raise invalid("page not found", 404)
    if request.method != "POST":
        raise invalid("method not allowed", 405)
    body = asked.body
    if not isinstance(body, dict):
        raise invalid("invalid request: the body is not valid JSON.")
    members.required(body, "model")
    members.text(body, "model")
    _check_model(asked.model)
    if request.path == "/v2/embed":
        return _embed(asked, body, circumstances)
    return cohere_chat.complete(asked, body, circumstances)


def _check_model(model: str) -> None:
    if not model or "missing" in model or "does-not-exist" in model:
        raise invalid(
            f"model '{model}' not found, make sure the correct model ID was used and that you have access to the "
            "model.",
            404,
        )


def _embed(asked: Asked, body: Body, circumstances: Circumstances) -> Reply:
    members.nothing_else(body, _EMBED_MEMBERS)
    members.required(body, "input_type")
    members.one_of(body, "input_type", _INPUT_TYPES)
    texts = members.texts(body, "texts", MAX_TEXTS)
    if not texts:
        raise invalid("invalid request: at least one of texts, images or inputs is required.")
    members.one_of(body, "truncate", ("NONE", "START", "END"))
    kinds = members.texts(body, "embedding_types", len(_TYPES)) or ("float",)
    if not set(kinds) <= {"float", "base64"}:
        raise invalid(f"invalid request: the simulator gives float and base64, not {sorted(kinds)}.")
    dimensions = members.integer(body, "output_dimension", 1, max(_DIMENSIONS))
    if dimensions is not None and dimensions not in _DIMENSIONS:
        raise invalid(f"invalid request: output_dimension must be one of {list(_DIMENSIONS)}.")
    vectors = [vector(text, dimensions or (1024 if "v3" in asked.model else 1536)) for text in texts]
    given: dict[str, Any] = {"float": vectors, "base64": [packed(numbers) for numbers in vectors]}
    meta: Body = {"api_version": {"version": "2"}}
    if circumstances.with_usage:
        meta["billed_units"] = {"input_tokens": sum(map(tokens, texts))}
    content = {
        "id": circumstances.token,
        "embeddings": {kind: given[kind] for kind in kinds},
        "texts": list(texts),
        "meta": meta,
        "response_type": "embeddings_by_type",
    }
    return Reply(200, msgspec.json.encode(content))


def _models(asked: Asked, *, listed: bool) -> Reply:
    if listed:
        models = [_model(name) for name in (*MODELS, *EMBEDDING_MODELS)]
        return Reply(200, msgspec.json.encode({"models": models}))
    _check_model(asked.model)
    return Reply(200, msgspec.json.encode(_model(asked.model)))


def _model(name: str) -> Body:
    endpoints = ["embed"] if "embed" in name else ["chat", "generate"]
    return {"name": name, "endpoints": endpoints, "finetuned": False, "context_length": 256000, "is_deprecated": False}


def _headers(circumstances: Circumstances) -> Headers:
    return (
        ("x-debug-trace-id", circumstances.token),
        ("x-api-warning", "this answer is simulated"),
        ("x-endpoint-monthly-call-limit", "1000"),
        ("x-trial-endpoint-call-limit", "40"),
        ("x-trial-endpoint-call-remaining", "39"),
    )


COHERE = Dialect(
    family="cohere",
    base_path="",
    look=openai.look,
    authenticate=authenticate,
    answer=respond,
    failure=failure,
    quota_failure=QUOTA_FAILURE,
    error_event=(
        b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR",'
        b'"error":"internal server error, this has been reported to our developers."}}\n\n'
    ),
    bad_event=b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"mess\n\n',
    unknown_event=b'event: simulated-unknown\ndata: {"type":"simulated-unknown","note":"nobody knows this"}\n\n',
    keep_alive=b": keep-alive\n\n",
    end_marker=Kind.FINISH_WITH_USAGE,
)
