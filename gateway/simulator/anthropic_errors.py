"""Errors in Anthropic's own words."""

from typing import Any

import msgspec

from gateway.simulator.dialect import Refused, Reply

_FAILURES = {
    400: ("invalid_request_error", "The request was rejected."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    408: ("timeout_error", "Request timed out."),
    409: ("conflict_error", "The resource was changed by another request."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    422: ("invalid_request_error", "The request could not be processed."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute."),
    500: ("api_error", "Internal server error"),
    502: ("api_error", "Bad gateway"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "The request timed out while processing."),
    529: ("overloaded_error", "Overloaded"),
}
SPEND_LIMIT = "enforced_spend_limit_reached"


def error_body(kind: str, message: str, *, details: dict[str, Any] | None = None) -> bytes:
    error: dict[str, Any] = {"type": kind, "message": message}
    if details is not None:
        error["details"] = details
    return msgspec.json.encode({"type": "error", "error": error, "request_id": "req_simulated"})


def failure(status: int, message: str | None) -> Reply:
    """Return the error for a status, with Anthropic's message for it or the given one."""
    kind, usual = _FAILURES.get(status) or _FAILURES[400 if status < 500 else 500]
    return Reply(status, error_body(kind, message or usual))


def invalid(message: str) -> Refused:
    """Return the refusal of a request that the client got wrong, to be raised."""
    return Refused(Reply(400, error_body("invalid_request_error", message)))


def refused(status: int, message: str) -> Refused:
    return Refused(failure(status, message))


def extra(where: str) -> Refused:
    return invalid(f"{where}: Extra inputs are not permitted")


def missing(where: str) -> Refused:
    return invalid(f"{where}: Field required")


QUOTA_FAILURE = Reply(
    429,
    error_body(
        "rate_limit_error",
        "You have reached your specified API usage limits.",
        details={"error_code": SPEND_LIMIT},
    ),
)
