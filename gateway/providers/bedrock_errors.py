"""What Bedrock's errors mean, as answers and as exceptions in a stream. Pure.

Facts: https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.providers.base import Failure, FailureKind, Headers
from gateway.providers.failures import by_status, retry_after_seconds

_STATUS = {
    "validationException": 400,
    "throttlingException": 429,
    "modelStreamErrorException": 424,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}
# The status says most of it; these say more, and some of them came with 400 from one version of AWS to the next.
_KINDS = {
    "AccessDeniedException": FailureKind.AUTH,
    "ExpiredTokenException": FailureKind.AUTH,
    "IncompleteSignatureException": FailureKind.AUTH,
    "InvalidClientTokenId": FailureKind.AUTH,
    "InvalidSignatureException": FailureKind.AUTH,
    "MissingAuthenticationTokenException": FailureKind.AUTH,
    "UnrecognizedClientException": FailureKind.AUTH,
    "ThrottlingException": FailureKind.RATE_LIMIT,
    "ModelNotReadyException": FailureKind.RATE_LIMIT,
    "ServiceQuotaExceededException": FailureKind.QUOTA,
    # The model broke, not the request; but it is a 4xx, and those the breaker does not see.
    "ModelErrorException": FailureKind.RATE_LIMIT,
}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def parse_error(status: int, headers: Headers, body: bytes) -> Failure:
    """Classify an answer with an error status, by its exception's name and else by the status."""
    content = _content(body)
    name = _name(headers, content)
    message = _message(content) or f"The provider answered {status}."
    kind = _KINDS.get(name, by_status(status))
    if kind is FailureKind.RATE_LIMIT and "per day" in message:
        kind = FailureKind.QUOTA
    return Failure(kind, message, status=status, code=name or None, retry_after_seconds=retry_after_seconds(headers))


def exception_failure(headers: Mapping[str, str], payload: bytes) -> Failure:
    """Classify an exception or an error that came as a frame of a stream."""
    name = headers.get(":exception-type") or headers.get(":error-code") or ""
    message = _message(_content(payload)) or headers.get(":error-message") or "The provider reported an error."
    status = _STATUS.get(name, 500)
    kind = FailureKind.SERVER if status == 424 else by_status(status)
    # In a stream that began with 200 the breaker sees what broke it, the model's failure too.
    return Failure(kind, message, status=status if kind is FailureKind.REQUEST else 200, code=name or None)


def _name(headers: Headers, content: dict[str, Any]) -> str:
    """Return the exception's name without the namespaces that come before or after it."""
    named = next((value.decode("latin-1") for name, value in headers if name == b"x-amzn-errortype"), "")
    named = named or str(content.get("__type") or content.get("code") or "")
    return named.partition(":")[0].rpartition("#")[2]


def _content(body: bytes) -> dict[str, Any]:
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}


def _message(content: dict[str, Any]) -> str:
    message = content.get("message") or content.get("Message")
    return message if isinstance(message, str) else ""
