"""Anthropic's Messages API, which its SDKs and coding agents speak."""

from typing import Any

import msgspec

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages_answer import MessageWriter, message
from gateway.dialects.messages_error import messages_error
from gateway.dialects.messages_request import chat_payload
from gateway.schema import Endpoint


def error_event(body: dict[str, Any]) -> bytes:
    """Return the event that ends a stream with an error."""
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(messages_error(body, 502))


MESSAGES = Dialect(Endpoint.MESSAGES, chat_payload, message, MessageWriter, error_event)
