"""The errors that clients see, from any endpoint, in OpenAI's shape.

    NexusError                  code, status, type; raised anywhere, rendered once per surface
    ├── InvalidRequest          400 INVALID_REQUEST, with the parameter at fault
    ├── InvalidApiKey           401 INVALID_API_KEY
    ├── ScopeRequired           403 SCOPE_REQUIRED
    ├── BadRequestHead          400 INVALID_REQUEST, a request that is no HTTP/1.1
    ├── MethodNotAllowed        405 METHOD_NOT_ALLOWED
    ├── RequestTimeout          408 REQUEST_TIMEOUT, a client that takes too long
    ├── BodyTooLarge            413 BODY_TOO_LARGE
    ├── UnsupportedMediaType    415 UNSUPPORTED_MEDIA_TYPE, a body that is said to be no JSON
    ├── UnsupportedEncoding     415 UNSUPPORTED_ENCODING, a compressed body
    ├── HeadTooLarge            431 HEAD_TOO_LARGE, too many headers or too long ones
    ├── Forbidden               403 FORBIDDEN
    ├── NotFound                404 NOT_FOUND
    ├── Conflict                409 CONFLICT
    └── …                       an error of one module stands beside the function that raises it

`type` uses OpenAI's own words, because its SDKs choose the exception by status and show the type.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

TYPES_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}


class NexusError(Exception):
    """An error with a stable code and HTTP status; the message says what to do about it."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: int = 500
    type: ClassVar[str | None] = None

    def __init__(
        self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.details = details

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body. What is ours alone lies under `error.nexus`, where typed clients ignore it."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.type or TYPES_BY_STATUS.get(self.status, "server_error"),
            "param": self.param,
            "code": self.code,
            "request_id": request_id,
        }
        if self.details:
            error["nexus"] = self.details
        return {"error": error}


class InvalidRequest(NexusError):
    code = "INVALID_REQUEST"
    status = 400


class InvalidApiKey(NexusError):
    code = "INVALID_API_KEY"
    status = 401

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message or "The API key is missing, unknown, expired or revoked. Send `Authorization: Bearer nxk_…`.",
            headers={"www-authenticate": "Bearer", "x-should-retry": "false"},
        )


class ScopeRequired(NexusError):
    code = "SCOPE_REQUIRED"
    status = 403

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This needs the scope `{scope}`, which your key or role lacks. Ask an admin of your tenant for it.",
            headers={"x-should-retry": "false"},
            scope=scope,
        )


class BadRequestHead(NexusError):
    code = "INVALID_REQUEST"
    status = 400


class RequestTimeout(NexusError):
    code = "REQUEST_TIMEOUT"
    status = 408


class ServiceStopping(NexusError):
    code = "SERVICE_STOPPING"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "This process of the gateway must stop before it has an answer. Send the request again.",
            headers={"retry-after": "1"},
        )


class MethodNotAllowed(NexusError):
    code = "METHOD_NOT_ALLOWED"
    status = 405


class BodyTooLarge(NexusError):
    code = "BODY_TOO_LARGE"
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than the {limit} bytes that NEXUS_MAX_BODY_BYTES allows.")


class HeadTooLarge(NexusError):
    code = "HEAD_TOO_LARGE"
    status = 431

    def __init__(self, limit: int, message: str = "") -> None:
        super().__init__(message or f"The head of the request is larger than {limit // 1024} KiB.")


class UnsupportedMediaType(NexusError):
    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


class UnsupportedEncoding(NexusError):
    code = "UNSUPPORTED_ENCODING"
    status = 415

    def __init__(self, encoding: bytes) -> None:
        told = encoding[:40].decode("ascii", "replace")
        super().__init__(f"The content encoding `{told}` is not supported: send the body as it is.")


class Forbidden(NexusError):
    code = "FORBIDDEN"
    status = 403


class NotFound(NexusError):
    code = "NOT_FOUND"
    status = 404


class Conflict(NexusError):
    code = "CONFLICT"
    status = 409
