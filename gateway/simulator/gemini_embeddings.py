"""Embeddings as Gemini answers them: one, a batch, and Vertex AI's predict."""

from typing import Any

import msgspec

from gateway.simulator.content import tokens
from gateway.simulator.dialect import Circumstances, Reply
from gateway.simulator.gemini_answer import CONTENT_TYPE
from gateway.simulator.gemini_errors import invalid
from gateway.simulator.gemini_messages import Body, read
from gateway.simulator.vectors import vector

MAX_BATCH = 100
MAX_INSTANCES = 250
_NATIVE_DIMENSIONS = 3072
_OLD_DIMENSIONS = 768  # of text-embedding-004 and -005


def embed_content(model: str, payload: Any, circumstances: Circumstances) -> Reply:
    """Return one vector. Raises Refused."""
    request = read("EmbedContentRequest", payload)
    return _reply({"embedding": _embedding(model, request, "EmbedContentRequest")}, model, [request], circumstances)


def batch_embed_contents(model: str, payload: Any, circumstances: Circumstances) -> Reply:
    """Return a vector per request. Raises Refused."""
    requests = read("BatchEmbedContentsRequest", payload).get("requests", [])
    if not requests:
        raise invalid("* BatchEmbedContentsRequest.requests: requests is not specified\n")
    if len(requests) > MAX_BATCH:
        raise invalid(f"* BatchEmbedContentsRequest.requests: at most {MAX_BATCH} requests can be in one batch\n")
    for index, request in enumerate(requests):
        if request.get("model") != f"models/{model}":
            raise invalid(
                f"* BatchEmbedContentsRequest.requests[{index}].model: model must be the same as the batch's\n"
            )
    embeddings = [
        _embedding(model, request, f"BatchEmbedContentsRequest.requests[{index}]")
        for index, request in enumerate(requests)
    ]
    return _reply({"embeddings": embeddings}, model, requests, circumstances)


def predict(model: str, payload: Any, circumstances: Circumstances) -> Reply:
    """Return a prediction per instance, as Vertex AI does. Raises Refused."""
    request = read("PredictRequest", payload)
    instances = request.get("instances", [])
    most = 1 if model.startswith("gemini") else MAX_INSTANCES
    if not instances or len(instances) > most:
        raise invalid(f"{len(instances)} instance(s) is not allowed for the model. Max allowed: {most}")
    dimensions = _dimensions(model, request.get("parameters", {}).get("outputDimensionality"))
    predictions = []
    for instance in instances:
        text = instance.get("content", "")
        if not text:
            raise invalid("The text content is empty.")
        statistics = {"token_count": tokens(text), "truncated": False}
        predictions.append({"embeddings": {"values": vector(text, dimensions), "statistics": statistics}})
    return Reply(200, msgspec.json.encode({"predictions": predictions}), content_type=CONTENT_TYPE)


def _embedding(model: str, request: Body, where: str) -> Body:
    text = _text(request)
    if not text:
        raise invalid(f"* {where}.content: contents is not specified\n")
    return {"values": vector(text, _dimensions(model, request.get("outputDimensionality")))}


def _text(request: Body) -> str:
    return "\n".join(part["text"] for part in request.get("content", {}).get("parts", ()) if "text" in part)


def _dimensions(model: str, asked: int | None) -> int:
    native = _OLD_DIMENSIONS if model.startswith("text-embedding-00") else _NATIVE_DIMENSIONS
    if asked is not None and not 1 <= asked <= native:
        raise invalid(f"output_dimensionality must be in the range [1, {native}].")
    return asked or native


def _reply(content: Body, model: str, requests: list[Body], circumstances: Circumstances) -> Reply:
    if circumstances.with_usage and not model.startswith("text-embedding"):
        content = content | {"usageMetadata": {"promptTokenCount": sum(tokens(_text(one)) for one in requests)}}
    return Reply(200, msgspec.json.encode(content), content_type=CONTENT_TYPE)
