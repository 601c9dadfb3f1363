"""Embeddings for families that do not speak OpenAI's language: the texts asked about, and the answer. Pure."""

import base64
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.base import Completion, Unsupported
from gateway.schema import ModelRequest
from nexus.errors import InvalidRequest


def texts_of(payload: dict[str, Any], *, most: int) -> list[str]:
    """Return a request's texts. Raises InvalidRequest, and Unsupported for tokens and for more texts than `most`."""
    given = payload["input"]
    texts = [given] if isinstance(given, str) else given
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Unsupported("input", "The provider that serves this model embeds texts, not tokens.")
    if len(texts) > most:
        count = "one text" if most == 1 else f"at most {most} texts"
        raise Unsupported("input", f"The provider that serves this model embeds {count} at once.")
    if payload.get("encoding_format") not in (None, "float", "base64"):
        raise InvalidRequest("`encoding_format` must be float or base64.", param="encoding_format")
    return list(texts)


def embeddings_answer(
    request: ModelRequest, vectors: Sequence[Sequence[float] | str], usage: Usage | None
) -> Completion:
    """Return vectors as OpenAI tells them; without usage their tokens are estimated. A text is a vector in Base64."""
    usage = usage or Usage(request.input_tokens_estimate, 0, estimated=True)
    packed = request.payload.get("encoding_format") == "base64"
    content = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if packed and not isinstance(vector, str) else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": request.model,
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens},
    }
    return Completion(msgspec.json.encode(content), usage)


def _packed(vector: Sequence[float]) -> str:
    """Return little-endian single precision numbers in Base64, as OpenAI packs them."""
    return base64.b64encode(array("f", vector).tobytes()).decode()
