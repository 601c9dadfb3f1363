"""A client's request as parsed from bytes: what the gateway must know, and the body itself, unknown fields included.

The body is not decoded into objects and encoded again: for an OpenAI-compatible upstream its bytes pass through, and
where `model` or `stream_options` must change only those two members are replaced.
"""

import re
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from nexus.errors import InvalidRequest


class Endpoint(StrEnum):
    """A data-plane API that takes a model; the value is its path below /v1."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


SCOPES = {
    Endpoint.CHAT: "completions:write",
    Endpoint.COMPLETIONS: "completions:write",
    Endpoint.EMBEDDINGS: "embeddings:write",
}

_ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Head(msgspec.Struct):
    model: _ModelName
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None


class _ChatHead(_Head, kw_only=True):
    messages: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]


class _CompletionHead(_Head, kw_only=True):
    prompt: str | list[Any]


class _EmbeddingHead(_Head, kw_only=True):
    input: str | list[Any]


_DECODERS: dict[Endpoint, msgspec.json.Decoder[_ChatHead | _CompletionHead | _EmbeddingHead]] = {
    Endpoint.CHAT: msgspec.json.Decoder(_ChatHead),
    Endpoint.COMPLETIONS: msgspec.json.Decoder(_CompletionHead),
    Endpoint.EMBEDDINGS: msgspec.json.Decoder(_EmbeddingHead),
}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode
_MEMBER_AT_FAULT = re.compile(r"at `\$\.([A-Za-z_]+)|field `([A-Za-z_]+)`")


class ModelRequest(msgspec.Struct, frozen=True):
    """One request for a model: endpoint, public model name, how to answer, and the body as it came."""

    endpoint: Endpoint
    model: str
    stream: bool
    include_usage: bool
    body: bytes

    @property
    def input_tokens_estimate(self) -> int:
        """A rough count of input tokens (four bytes of JSON each), for a request that ends without usage."""
        return len(self.body) // 4

    def body_for(self, upstream_model: str) -> bytes:
        """Return the body for an OpenAI-compatible upstream: its model name, and usage asked for in streams."""
        ask_usage = self.stream and not self.include_usage
        if upstream_model == self.model and not ask_usage:
            return self.body
        members: dict[str, Any] = _members(self.body)
        members["model"] = upstream_model
        if ask_usage:
            options = members.get("stream_options")
            given = msgspec.json.decode(options) if options is not None else None
            members["stream_options"] = {**(given or {}), "include_usage": True}
        return _encode(members)


def parse(endpoint: Endpoint, body: bytes) -> ModelRequest:
    """Parse and check a request body. Raises InvalidRequest, which names the member at fault."""
    try:
        head = _DECODERS[endpoint].decode(body)
    except msgspec.ValidationError as error:
        raise _explain(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    options = head.stream_options or {}
    return ModelRequest(
        endpoint=endpoint,
        model=head.model,
        stream=bool(head.stream) and endpoint is not Endpoint.EMBEDDINGS,
        include_usage=options.get("include_usage") is True,
        body=body,
    )


def _explain(error: msgspec.ValidationError) -> InvalidRequest:
    found = _MEMBER_AT_FAULT.search(str(error))
    param = (found.group(1) or found.group(2)) if found else None
    return InvalidRequest(f"{error}.", param=param)
