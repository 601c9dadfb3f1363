"""Embeddings by Gemini: a batch in one request, and Vertex AI's predict.

Wire facts: https://ai.google.dev/api/embeddings,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
"""

from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.base import Completion, Failure, FailureKind, Unsupported
from gateway.providers.embeddings import embeddings_answer, texts_of
from gateway.providers.gemini_errors import failure_in
from gateway.schema import ModelRequest
from nexus.errors import InvalidRequest

MAX_BATCH = 100  # texts in one request to AI Studio
MAX_INSTANCES = 250  # and to Vertex AI
_HONOURED = frozenset(("model", "input", "encoding_format", "dimensions"))


class _Statistics(msgspec.Struct):
    token_count: float = 0


class _Embedding(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Embedding


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int = 0


class _Answer(msgspec.Struct, rename="camel"):
    embeddings: list[_Embedding] | None = None
    predictions: list[_Prediction] | None = None
    usage_metadata: _Usage | None = None
    error: dict[str, Any] | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def embed_request(
    payload: dict[str, Any], model: str, *, vertex: bool, drop: bool
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Return method, body, and the names that are left out. Raises InvalidRequest, and Unsupported."""
    texts = texts_of(payload, most=MAX_INSTANCES if vertex else MAX_BATCH)
    dimensions = payload.get("dimensions")
    if dimensions is not None and type(dimensions) is not int:
        raise InvalidRequest("`dimensions` must be a whole number.", param="dimensions")
    dropped = _unhonoured(payload, drop=drop)
    if vertex:
        body: dict[str, Any] = {"instances": [{"content": text} for text in texts]}
        return "predict", body | ({"parameters": {"outputDimensionality": dimensions}} if dimensions else {}), dropped
    size = {"outputDimensionality": dimensions} if dimensions else {}
    named = model if "/" in model else f"models/{model}"
    requests = [{"model": named, "content": {"parts": [{"text": text}]}, **size} for text in texts]
    return "batchEmbedContents", {"requests": requests}, dropped


def parse_embeddings(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the vectors as OpenAI tells them; a failure for a 200 without any."""
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        answer = _Answer()
    if answer.error is not None:
        return failure_in(answer.error)
    found = answer.embeddings
    if answer.predictions is not None:
        found = [prediction.embeddings for prediction in answer.predictions]
    if found is None:
        return Failure(FailureKind.PROTOCOL, "The provider answered 200 with a body that holds no embeddings.")
    return embeddings_answer(request, [one.values for one in found], _usage(answer, found))


def _unhonoured(payload: dict[str, Any], *, drop: bool) -> tuple[str, ...]:
    left = [name for name, value in payload.items() if name not in _HONOURED and value is not None]
    for name in left:
        if not drop and name != "user":
            raise Unsupported(name)
    return tuple(left)


def _usage(answer: _Answer, found: list[_Embedding]) -> Usage | None:
    if answer.usage_metadata is not None:
        return Usage(answer.usage_metadata.prompt_token_count, 0)
    if found and all(one.statistics is not None for one in found):
        return Usage(int(sum(one.statistics.token_count for one in found if one.statistics)), 0)
    return None
