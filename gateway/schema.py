"""A client's request as parsed from bytes: what the gateway must know, and the body itself, unknown fields included.

For an OpenAI-compatible upstream the body's bytes pass through, and where `model` or `stream_options` must change only
those two members are replaced.
"""

from enum import StrEnum
from typing import Any

import jiter
import msgspec

from gateway.token_estimate import input_tokens
from nexus.errors import InvalidRequest


class Endpoint(StrEnum):
    """A data-plane API that takes a model; the value is its path below /v1."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"  # Anthropic's
    COUNT_TOKENS = "messages/count_tokens"


SCOPES = {
    Endpoint.CHAT: "completions:write",
    Endpoint.COMPLETIONS: "completions:write",
    Endpoint.EMBEDDINGS: "embeddings:write",
    Endpoint.RESPONSES: "completions:write",
    Endpoint.MESSAGES: "completions:write",
    Endpoint.COUNT_TOKENS: "completions:write",
}

_CONTENT = {
    Endpoint.CHAT: "messages",
    Endpoint.COMPLETIONS: "prompt",
    Endpoint.EMBEDDINGS: "input",
    Endpoint.RESPONSES: "input",
    Endpoint.MESSAGES: "messages",
    Endpoint.COUNT_TOKENS: "messages",
}
_LONGEST_MODEL_NAME = 200
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class ModelRequest(msgspec.Struct, frozen=True):
    """One request for a model: endpoint, public model name, how to answer, and the body as it came."""

    endpoint: Endpoint
    model: str
    stream: bool
    include_usage: bool
    body: bytes
    payload: dict[str, Any]  # the body, parsed
    vendor_headers: tuple[tuple[bytes, bytes], ...] = ()  # for a provider that speaks the client's own API

    @property
    def input_tokens_estimate(self) -> int:
        """A rough count of input tokens, until the provider tells, and for a request that ends without usage."""
        return input_tokens(self.body)

    @property
    def most_output_tokens(self) -> int | None:
        """The most that all its answers together may have; None where it sets no limit itself."""
        if self.endpoint is Endpoint.EMBEDDINGS:
            return 0
        payload = self.payload
        if self.endpoint is Endpoint.RESPONSES:
            most = payload.get("max_output_tokens")
            return most if type(most) is int and most >= 0 else None
        most, answers = payload.get("max_completion_tokens"), payload.get("n")
        most = payload.get("max_tokens") if most is None else most
        if type(most) is not int or most < 0:
            return None  # the provider's to judge
        return most * answers if type(answers) is int and answers > 1 else most

    def body_for(self, upstream_model: str) -> bytes:
        """Return the body for an OpenAI-compatible upstream: its model name, and usage asked for in streams."""
        ask_usage = self.stream and not self.include_usage and self.endpoint is not Endpoint.RESPONSES
        if upstream_model == self.model and not ask_usage:
            return self.body
        members: dict[str, Any] = _members(self.body)
        members["model"] = upstream_model
        if ask_usage:
            options = members.get("stream_options")
            given = msgspec.json.decode(options) if options is not None else None
            members["stream_options"] = {**(given or {}), "include_usage": True}
        return _encode(members)


def parse(endpoint: Endpoint, body: bytes, vendor_headers: tuple[tuple[bytes, bytes], ...] = ()) -> ModelRequest:
    """Parse and check a request body. Raises InvalidRequest, which names the member at fault.

    What two JSON parsers may read differently is refused, since the provider's own parser is one of the two: a name
    twice in one object, NaN and infinities, text that is no Unicode, integers of thousands of digits.
    """
    try:
        payload = jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    if type(payload) is not dict:
        raise InvalidRequest("The body must be a JSON object.")
    model, stream, options = payload.get("model"), payload.get("stream"), payload.get("stream_options")
    if type(model) is not str or not 0 < len(model) <= _LONGEST_MODEL_NAME:
        raise InvalidRequest(f"`model` must be a text of 1 to {_LONGEST_MODEL_NAME} characters.", param="model")
    if stream is not None and type(stream) is not bool:
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    if options is not None and type(options) is not dict:
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    _check_content(endpoint, payload)
    return ModelRequest(
        endpoint=endpoint,
        model=model,
        stream=stream is True and endpoint is not Endpoint.EMBEDDINGS,
        include_usage=options is not None and options.get("include_usage") is True,
        body=body,
        payload=payload,
        vendor_headers=vendor_headers,
    )


def _check_content(endpoint: Endpoint, payload: dict[str, Any]) -> None:
    name = _CONTENT[endpoint]
    content = payload.get(name)
    if name == "messages":
        if type(content) is not list or not content:
            raise InvalidRequest("`messages` must be a list of at least one message.", param=name)
    elif type(content) is not str and type(content) is not list:
        raise InvalidRequest(f"`{name}` must be a text or a list.", param=name)
