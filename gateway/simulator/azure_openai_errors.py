"""Errors in the words of Azure's gateway. What the models themselves refuse comes in OpenAI's."""

from typing import Any

import msgspec

from gateway.simulator.dialect import Refused, Reply

_UNSAFE = {"filtered": True, "severity": "medium"}
_SAFE = {"filtered": False, "severity": "safe"}
_FAILURES = {
    400: ("BadRequest", "The request was rejected."),
    401: (
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource.",
    ),
    403: ("AccessDenied", "Access denied due to Virtual Network/Firewall rules."),
    404: ("404", "Resource not found"),
    408: ("Timeout", "The operation was timeout."),
    413: ("RequestEntityTooLarge", "Request body too large."),
    429: (
        "429",
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded call rate limit of your "
        "current OpenAI S0 pricing tier. Please retry after 6 seconds.",
    ),
    500: ("InternalServerError", "Backend returned unexpected response. Please contact Microsoft for help."),
    503: ("ServiceUnavailable", "The service is temporarily unable to process your request. Please try again later."),
}
_DEPLOYMENT_NOT_FOUND = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again."
)
_BLOCKED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify "
    "your prompt and retry. To learn more about our content filtering policies please read our documentation: "
    "https://go.microsoft.com/fwlink/?linkid=2198766"
)


def api_error(status: int, code: str, message: str, /, **members: Any) -> Reply:
    """Return an error of Azure's own: a code and a message, and no type."""
    return Reply(status, msgspec.json.encode({"error": {"code": code, "message": message, **members}}))


def failure(status: int, message: str | None, *, code: str | None = None) -> Reply:
    """Return the error for a status, or for one of Azure's codes, with its message or the given one."""
    if code == "DeploymentNotFound":
        return api_error(status, code, _DEPLOYMENT_NOT_FOUND)
    if code == "content_filter":
        judged = dict.fromkeys(("hate", "self_harm", "sexual"), _SAFE) | {"violence": _UNSAFE}
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": judged}
        return api_error(status, code, _BLOCKED, param="prompt", type=None, status=status, innererror=inner)
    usual_code, usual = _FAILURES.get(status) or _FAILURES[400 if status < 500 else 500]
    return api_error(status, usual_code, message or usual)


def refused(status: int) -> Refused:
    """Return the refusal with a status's own message, to be raised."""
    return Refused(failure(status, None))
