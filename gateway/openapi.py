"""The data plane's part of the OpenAPI document: its paths, answers, headers and errors.

The document's generator finds REST framework's views; these are none. A test holds this list to the URL table.
"""

from typing import Any

from gateway.openapi_shapes import EXAMPLES, Json, ref, schemas, text, whole
from gateway.schema import SCOPES, Endpoint
from nexus.openapi import ANY_OTHER, REFUSALS, error_response, header

_INFERENCE, _OPERATION = "Inference", "Operation"
_ROUTED = {
    "x-nexus-provider": text("The family of the provider that answered, or was tried last."),
    "x-nexus-model": text("The model's name at that provider."),
    "x-nexus-attempt": whole("How many candidates were considered, one skipped by its circuit included.", minimum=1),
    "x-nexus-route": text("Every candidate in order with its fate: `openai=circuit_open;openai_compatible=200`."),
    "x-nexus-latency-ms": whole("Milliseconds to the provider's response headers.", minimum=0),
    "x-nexus-overhead-ms": {"type": "number", "description": "Milliseconds that the gateway took.", "minimum": 0},
    "x-nexus-cost-usd": text("What it cost, a decimal; not on streams, nor where no price is known."),
    "x-nexus-dropped-params": text("Members of the request that this provider has no word for, and never saw."),
    "x-nexus-simulated": text("`true`: a simulator answered, no model."),
    # Those of limits are on answers to keys that have the limit.
    "x-nexus-quota-remaining": whole("Requests that are left of the month.", minimum=0),
    "x-ratelimit-limit-requests": whole("The key's `rpm`.", minimum=1),
    "x-ratelimit-remaining-requests": whole("What is left of it.", minimum=0),
    "x-ratelimit-reset-requests": text("How long until the minute is over: `17s`."),
    "x-ratelimit-limit-tokens": whole("The key's `tpm`.", minimum=1),
    "x-ratelimit-remaining-tokens": whole("What is left of it.", minimum=0),
    "x-ratelimit-reset-tokens": text("How long until the minute is over: `17s`."),
    "idempotency-replayed": text("`true`: the answer to an earlier request with the same `Idempotency-Key`."),
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "For 24 hours the same key and request get the first one's answer again, for nothing. A key belongs to one API "
        "key and is good for one request."
    ),
    "schema": text(minLength=1, maxLength=255, pattern="^[ -~]+$"),
}
# What the data plane's own errors are called: they have headers that the management API's have not.
_FAILURES = {
    **{status: (f"Gateway{name}", told) for status, (name, told) in REFUSALS.items()},
    408: ("TooSlow", "The request did not arrive in time, or every provider said so (`REQUEST_TIMEOUT`)."),
    409: (
        "Twin",
        "The first request with this `Idempotency-Key` still runs (`IDEMPOTENCY_IN_PROGRESS`; see `retry-after`), "
        "or its answer is not to be had any more (`IDEMPOTENCY_ANSWER_GONE`).",
    ),
    413: ("TooLarge", "The body is larger than this installation takes (`BODY_TOO_LARGE`)."),
    415: ("Encoded", "The body is no JSON (`UNSUPPORTED_MEDIA_TYPE`) or compressed (`UNSUPPORTED_ENCODING`)."),
    422: (
        "KeyReused",
        "The `Idempotency-Key` was used for another request (`IDEMPOTENCY_KEY_REUSED`); or the provider refused.",
    ),
    429: (
        "Limited",
        "The key's monthly quota is used up (`QUOTA_EXCEEDED`), or the key or every provider is limited at the moment "
        "(`RATE_LIMITED`); see `retry-after`, and `error.nexus.limit` for a limit of the key's.",
    ),
    500: ("Fault", "A fault of the gateway's own, with its request id in the log (`INTERNAL_ERROR`)."),
    502: (
        "ProvidersFailed",
        "No provider could answer (`ALL_PROVIDERS_FAILED`), or all refused the gateway's own credentials "
        "(`PROVIDER_AUTH_FAILED`). `error.nexus.attempts` tells of each.",
    ),
    503: (
        "Unavailable",
        "The circuit of every provider is open (`NO_PROVIDER_AVAILABLE`), the gateway is starting "
        "(`SERVICE_STARTING`), or what is left of a quota (`COUNTERS_UNAVAILABLE`) or became of an `Idempotency-Key` "
        "(`IDEMPOTENCY_UNAVAILABLE`) cannot be told; see `retry-after`.",
    ),
    504: ("ProvidersTimedOut", "The last provider did not answer in time (`PROVIDER_TIMEOUT`)."),
}
_OTHER = (f"Gateway{ANY_OTHER[0]}", "Any other error, in the same shape: a refusal of the provider's own, for one.")
_STREAM = """The same as server-sent events: `data: ` and a {chunk} each, passed on the moment they come. A whole answer
ends with `data: [DONE]`. One that breaks off after its first content ends with an event that has `error` (code
`STREAM_INTERRUPTED`), without finish reason and without `[DONE]`."""
_EVENTS = """The same as server-sent events, each with its `event` and a `ResponseEvent`, passed on as they come.
A whole answer ends with `response.completed` or `response.incomplete`; one that breaks off, with `error` (code
`STREAM_INTERRUPTED`)."""
_EVENTS_EXAMPLE = 'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{}}\n\n'
_MESSAGE = """The same as Anthropic's events, passed on the moment they come. A whole answer ends with `message_stop`.
One that breaks off after its first content ends with an `error` event (code `STREAM_INTERRUPTED`)."""
_MESSAGE_EXAMPLE = 'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_STREAM_EXAMPLE = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[]}\n\ndata: [DONE]\n\n'


def add_data_plane(result: Json, **_: Any) -> Json:
    """Add what the data plane answers to the document (drf-spectacular's hook)."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas())
    told = {name: {**shape} for name, shape in _ROUTED.items()}
    components.setdefault("headers", {}).update(
        {name: {"description": shape.pop("description"), "schema": shape} for name, shape in told.items()}
    )
    components.setdefault("securitySchemes", {})["operatorToken"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "The operator's NEXUS_METRICS_TOKEN.",
    }
    components.setdefault("responses", {}).update(
        {name: _routed(error_response(words)) for name, words in (*_FAILURES.values(), _OTHER)}
    )
    result["paths"] = {**_inference(), **_models(), **result.get("paths", {}), **_operation()}
    return result


def _inference() -> Json:
    return {
        "/v1/chat/completions": _model_call(
            Endpoint.CHAT, "createChatCompletion", "Answer a conversation", "ChatCompletion", "ChatCompletionChunk"
        ),
        "/v1/completions": _model_call(
            Endpoint.COMPLETIONS, "createCompletion", "Go on with a text", "Completion", "Completion"
        ),
        "/v1/embeddings": _model_call(
            Endpoint.EMBEDDINGS, "createEmbeddings", "Turn texts into vectors", "EmbeddingList", None
        ),
        "/v1/responses": _model_call(
            Endpoint.RESPONSES, "createResponse", "Answer by items", "Response", "ResponseEvent"
        ),
        "/v1/messages": _model_call(
            Endpoint.MESSAGES, "createMessage", "Answer a conversation for Anthropic's clients", "Message", "Message"
        ),
        "/v1/messages/count_tokens": _model_call(
            Endpoint.COUNT_TOKENS, "countTokens", "Estimate the tokens of a request", "TokenCount", None
        ),
    }


_REQUESTS = {
    Endpoint.CHAT: "ChatCompletionRequest",
    Endpoint.COMPLETIONS: "CompletionRequest",
    Endpoint.EMBEDDINGS: "EmbeddingRequest",
    Endpoint.RESPONSES: "ResponseRequest",
    Endpoint.MESSAGES: "MessagesRequest",
    Endpoint.COUNT_TOKENS: "TokenCountRequest",
}


def _model_call(endpoint: Endpoint, name: str, summary: str, answer: str, chunk: str | None) -> Json:
    content: Json = {"application/json": {"schema": ref(answer)}}
    if endpoint is Endpoint.RESPONSES:
        content["text/event-stream"] = {"schema": text(_EVENTS), "example": _EVENTS_EXAMPLE}
    elif endpoint is Endpoint.MESSAGES:
        content["text/event-stream"] = {"schema": text(_MESSAGE), "example": _MESSAGE_EXAMPLE}
    elif chunk is not None:
        told = _STREAM.format(chunk=f"`{chunk}`")
        content["text/event-stream"] = {"schema": text(told), "example": _STREAM_EXAMPLE}
    request = _REQUESTS[endpoint]
    body = {"schema": ref(request), "examples": EXAMPLES[request]}
    operation = {
        "operationId": name,
        "summary": summary,
        "description": (
            "The candidates are tried in the order of their weights until one answers; see the answer's headers. A "
            f"refusal of the provider's own comes with its status and message.\n\nScope: `{SCOPES[endpoint]}`."
        ),
        "tags": [_INFERENCE],
        "security": [{"apiKey": []}],
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": _routed({"description": "The answer.", "content": content}),
            **_errors(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504),
        },
    }
    return {"post": operation}


def _errors(*statuses: int) -> Json:
    named = {str(status): _FAILURES[status][0] for status in statuses} | {"default": _OTHER[0]}
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in named.items()}


def _routed(response: Json) -> Json:
    named = {name: header(name) for name in ("x-request-id", *_ROUTED)}
    return {**response, "headers": {**response.get("headers", {}), **named}}


def _models() -> Json:
    name = {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "A public model name, which may hold slashes.",
        "schema": text(minLength=1),
    }
    return {
        "/v1/models": {"get": _small("listModels", "List the models", "ModelList", 401, 503)},
        "/v1/models/{model}": {
            "get": {**_small("getModel", "Show a model", "Model", 401, 404, 503), "parameters": [name]}
        },
    }


def _small(name: str, summary: str, answer: str, *failures: int) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "description": "Every live key of the tenant may call it.",
        "tags": [_INFERENCE],
        "security": [{"apiKey": []}],
        "responses": {"200": _answer(ref(answer)), **_errors(*failures)},
    }


def _operation() -> Json:
    not_ready = {**_answer(ref("Readiness")), "description": "There is no configuration to serve with yet."}
    metrics = {"text/plain": {"schema": text("Prometheus' text format.")}}
    told = "For `NEXUS_METRICS_TOKEN` as a Bearer token; without that setting for programs on the same machine."
    return {
        "/healthz": {"get": _probe("getHealth", "Whether the process serves", {"200": _answer(ref("Alive"))})},
        "/readyz": {
            "get": _probe(
                "getReadiness",
                "What the process depends on, each with `ok` and `detail`",
                {"200": _answer(ref("Readiness")), "503": not_ready},
            )
        },
        "/metrics": {
            "get": {
                **_probe(
                    "getMetrics",
                    "The numbers of all workers of the machine",
                    {"200": {**_answer({}), "content": metrics}, **_errors(401, 403)},
                ),
                "description": told,
                "security": [{"operatorToken": []}, {}],
            }
        },
        "/v1/openapi.json": {
            "get": _probe("getOpenapi", "This document", {"200": _answer({"type": "object"})}),
        },
    }


def _probe(name: str, summary: str, responses: Json) -> Json:
    return {"operationId": name, "summary": summary, "tags": [_OPERATION], "security": [], "responses": responses}


def _answer(schema: Json) -> Json:
    return {
        "description": "The answer.",
        "headers": {name: header(name) for name in ("x-request-id", "x-nexus-overhead-ms")},
        "content": {"application/json": {"schema": schema}},
    }
