"""Google's errors (google.rpc.Status as JSON), classified: by the status first, by details where they say more.

Facts: https://ai.google.dev/gemini-api/docs/troubleshooting, https://google.aip.dev/193.
"""

from dataclasses import replace
from typing import Any

import msgspec

from gateway.providers.base import Failure, FailureKind, Headers
from gateway.providers.failures import by_status, retry_after_seconds

_BAD_KEYS = frozenset(("API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"))
_BAD_KEY_WORDS = ("API key not valid", "API key expired", "API Key not found")
# A 400 for what no other request would change: where the key may be used, and who pays.
_BAD_ACCOUNT_WORDS = ("location is not supported", "billing")


def failure_of(status: int, headers: Headers, body: bytes) -> Failure:
    """Classify an answer with an error status."""
    error = _error_in(body)
    return _failure(error, status, asked_wait=retry_after_seconds(headers))


def failure_in(error: dict[str, Any]) -> Failure:
    """Classify an error that came in an answer with status 200, by the status that it names itself."""
    code = error.get("code")
    failure = _failure(error, code if type(code) is int and 400 <= code < 600 else 500)
    # What the client got wrong it is told with the status that says so.
    return failure if failure.kind is FailureKind.REQUEST else replace(failure, status=200)


def _failure(error: dict[str, Any], status: int, *, asked_wait: float | None = None) -> Failure:
    message, word = _text(error, "message"), _text(error, "status")
    details = error.get("details")
    known = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    wait = asked_wait if asked_wait is not None else _retry_delay(known)
    return Failure(
        _kind(status, message, known),
        message or f"The provider answered {status}.",
        status=status,
        code=word or None,
        retry_after_seconds=wait,
    )


def _kind(status: int, message: str, details: list[dict[str, Any]]) -> FailureKind:
    kind = by_status(status)
    if kind is FailureKind.REQUEST and status == 400:
        reasons = {detail.get("reason") for detail in details if isinstance(detail.get("reason"), str)}
        words = (*_BAD_KEY_WORDS, *_BAD_ACCOUNT_WORDS)
        if reasons & _BAD_KEYS or any(word in message for word in words):
            return FailureKind.AUTH
    if kind is FailureKind.RATE_LIMIT and status == 429 and _is_used_up(message, details):
        return FailureKind.QUOTA
    return kind


def _is_used_up(message: str, details: list[dict[str, Any]]) -> bool:
    """Whether waiting a little does not help: the day's requests are used up, or the prepaid credit is."""
    for detail in details:
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and "PerDay" in str(violation.get("quotaId")):
                return True
    return "credits are depleted" in message


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Return the seconds of RetryInfo, a protobuf Duration such as `34.07s`."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                seconds = float(delay[:-1])
            except ValueError:
                continue
            if 0 <= seconds < 1e9:
                return seconds
    return None


def _error_in(body: bytes) -> dict[str, Any]:
    """Return the error of a body; a stream that is not of events has it in a list."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    if isinstance(content, list) and content:
        content = content[0]
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) else {}


def _text(error: dict[str, Any], name: str) -> str:
    value = error.get(name)
    return value if isinstance(value, str) else ""
