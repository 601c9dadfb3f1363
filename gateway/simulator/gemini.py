"""The Gemini API of Google AI Studio, and Vertex AI's: the same bodies under other addresses and credentials.

`/v1beta/models/{model}:{method}` takes an API key, `/v1/projects/{p}/locations/{l}/publishers/google/models/{model}:
{method}` an OAuth token. A stream has no end marker but the finish reason of its last response. In a prompt, the words
`simulate blockReason SAFETY` and `simulate finishReason SPII` bring about what Google's filters do.
"""

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import msgspec

from gateway.simulator import gemini_embeddings
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Kind, Refused, Reply, Request, Stream
from gateway.simulator.gemini_answer import CONTENT_TYPE, streamed, whole
from gateway.simulator.gemini_errors import error_body, failure, invalid, model_not_found, quota_failure
from gateway.simulator.gemini_messages import Body, read
from gateway.simulator.gemini_request import checked, is_thinking, prompt_tokens

MODELS = (
    *("gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3-flash-preview"),
    *("gemini-3.1-pro-preview", "gemini-embedding-001", "text-embedding-004"),
)
_VERSION = r"/(v1|v1beta|v1alpha|v1beta1)"
_STUDIO = re.compile(_VERSION + r"/models(?:/([^/]+))?\Z")
_VERTEX = re.compile(_VERSION + r"/(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models(?:/([^/]+))?\Z")
_NOT_FOUND = (
    b"<!DOCTYPE html>\n<title>Error 404 (Not Found)!!1</title>\n<p><b>404.</b> The requested URL was not found.\n"
)
_TEXT_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_EMBEDDING_METHODS = {
    "embedContent": gemini_embeddings.embed_content,
    "batchEmbedContents": gemini_embeddings.batch_embed_contents,
}


def look(request: Request) -> Asked:
    """Read what can be read of a request, whatever its state: model and method stand in the path."""
    _, found, last = request.path.partition("/models/")
    model, _, method = last.rpartition(":") if request.method == "POST" else (last, "", "")
    if not request.body:
        return Asked(model if found else "")
    try:
        body: Any = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Asked(model if found else "")
    return Asked(model if found else "", method == "streamGenerateContent", body)


def authenticate(request: Request, api_key: str) -> None:
    """Check the credential: an API key for AI Studio, a token for Vertex AI. Raises Refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if _VERTEX.match(request.path):
        if not token or (api_key and token != api_key):
            raise Refused(failure(401, None))
        return
    key = request.headers.get("x-goog-api-key") or (parse_qs(request.query).get("key") or [""])[0]
    if token and not key:
        key = token
    if not key:
        raise invalid(
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API.",
            code=403,
        )
    if api_key and key != api_key:
        raise invalid("API key not valid. Please pass a valid API key.", reason="API_KEY_INVALID")


def respond(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request, with the headers that every answer of Google's has. Raises Refused."""
    headers = (
        ("server", "scaffolding on HTTPServer2"),
        ("server-timing", f"gfet4t7; dur={circumstances.latency_ms}"),
        ("vary", "Origin, X-Origin, Referer"),
        ("x-content-type-options", "nosniff"),
    )
    try:
        return replace(_route(request, asked, circumstances), headers=headers)
    except Refused as refused:
        refused.reply = replace(refused.reply, headers=headers)
        raise


def _route(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    vertex = _VERTEX.match(request.path)
    matched = vertex or _STUDIO.match(request.path)
    named = matched[2] if matched else None
    method = named.rpartition(":")[2] if named and ":" in named and request.method == "POST" else ""
    if matched is None or request.method not in ("GET", "POST") or (request.method == "POST" and not method):
        return Reply(404, _NOT_FOUND, content_type="text/html; charset=UTF-8")
    model, version = asked.model, matched[1]
    if "missing" in model or "does-not-exist" in model:
        raise model_not_found(model, version, method or "this method")
    if request.method == "GET":
        if named:
            return _json(_model(model))
        return _publisher_models() if vertex else _models(request)
    if request.body and asked.body is None:
        raise invalid("Invalid JSON payload received. Unexpected token.")
    body = {} if asked.body is None else asked.body
    embedding = "embedding" in model
    if not embedding and method in _TEXT_METHODS:
        return _generate(request, asked, method, body, circumstances)
    if vertex and embedding and method == "predict":
        return gemini_embeddings.predict(model, body, circumstances)
    if embedding and method in _EMBEDDING_METHODS:
        return _EMBEDDING_METHODS[method](model, body, circumstances)
    raise model_not_found(model, version, method)


def _generate(request: Request, asked: Asked, method: str, body: Any, circumstances: Circumstances) -> Reply | Stream:
    if method == "countTokens":
        counted = read("CountTokensRequest", body)
        return _json({"totalTokens": prompt_tokens(counted.get("generateContentRequest", counted))})
    generation = checked(asked.model, body, circumstances)
    if method == "generateContent":
        return whole(generation, circumstances)
    sse = "sse" in parse_qs(request.query).get("alt", [])
    return streamed(generation, circumstances, sse=sse)


def _models(request: Request) -> Reply:
    asked = parse_qs(request.query)
    size, start = asked.get("pageSize", ["50"])[0], asked.get("pageToken", ["0"])[0]
    if not size.isascii() or not size.isdigit() or not start.isascii() or not start.isdigit():
        raise invalid("Invalid page size or page token.")
    end = int(start) + min(int(size) or 50, 1000)
    page: Body = {"models": [_model(name) for name in MODELS[int(start) : end]]}
    return _json(page | ({"nextPageToken": str(end)} if end < len(MODELS) else {}))


def _publisher_models() -> Reply:
    named = ({"name": f"publishers/google/models/{name}", "versionId": "default"} for name in MODELS)
    return _json({"publisherModels": list(named)})


def _model(name: str) -> Body:
    embedding = "embedding" in name
    return {
        "name": f"models/{name}",
        "version": "simulated",
        "displayName": f"{name} (simulated)",
        "description": "A simulated model.",
        "inputTokenLimit": 2048 if embedding else 1048576,
        "outputTokenLimit": 1 if embedding else 65536,
        "supportedGenerationMethods": list(_EMBEDDING_METHODS) if embedding else list(_TEXT_METHODS),
        **({} if embedding else {"temperature": 1, "maxTemperature": 2, "thinking": is_thinking(name)}),
    }


def _json(content: Body) -> Reply:
    return Reply(200, msgspec.json.encode(content), content_type=CONTENT_TYPE)


GEMINI = Dialect(
    family="gemini",
    base_path="",
    look=look,
    authenticate=authenticate,
    answer=respond,
    failure=failure,
    quota_failure=quota_failure(),
    error_event=b"data: %b\r\n\r\n"
    % error_body(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
    bad_event=b'data: {"candidates":[{"content":{"parts":[{"tex\r\n\r\n',
    unknown_event=b'data: {"simulatedUnknown":{"note":"nobody knows this"}}\r\n\r\n',
    keep_alive=b"\r\n\r\n",  # Google sends nothing of the kind, and its SDK takes no comments
    end_marker=Kind.FINISH_WITH_USAGE,
)
