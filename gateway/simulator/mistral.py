"""The Mistral API: near to OpenAI's, and strict about what it does not know."""

from dataclasses import replace
from typing import Any

import msgspec

from gateway.simulator import mistral_chat, mistral_members, openai
from gateway.simulator.content import tokens
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Headers, Refused, Reply, Request, Stream
from gateway.simulator.mistral_errors import api_error, failure, invalid, misfit
from gateway.simulator.mistral_members import Body
from gateway.simulator.openai_embeddings import packed
from gateway.simulator.vectors import vector

MODELS = (
    *("mistral-large-latest", "mistral-medium-latest", "mistral-small-latest", "ministral-8b-latest"),
    *("magistral-medium-latest", "codestral-latest", "pixtral-large-latest", "mistral-embed", "codestral-embed"),
)
_EMBEDDING_MEMBERS = frozenset(("model", "input", "metadata", "output_dimension", "output_dtype", "encoding_format"))
_MODELS_CREATED = 1752000000
_DIMENSIONS = {"mistral-embed": 1024}
_MOST_DIMENSIONS = 3072
_POSTED = ("/chat/completions", "/embeddings")


def authenticate(request: Request, api_key: str) -> None:
    """Check the Bearer token against the key, or that there is one. Raises Refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if not token or (api_key and token != api_key):
        raise Refused(failure(401, None))


def respond(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request, with the headers that every answer of Mistral's has. Raises Refused."""
    headers = _headers(circumstances)
    try:
        return replace(_route(request, asked, circumstances), headers=headers)
    except Refused as refused:
        refused.reply = replace(refused.reply, headers=headers)
        raise


def _route(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    path = request.path.removeprefix(openai.BASE_PATH)
    if path == "/models" or path.startswith("/models/"):
        return _models(asked, listed=path == "/models")
    if path not in _POSTED or request.path == path:
        raise Refused(Reply(404, b'{"detail":"Not Found"}'))
    if request.method != "POST":
        raise Refused(Reply(405, b'{"detail":"Method Not Allowed"}'))
    body = asked.body
    if not isinstance(body, dict):
        raise misfit("json_invalid", (0,), "JSON decode error", {})
    mistral_members.required(body, "model")
    mistral_members.text(body, "model")
    _check_model(asked.model)
    if path == "/embeddings":
        return _embed(asked, body, circumstances)
    return mistral_chat.complete(asked, body, circumstances)


def _check_model(model: str) -> None:
    if not model or "missing" in model or "does-not-exist" in model:
        raise invalid(f"Invalid model: {model}", "invalid_model", "1500")


def _embed(asked: Asked, body: Body, circumstances: Circumstances) -> Reply:
    mistral_members.nothing_else(body, _EMBEDDING_MEMBERS)
    mistral_members.required(body, "input")
    texts = mistral_members.texts(body, "input")
    encoding = mistral_members.one_of(body, "encoding_format", ("float", "base64"))
    mistral_members.one_of(body, "output_dtype", ("float", "int8", "uint8", "binary", "ubinary"))
    dimensions = mistral_members.integer(body, "output_dimension", 1, _MOST_DIMENSIONS)
    if dimensions is not None and asked.model in _DIMENSIONS:
        raise invalid("This model does not support output_dimension", "invalid_request_error")
    vectors = [vector(text, dimensions or _DIMENSIONS.get(asked.model, 1536)) for text in texts]
    content: dict[str, Any] = {
        "id": circumstances.token,
        "object": "list",
        "model": asked.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": packed(numbers) if encoding == "base64" else numbers}
            for index, numbers in enumerate(vectors)
        ],
    }
    if circumstances.with_usage:
        counted = sum(map(tokens, texts))
        content["usage"] = {"prompt_tokens": counted, "total_tokens": counted, "completion_tokens": 0}
    return Reply(200, msgspec.json.encode(content))


def _models(asked: Asked, *, listed: bool) -> Reply:
    if listed:
        return Reply(200, msgspec.json.encode({"object": "list", "data": [_model(name) for name in MODELS]}))
    if "missing" in asked.model:
        raise Refused(api_error(404, f"Model {asked.model} not found", "not_found", None))
    return Reply(200, msgspec.json.encode(_model(asked.model)))


def _model(name: str) -> Body:
    capabilities = {"completion_chat": "embed" not in name, "function_calling": "embed" not in name}
    return {
        "id": name,
        "object": "model",
        "created": _MODELS_CREATED,
        "owned_by": "mistralai",
        "capabilities": {**capabilities, "reasoning": name.startswith("magistral"), "vision": "embed" not in name},
        "max_context_length": 131072,
        "type": "base",
    }


def _headers(circumstances: Circumstances) -> Headers:
    return (
        ("mistral-correlation-id", circumstances.token),
        ("x-kong-request-id", circumstances.token[::-1]),
        ("x-envoy-upstream-service-time", str(circumstances.latency_ms)),
        ("x-ratelimit-limit-tokens-minute", "500000"),
        ("x-ratelimit-remaining-tokens-minute", "499990"),
    )


MISTRAL = Dialect(
    family="mistral",
    base_path="",
    look=openai.look,
    authenticate=authenticate,
    answer=respond,
    failure=failure,
    quota_failure=api_error(
        429, "Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"
    ),
    # Its SDK takes no chunk with an error in it: what fails in the midst of a stream finishes by "error".
    error_event=(
        b'data: {"id":"simulated","object":"chat.completion.chunk","created":0,"model":"simulated",'
        b'"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n'
    ),
    bad_event=b'data: {"id":"simulated","object":"chat.completion.chunk","choices":[{"ind\n\n',
    unknown_event=b": an event of its own would break Mistral's SDK\n\n",
    keep_alive=b": keep-alive\n\n",
)
