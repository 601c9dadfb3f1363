"""Errors in the shape of Anthropic's API: https://platform.claude.com/docs/en/api/errors. Pure."""

from typing import Any

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def messages_error(body: dict[str, Any], status: int) -> dict[str, Any]:
    """Return the gateway's error, given in OpenAI's shape, in Anthropic's with what the other has beside it."""
    told = body["error"]
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {**told, "type": kind}, "request_id": told["request_id"]}
