"""Anthropic's Messages API for clients that speak it themselves: requests, answers and streams pass through. Pure."""

from dataclasses import replace
from typing import Any

import msgspec

from gateway import sse
from gateway.providers import anthropic
from gateway.providers.anthropic import (
    AnthropicStream,
    Event,
    UsageCount,
    decode_event,
    decode_message,
    failure_in,
    headers_for,
    messages_path,
    no_message,
    told_failure,
)
from gateway.providers.base import Completion, Failure, FailureKind, StreamDecoder, Target, UpstreamRequest
from gateway.providers.tapped_stream import TappedStream
from gateway.schema import Endpoint, ModelRequest

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PASSED_HEADERS = (b"anthropic-version", b"anthropic-beta")


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    if request.endpoint is not Endpoint.MESSAGES:
        return anthropic.build_request(request, target)
    return native_request(request, target)


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    if request.endpoint is not Endpoint.MESSAGES:
        return anthropic.parse_response(request, body)
    return native_response(body)


def stream_decoder(request: ModelRequest) -> StreamDecoder:
    return AnthropicStream(request) if request.endpoint is not Endpoint.MESSAGES else NativeStream()


def native_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the client's request under our credential. Its own API version and betas go with it."""
    members: dict[str, Any] = dict(_decode(request.body))
    members["model"] = target.upstream_model
    if b'"thinking"' in request.body:
        members["messages"] = _without_unsigned(msgspec.json.decode(members["messages"]))
    told = {name: value for name, value in request.vendor_headers if name in _PASSED_HEADERS}
    headers = tuple((name, told.pop(name, value)) for name, value in headers_for(target, stream=request.stream))
    return UpstreamRequest(messages_path(target), (*headers, *told.items()), msgspec.json.encode(members))


def _without_unsigned(messages: list[Any]) -> list[Any]:
    """Take out thoughts of other families, which came to the client in a translated answer and bear no signature."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            message["content"] = [block for block in content if not _is_unsigned(block)]
    return messages


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")


def native_response(body: bytes) -> Completion | Failure:
    """Return the message as it came, with its usage; a failure for a 200 that is no message."""
    try:
        message = decode_message(body)
    except (msgspec.DecodeError, RecursionError):
        return failure_in(body) or no_message()
    if message.type != "message" or not message.stop_reason:
        return no_message()
    return Completion(body, UsageCount().add(message.usage))


class NativeStream(TappedStream):
    """The tap on a stream of Anthropic's."""

    def __init__(self) -> None:
        super().__init__()
        self._count = UsageCount()
        self._stop_seen = False

    def take(self, event: bytes) -> bool:
        data = sse.data_of(event)
        if not data:
            return True
        try:
            read = decode_event(data)
        except (msgspec.DecodeError, RecursionError):
            self.failure = Failure(FailureKind.PROTOCOL, "The provider sent an event that is not one of Anthropic's.")
            return False
        if read.type == "error":
            self.failure = told_failure(read.error)
            return False
        if read.type == "message_stop":
            if not self._stop_seen:
                self.failure = self.end()
                return False
            self.finished = True
            return True
        self._note(read)
        return True

    def _note(self, read: Event) -> None:
        usage = read.message.usage if read.message is not None else read.usage
        if usage is not None:
            self.usage = self._count.add(usage)
        delta, block = read.delta, read.content_block
        if delta is not None:
            said = len(delta.text) + len(delta.thinking) + len(delta.partial_json) + len(delta.signature)
            self.content_bytes += said
            self._stop_seen = self._stop_seen or bool(delta.stop_reason)
            self.committed = self.committed or said > 0 or self._stop_seen
        if block is not None and block.type not in ("text", "thinking"):
            self.committed = True


ANTHROPIC = replace(
    anthropic.ANTHROPIC,
    build_request=build_request,
    parse_response=parse_response,
    stream_decoder=stream_decoder,
    speaks=frozenset((Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.MESSAGES)),
)
