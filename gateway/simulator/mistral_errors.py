"""Errors in Mistral's own words: flat ones for most, and a list of faults for a body that breaks its schema."""

from typing import Any

import msgspec

from gateway.simulator.dialect import Refused, Reply

_FAILURES = {
    400: ("invalid_request_error", None, "The request was rejected."),
    401: ("unauthorized", None, "Unauthorized"),
    402: ("payment_required", None, "Your organization has reached its spending limit."),
    403: ("forbidden", None, "You are not allowed to use this model."),
    404: ("not_found", None, "The requested resource was not found."),
    408: ("timeout", None, "The request timed out."),
    413: ("request_too_large", None, "The request is too large."),
    422: ("invalid_request_error", None, "The request could not be processed."),
    429: ("rate_limited", "1300", "Rate limit exceeded"),
    500: ("internal_server_error", "3000", "Service unavailable."),
    503: ("service_unavailable", "3000", "Service unavailable. Please try again later."),
}


def api_error(status: int, message: str, kind: str, code: str | None) -> Reply:
    error = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return Reply(status, msgspec.json.encode({**error, "raw_status_code": status}))


def failure(status: int, message: str | None) -> Reply:
    """Return the error for a status, with Mistral's message for it or the given one."""
    kind, code, usual = _FAILURES.get(status) or _FAILURES[400 if status < 500 else 500]
    if status == 401:
        return Reply(401, msgspec.json.encode({"detail": message or usual}))
    return api_error(status, message or usual, kind, code)


def invalid(message: str, kind: str = "invalid_request_error", code: str | None = None) -> Refused:
    """Return the refusal of a request that fits the schema and makes no sense, to be raised."""
    return Refused(api_error(400, message, kind, code))


def misfit(kind: str, where: tuple[str | int, ...], message: str, value: Any) -> Refused:
    """Return the refusal of a body that does not fit the schema, to be raised."""
    fault = {"type": kind, "loc": ["body", *where], "msg": message, "input": value}
    return Refused(Reply(422, msgspec.json.encode({"detail": [fault]})))
