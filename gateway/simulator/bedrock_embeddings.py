"""Embeddings through InvokeModel: Titan's and Cohere's, each in its own shape."""

from typing import Any

import msgspec

from gateway.simulator.bedrock_errors import invalid
from gateway.simulator.content import tokens
from gateway.simulator.dialect import Asked, Circumstances, Reply
from gateway.simulator.vectors import vector

MAX_TEXTS = 96  # of Cohere's, in one request
_TITAN_DIMENSIONS = (1024, 512, 256)
_COHERE_DIMENSIONS = (256, 512, 1024, 1536)
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")


def embed(asked: Asked, body: dict[str, Any], circumstances: Circumstances) -> Reply:
    """Return vectors. Raises Refused."""
    if "titan-embed" in asked.model:
        texts, content = _titan(asked.model, body)
    elif "cohere.embed" in asked.model:
        texts, content = _cohere(asked.model, body, circumstances)
    else:
        raise invalid("Malformed input request: only embedding models are simulated here. Use Converse for the others.")
    headers = (
        ("x-amzn-bedrock-input-token-count", str(sum(map(tokens, texts)))),
        ("x-amzn-bedrock-invocation-latency", str(circumstances.latency_ms)),
    )
    return Reply(200, msgspec.json.encode(content), headers)


def _titan(model: str, body: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    text = body.get("inputText")
    known = {"inputText", "dimensions", "normalize", "embeddingTypes"} if "v2" in model else {"inputText"}
    extraneous = sorted(set(body) - known)
    if extraneous:
        raise invalid(f"Malformed input request: #: extraneous key [{extraneous[0]}] is not permitted")
    if not isinstance(text, str) or not text:
        raise invalid("Malformed input request: #/inputText: expected minLength: 1, actual: 0")
    dimensions = body.get("dimensions", 1024) if "v2" in model else 1536
    if "v2" in model and dimensions not in _TITAN_DIMENSIONS:
        raise invalid(f"Malformed input request: #/dimensions: {dimensions} is not a valid enum value")
    return [text], {"embedding": vector(text, dimensions), "inputTextTokenCount": tokens(text)}


def _cohere(model: str, body: dict[str, Any], circumstances: Circumstances) -> tuple[list[str], dict[str, Any]]:
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise invalid("Malformed input request: #/texts: expected minimum item count: 1, found: 0")
    if len(texts) > MAX_TEXTS:
        raise invalid(
            f"Malformed input request: #/texts: expected maximum item count: {MAX_TEXTS}, found: {len(texts)}"
        )
    if body.get("input_type") not in _INPUT_TYPES:
        raise invalid("Malformed input request: #: required key [input_type] not found")
    dimensions = body.get("output_dimension", 1536) if "v4" in model else 1024
    if "v4" in model and dimensions not in _COHERE_DIMENSIONS:
        raise invalid(f"Malformed input request: #/output_dimension: {dimensions} is not a valid enum value")
    vectors = [vector(text, dimensions) for text in texts]
    by_type = bool(body.get("embedding_types"))
    return texts, {
        "id": circumstances.token,
        "texts": texts,
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        "embeddings": {"float": vectors} if by_type else vectors,
    }
