"""Errors as OpenAI tells them, and as the servers do that are compatible with it.

Wire facts: https://platform.openai.com/docs/guides/error-codes.
"""

from typing import Any

import msgspec

from gateway.providers.base import Failure, FailureKind, Headers
from gateway.providers.failures import by_status, retry_after_seconds


class Complaint(msgspec.Struct):
    """An error as OpenAI wraps it, or flat, as older vLLM, SGLang and TGI tell it, or FastAPI behind any of them."""

    error: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None
    type: Any = None
    param: Any = None
    code: Any = None

    @property
    def told(self) -> Any:
        """The error as `_error_fields` reads it; None where there is none."""
        if self.error or (self.message is None and self.detail is None):
            return self.error
        return {
            "message": self.detail if self.message is None else self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


_decode_error = msgspec.json.Decoder(Complaint).decode


def parse_error(status: int, headers: Headers, body: bytes) -> Failure:
    """Classify an answer with an error status: by the status first, by the code only where it says more."""
    try:
        raw = _decode_error(body).told
    except (msgspec.DecodeError, RecursionError):
        raw = None
    message, type_, param, code = _error_fields(raw)
    if not message:
        message = f"The provider answered {status}."
    kind = by_status(status)
    if kind is FailureKind.RATE_LIMIT and "insufficient_quota" in (code, type_):
        kind = FailureKind.QUOTA
    return Failure(
        kind,
        message,
        status=status,
        type=type_,
        param=param,
        code=code,
        retry_after_seconds=retry_after_seconds(headers),
    )


def failure_in(body: bytes) -> Failure | None:
    """Return the failure that a 200 answer carries as its body, if it does."""
    try:
        complaint = _decode_error(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    error = complaint.told if complaint.object == "error" else complaint.error
    return event_failure(error) if error else None


def event_failure(error: Any) -> Failure:
    """Classify an error that came with status 200, where the words are all there is to go by."""
    message, type_, param, code = _error_fields(error)
    words = {type_, code}
    if "insufficient_quota" in words:
        kind = FailureKind.QUOTA
    elif words & {"rate_limit_exceeded", "rate_limit_error", "tokens", "requests", "408", "429"}:
        kind = FailureKind.RATE_LIMIT
    elif words & {"invalid_api_key", "authentication_error", "401", "402", "403"}:
        kind = FailureKind.AUTH
    else:
        kind = FailureKind.SERVER
    return Failure(kind, message or "The provider reported an error.", status=200, type=type_, param=param, code=code)


def _error_fields(error: Any) -> tuple[str, str | None, str | None, str | None]:
    """Return message, type, param and code of an error member in any of the shapes seen in the wild."""
    if isinstance(error, str):
        return error, None, None, None
    if not isinstance(error, dict):
        return "", None, None, None

    def text(name: str) -> str | None:
        value = error.get(name)
        return None if value is None or isinstance(value, dict | list) else str(value)

    return text("message") or "", text("type"), text("param"), text("code")
