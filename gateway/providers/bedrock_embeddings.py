"""Embeddings through InvokeModel, whose bodies are the model's own: Titan's and Cohere's. Pure.

Wire facts: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
.../model-parameters-embed.html
"""

import re
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.base import Completion, Failure, FailureKind, Unsupported
from gateway.providers.embeddings import embeddings_answer, texts_of
from gateway.schema import ModelRequest

MOST_TEXTS = 96  # of Cohere's, in one request
DEFAULT_INPUT_TYPE = "search_document"
_HONOURED = frozenset(("model", "input", "encoding_format"))
_SIZABLE = re.compile(r"titan-embed-text-v2|cohere\.embed-v4")  # whose vectors come in several sizes


class _ByType(msgspec.Struct):
    float: list[list[float]]


class _Answer(msgspec.Struct, rename="camel"):
    embedding: list[float] | None = None  # Titan's
    input_text_token_count: int | None = None
    embeddings: _ByType | None = None  # Cohere's


_decode = msgspec.json.Decoder(_Answer).decode


def invoke_body(payload: dict[str, Any], model: str, *, drop: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body and the names of members that were left out. Raises InvalidRequest, and Unsupported."""
    if "titan-embed-text" in model:
        (text,) = texts_of(payload, most=1)
        body: dict[str, Any] = {"inputText": text}
        honoured, size = set(_HONOURED), "dimensions"
    elif "cohere.embed" in model:
        texts = texts_of(payload, most=MOST_TEXTS)
        body = {"texts": texts, "input_type": DEFAULT_INPUT_TYPE, "embedding_types": ["float"]}
        body |= {name: payload[name] for name in ("input_type", "truncate") if payload.get(name) is not None}
        honoured, size = {*_HONOURED, "input_type", "truncate"}, "output_dimension"
    else:
        raise Unsupported("model", "Of Bedrock's models, only Titan's for text and Cohere's embed here.")
    if _SIZABLE.search(model):
        honoured.add("dimensions")
        if payload.get("dimensions") is not None:
            body[size] = payload["dimensions"]
    return body, _left_out(payload, honoured, drop=drop)


def _left_out(payload: dict[str, Any], honoured: set[str], *, drop: bool) -> tuple[str, ...]:
    left = [name for name, value in payload.items() if name not in honoured and value is not None]
    for name in left:
        if not drop and name != "user":
            raise Unsupported(name)
    return tuple(left)


def parse_embeddings(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the vectors as OpenAI tells them; a failure for a 200 without any."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, RecursionError):
        answer = _Answer()
    if answer.embedding is not None:
        counted = answer.input_text_token_count
        return embeddings_answer(request, [answer.embedding], None if counted is None else Usage(counted, 0))
    if answer.embeddings is not None:
        return embeddings_answer(request, answer.embeddings.float, None)  # Cohere's counts stand in a header
    return Failure(FailureKind.PROTOCOL, "The provider answered 200 with a body that holds no embeddings.")
