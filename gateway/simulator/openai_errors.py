"""Errors in OpenAI's own words."""

import msgspec

from gateway.simulator.dialect import Refused, Reply

_FAILURES = {
    400: ("invalid_request_error", None, "The request was rejected."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_funds", "insufficient_funds", "Insufficient Balance"),
    403: (
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout", None, "Request timed out."),
    409: ("conflict", None, "The resource was updated by another request."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", None, "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per min (RPM): Limit 500, Used 500."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
    504: ("server_error", None, "Gateway timeout."),
    529: ("server_error", None, "Overloaded."),
}


def error_body(message: str, kind: str, param: str | None, code: str | None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def failure(status: int, message: str | None) -> Reply:
    """Return the error for a status, with OpenAI's message for it or the given one."""
    kind, code, usual = _FAILURES.get(status) or _FAILURES[400 if status < 500 else 500]
    return Reply(status, error_body(message or usual, kind, None, code))


def invalid(
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    status: int = 400,
    kind: str = "invalid_request_error",
) -> Refused:
    """Return the refusal of a request that the client got wrong, to be raised."""
    return Refused(Reply(status, error_body(message, kind, param, code)))


def model_not_found(model: str) -> Refused:
    return invalid(
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
        status=404,
    )
