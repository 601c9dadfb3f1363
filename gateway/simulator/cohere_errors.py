"""Errors in Cohere's own words: an id and a message, whatever it is."""

import msgspec

from gateway.simulator.dialect import Refused, Reply

_ID = "00000000-0000-4000-8000-000000000000"  # as every error's
_FAILURES = {
    400: "invalid request: the request was rejected.",
    401: "invalid api token",
    402: "Please add or update your payment method at https://dashboard.cohere.com/billing?tab=payment to continue",
    403: "Please contact us: your organization may not use this model.",
    404: "The requested resource was not found.",
    408: "request timed out",
    413: "request entity too large",
    422: "invalid request: the request could not be processed.",
    429: "You are using a Trial key, which is limited to 20 API calls / minute. Please wait and try again later.",
    498: "invalid token",
    499: "request cancelled",
    500: "internal server error, this has been reported to our developers.",
    501: "not implemented",
    503: "the service is currently unavailable, please try again later",
    504: "the request took too long",
}
_TRIAL_IS_OVER = (
    "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use the Trial key for "
    "free or upgrade to a Production key with higher rate limits at 'https://dashboard.cohere.com/api-keys'."
)


def failure(status: int, message: str | None) -> Reply:
    """Return the error for a status, with Cohere's message for it or the given one."""
    usual = _FAILURES.get(status) or _FAILURES[400 if status < 500 else 500]
    return Reply(status, msgspec.json.encode({"id": _ID, "message": message or usual}))


QUOTA_FAILURE = failure(429, _TRIAL_IS_OVER)


def invalid(message: str, status: int = 400) -> Refused:
    """Return the refusal of a request that the client got wrong, to be raised."""
    return Refused(failure(status, message))
