"""OpenAI's Responses API, which newer SDKs and agents speak."""

from typing import Any

import msgspec

from gateway.dialects.dialect import Dialect
from gateway.dialects.responses_answer import ResponseWriter, response
from gateway.dialects.responses_request import chat_payload
from gateway.schema import Endpoint


def error_event(body: dict[str, Any]) -> bytes:
    """Return the event that ends a stream with an error: its members lie where the API's own error event has them.

    `error` holds them once more, as every answer of the gateway does.
    """
    error = body["error"]
    told = {name: error.get(name) for name in ("code", "message", "param")}
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode({"type": "error", **told, "sequence_number": 0, **body})


RESPONSES = Dialect(Endpoint.RESPONSES, chat_payload, response, ResponseWriter, error_event)
