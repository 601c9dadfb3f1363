"""What the client is told when no candidate answered: one error out of all attempts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.providers.base import Failure, FailureKind
from gateway.records import Attempt
from nexus.errors import InvalidRequest, NexusError, NotFound

STREAM_INTERRUPTED = "STREAM_INTERRUPTED"
_SHORTEST_SECRET = 4  # characters; less would blot out words
_LONGEST_MESSAGE = 20_000  # characters of a provider's words; the search in them must not keep others waiting
_LONGEST_PART = 11  # characters of one that may be told: vendors show the beginning and the end of a key
_LONGEST_WAIT_SECONDS = 30  # the open window of a circuit


class ModelNotFound(NotFound):
    code = "MODEL_NOT_FOUND"


class UpstreamRejected(NexusError):
    """The provider refused the request itself; its status, message and code go to the client."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, param=failure.param)
        self.status = failure.status or 400
        self._code = failure.code
        self._type = failure.type

    def body(self, request_id: str) -> dict[str, Any]:
        body = super().body(request_id)
        body["error"]["code"] = self._code or "INVALID_REQUEST"
        body["error"]["type"] = self._type or body["error"]["type"]
        return body

    code = "UPSTREAM_REJECTED"


class AllProvidersFailed(NexusError):
    code = "ALL_PROVIDERS_FAILED"
    status = 502


class ProviderAuthFailed(NexusError):
    code = "PROVIDER_AUTH_FAILED"
    status = 502


class ProviderTimeout(NexusError):
    code = "PROVIDER_TIMEOUT"
    status = 504


class NoProviderAvailable(NexusError):
    code = "NO_PROVIDER_AVAILABLE"
    status = 503


class UpstreamRateLimited(NexusError):
    code = "RATE_LIMITED"
    status = 429


class UpstreamRequestTimeout(NexusError):
    code = "REQUEST_TIMEOUT"
    status = 408


class StreamInterrupted(NexusError):
    code = STREAM_INTERRUPTED
    status = 502


def for_client(
    attempts: Sequence[Attempt], failures_of: Sequence[Failure | None], *, reopens_in: float | None
) -> NexusError:
    """Return the error of a request that no candidate answered. `reopens_in`: seconds to the first half-open."""
    told = [_told(attempt, failure) for attempt, failure in zip(attempts, failures_of, strict=True)]
    details: dict[str, Any] = {"attempts": told}
    failures = [failure for failure in failures_of if failure is not None]
    if not failures:
        wait = math.ceil(min(max(reopens_in or 1.0, 1.0), _LONGEST_WAIT_SECONDS))
        return NoProviderAvailable(
            f"Every provider of this model is failing and resting. Try again in {wait} s.",
            headers={"retry-after": str(wait)},
            **details,
        )
    unsupported = [failure for failure in failures if failure.kind is FailureKind.UNSUPPORTED]
    if len(unsupported) == len(failures):
        return InvalidRequest(unsupported[0].message, param=unsupported[0].param, **details)
    failures = [failure for failure in failures if failure.kind is not FailureKind.UNSUPPORTED]
    statuses = {failure.status for failure in failures}
    if statuses <= {429}:
        waits = [f.retry_after_seconds for f in failures if f.retry_after_seconds is not None]
        wait = max(1, math.ceil(min(waits))) if waits else 1
        return UpstreamRateLimited(
            "Every provider of this model limits the rate of requests at the moment.",
            headers={"retry-after": str(wait)},
            **details,
        )
    if statuses <= {408}:
        return UpstreamRequestTimeout("Every provider of this model timed the request out.", **details)
    kinds = {failure.kind for failure in failures}
    if kinds == {FailureKind.AUTH}:
        return ProviderAuthFailed(
            "The providers of this model refused our credentials. Your API key is fine: "
            "an admin must renew the provider's key.",
            headers={"x-should-retry": "false"},
            **details,
        )
    if failures[-1].kind in (FailureKind.TIMEOUT, FailureKind.DEADLINE):
        return ProviderTimeout("No provider of this model answered in time.", **details)
    return AllProvidersFailed(f"No provider of this model could answer; the last one: {failures[-1].fate}.", **details)


def _told(attempt: Attempt, failure: Failure | None) -> dict[str, Any]:
    status = failure.status if failure else None
    return {
        "provider": attempt.provider,
        "status": status,
        "error": None if status else attempt.fate,
        "ms": attempt.ms,
    }


def without_secrets(failure: Failure, *, api_key: str, host: str) -> Failure:
    """Return an upstream's words without our key for it, whole or in part, and without its address: some echo both."""

    def cleaned(text: str) -> str:
        text = text[:_LONGEST_MESSAGE]
        for secret in (api_key, host):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "…")
        return _without_parts(text, api_key)

    said = (failure.type, failure.param, failure.code)
    type_, param, code = (text and cleaned(text) for text in said)
    return replace(failure, message=cleaned(failure.message), type=type_, param=param, code=code)


def _without_parts(text: str, secret: str) -> str:
    """Return a text without what is left of a secret that somebody else has shortened."""
    size = _LONGEST_PART + 1
    parts = {secret[at : at + size] for at in range(len(secret) - size + 1)}
    hidden = set[int]()
    for at in range(len(text) - size + 1):
        if text[at : at + size] in parts:
            hidden.update(range(at, at + size))
    if not hidden:
        return text
    told = (character if at not in hidden else "" if at - 1 in hidden else "…" for at, character in enumerate(text))
    return "".join(told)
