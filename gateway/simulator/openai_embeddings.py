"""Embeddings as OpenAI answers them."""

import base64
from array import array
from typing import Any

import msgspec

from gateway.simulator import openai_members as members
from gateway.simulator.content import tokens
from gateway.simulator.dialect import Asked, Circumstances, Reply
from gateway.simulator.openai_completions import prompts_of
from gateway.simulator.openai_errors import invalid
from gateway.simulator.openai_members import Body
from gateway.simulator.vectors import vector

MEMBERS = frozenset(("model", "input", "encoding_format", "dimensions", "user"))
MAX_INPUTS = 2048


def embed(asked: Asked, body: Body, circumstances: Circumstances) -> Reply:
    """Return a vector per input. Raises Refused."""
    texts = prompts_of(body, "input")
    if len(texts) > MAX_INPUTS or not all(texts):
        raise invalid(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
        )
    encoding = members.one_of(body, "encoding_format", ("float", "base64"))
    native = 3072 if "large" in asked.model else 1536
    dimensions = members.integer(body, "dimensions", 1, native)
    if dimensions is not None and "ada" in asked.model:
        raise invalid("This model does not support specifying dimensions.", param="dimensions")
    vectors = [vector(text, dimensions or native) for text in texts]
    content: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": packed(numbers) if encoding == "base64" else numbers}
            for index, numbers in enumerate(vectors)
        ],
        "model": asked.model,
    }
    if circumstances.with_usage:
        counted = sum(map(tokens, texts))
        content["usage"] = {"prompt_tokens": counted, "total_tokens": counted}
    return Reply(200, msgspec.json.encode(content))


def packed(numbers: tuple[float, ...]) -> str:
    """Return little-endian single precision numbers, as OpenAI packs them."""
    return base64.b64encode(array("f", numbers).tobytes()).decode()
