"""Errors in Google's own words: google.rpc.Status as JSON."""

from typing import Any

import msgspec

from gateway.simulator.dialect import Refused, Reply

_STATUSES = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential.",
    ),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    409: ("ABORTED", "The operation was aborted."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry or report in https://ai.google.dev/support."),
    501: ("UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_RPC = "type.googleapis.com/google.rpc."
_RETRY_DELAY = "0.25s"


def error_body(code: int, message: str, status: str, details: list[dict[str, Any]] | None = None) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    return msgspec.json.encode({"error": error | ({"details": details} if details else {})})


def failure(status: int, message: str | None) -> Reply:
    """Return the error for a status, with Google's message for it or the given one."""
    word, usual = _STATUSES.get(status) or _STATUSES[400 if status < 500 else 500]
    details = _quota("GenerateRequestsPerMinutePerProjectPerModel", _RETRY_DELAY) if status == 429 else None
    return _reply(status, message or usual, word, details)


def invalid(message: str, *, code: int = 400, reason: str = "") -> Refused:
    """Return the refusal of a request that the client got wrong, to be raised; `reason` is ErrorInfo's."""
    info = {
        "@type": f"{_RPC}ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return Refused(_reply(code, message, _STATUSES[code][0], [info] if reason else None))


def invalid_field(message: str, path: str) -> Refused:
    """Return the refusal of a payload that does not fit the message it should be."""
    violation = {"field": path, "description": message}
    details = [{"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]}]
    return Refused(_reply(400, message, "INVALID_ARGUMENT", details))


def model_not_found(model: str, version: str, method: str) -> Refused:
    return invalid(
        f"models/{model} is not found for API version {version}, or is not supported for {method}. Call ListModels to "
        "see the list of available models and their supported methods.",
        code=404,
    )


def quota_failure() -> Reply:
    """Return what is said once the day's requests are used up."""
    return _reply(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.",
        "RESOURCE_EXHAUSTED",
        _quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "34.074824224s"),
    )


def _quota(quota_id: str, retry_delay: str) -> list[dict[str, Any]]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": quota_id,
        "quotaValue": "500",
    }
    return [
        {"@type": f"{_RPC}QuotaFailure", "violations": [violation]},
        {"@type": f"{_RPC}RetryInfo", "retryDelay": retry_delay},
    ]


def _reply(code: int, message: str, status: str, details: list[dict[str, Any]] | None) -> Reply:
    return Reply(code, error_body(code, message, status, details), content_type="application/json; charset=UTF-8")
