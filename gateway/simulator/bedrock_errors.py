"""Errors in Bedrock's own words: the class in a header, the message in the body."""

import msgspec

from gateway.simulator.dialect import Refused, Reply

_NAMESPACE = "http://internal.amazon.com/coral/com.amazon.bedrock/"
_FAILURES = {
    400: ("ValidationException", "The request was rejected."),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    402: ("AccessDeniedException", "INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "This model version has reached the end of its life."),
    408: ("ModelTimeoutException", "Model has timed out in processing the request. Try your request again."),
    409: ("ConflictException", "The resource was changed by another request."),
    413: ("RequestEntityTooLargeException", "Request entity too large."),
    424: (
        "ModelErrorException",
        "The model encountered an unexpected error during processing. Try your request again.",
    ),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system encountered an unexpected error during processing."),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request."),
}
SIGNATURE_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


def error(kind: str, message: str, status: int) -> Reply:
    return Reply(
        status, msgspec.json.encode({"message": message}), headers=(("x-amzn-errortype", f"{kind}:{_NAMESPACE}"),)
    )


def failure(status: int, message: str | None) -> Reply:
    """Return the error for a status, with Bedrock's message for it or the given one."""
    kind, usual = _FAILURES.get(status) or _FAILURES[400 if status < 500 else 500]
    return error(kind, message or usual, status)


def invalid(message: str) -> Refused:
    """Return the refusal of a request that the client got wrong, to be raised."""
    return Refused(error("ValidationException", message, 400))


def constraint(path: str, value: object, rule: str) -> Refused:
    """Return the refusal of a member that breaks a constraint of the API's model."""
    return invalid(
        f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: Member must {rule}"
    )


def by_the_model(message: str) -> Refused:
    """Return a refusal that comes from the model's provider, not from Bedrock itself."""
    return invalid(f"The model returned the following errors: {message}")


def forbidden(kind: str, message: str) -> Refused:
    """Return the refusal of a credential."""
    return Refused(error(kind, message, 403))
