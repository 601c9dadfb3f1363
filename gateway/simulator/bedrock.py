"""Amazon Bedrock: the runtime's Converse, ConverseStream and InvokeModel, and the control plane's lists of models.

AWS serves the two from different hosts; here they are one, since an SDK may be given the address of each.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from gateway.simulator.bedrock_converse import converse
from gateway.simulator.bedrock_embeddings import embed
from gateway.simulator.bedrock_errors import constraint, error, failure, invalid
from gateway.simulator.bedrock_frames import event_frame, exception_frame
from gateway.simulator.bedrock_signature import authenticate, check_time
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Headers, Kind, Refused, Reply, Request, Stream

MODELS = (
    *("anthropic.claude-opus-5-5-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-haiku-4-5-v1:0"),
    *("anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-lite-v1:0", "amazon.nova-2-lite-v1:0"),
    *("meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-large-3-675b-instruct", "openai.gpt-oss-120b-1:0"),
    *("amazon.titan-embed-text-v2:0", "cohere.embed-english-v3", "cohere.embed-v4:0"),
)
_PROVIDERS = {
    "amazon": "Amazon",
    "anthropic": "Anthropic",
    "cohere": "Cohere",
    "meta": "Meta",
    "mistral": "Mistral AI",
    "openai": "OpenAI",
}
_MOST_OF_AN_ID = 2048  # characters
_OPERATIONS = ("converse", "converse-stream", "invoke")
type _Path = tuple[str, ...]


def look(request: Request) -> Asked:
    """Read what can be read of a request, whatever its state."""
    match _path(request):
        case ("model", model, operation):
            stream = operation == "converse-stream"
        case ("foundation-models", model):
            stream = False
        case _:
            model, stream = "", False
    try:
        body: Any = msgspec.json.decode(request.body) if request.body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    return Asked(model, stream, body)


def respond(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request, with the header that every answer of AWS has. Raises Refused."""
    token = circumstances.token
    identifier = "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:]))
    headers: Headers = (("x-amzn-requestid", identifier),)
    try:
        check_time(request, circumstances.now)
        answer = _route(request, asked, circumstances)
    except Refused as refused:
        refused.reply = replace(refused.reply, headers=(*refused.reply.headers, *headers))
        raise
    return replace(answer, headers=(*answer.headers, *headers))


def _path(request: Request) -> _Path:
    """Return the path's segments; a model's ARN is one, whose slashes are encoded."""
    return tuple(unquote(segment) for segment in request.raw_path.strip("/").split("/"))


def _route(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    match request.method, _path(request):
        case "POST", ("model", _, operation) if operation in _OPERATIONS:
            return _ask_model(request, operation, asked, circumstances)
        case "GET", ("foundation-models",):
            wanted = parse_qs(request.query)
            return _listed({"modelSummaries": [model for model in map(_model, MODELS) if _is_wanted(model, wanted)]})
        case "GET", ("foundation-models", _):
            _check_model(asked.model)
            return _listed({"modelDetails": _model(asked.model)})
    raise Refused(error("UnknownOperationException", f"There is no {request.method} {request.path} here.", 404))


def _ask_model(request: Request, operation: str, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    _check_model(asked.model)
    body = asked.body
    if not isinstance(body, dict):
        message = "Unexpected token at the start of the body" if request.body else "The body is empty"
        raise Refused(error("SerializationException", message, 400))
    if operation == "invoke":
        return embed(asked, body, circumstances)
    if "embed" in asked.model:
        raise invalid(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model."
        )
    return converse(asked, body, circumstances)


def _check_model(model: str) -> None:
    if not 1 <= len(model) <= _MOST_OF_AN_ID:
        raise constraint("modelId", model, f"have length less than or equal to {_MOST_OF_AN_ID}")
    if "missing" in model or "does-not-exist" in model:
        raise invalid("The provided model identifier is invalid.")


def _listed(content: dict[str, Any]) -> Reply:
    return Reply(200, msgspec.json.encode(content))


def _model(name: str) -> dict[str, Any]:
    embeds = "embed" in name
    return {
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
        "modelId": name,
        "modelName": f"{name.partition('.')[2]} (simulated)",
        "providerName": _PROVIDERS.get(name.partition(".")[0], "Simulated"),
        "inputModalities": ["TEXT"] if embeds else ["TEXT", "IMAGE"],
        "outputModalities": ["EMBEDDING" if embeds else "TEXT"],
        "responseStreamingSupported": not embeds,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }


def _is_wanted(model: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    provider, modality = wanted.get("byProvider"), wanted.get("byOutputModality")
    if provider and model["providerName"].casefold() != provider[0].casefold():
        return False
    return not modality or modality[0] in model["outputModalities"]


_STREAM_ERROR = {
    "message": "The system encountered an unexpected error during processing. Try your request again.",
    "originalStatusCode": 500,
    "originalMessage": "simulated",
}

BEDROCK = Dialect(
    family="bedrock",
    base_path="",
    look=look,
    authenticate=authenticate,
    answer=respond,
    failure=failure,
    quota_failure=failure(429, "Too many tokens per day, please wait before trying again."),
    error_event=exception_frame("modelStreamErrorException", _STREAM_ERROR),
    bad_event=event_frame("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"te'),
    unknown_event=event_frame("simulatedUnknown", b'{"note":"nobody knows this"}'),
    keep_alive=b"",  # a binary stream has no comments
    end_marker=Kind.USAGE,  # metadata comes after messageStop
    binary=True,
)
