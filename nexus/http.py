"""What every answer of Django's has in common: a request id, and errors in one shape under /v1, pages elsewhere."""

from collections.abc import Awaitable
from uuid import UUID

import psycopg
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render

from nexus.errors import Conflict, Forbidden, InvalidRequest, NexusError, NotFound
from nexus.ids import uuid7
from nexus.logs import bound, bound_now
from nexus.middleware import Middleware

API_PREFIX = "/v1/"
OUR_TRIGGERS = "23000"  # integrity_constraint_violation
_TITLES = {
    400: "Malformed request",
    403: "You may not do this",
    404: "Nothing here",
    409: "This cannot be done now",
    429: "Too many attempts",
}


class ServerError(NexusError):
    """A fault of our own; the log has the traceback."""


class TooMany(NexusError):
    """A form sent too often, mostly to guess something."""

    code = "RATE_LIMITED"
    status = 429


class RequestIdMiddleware(Middleware):
    """Gives each request an id (UUIDv7), sent as `x-request-id` and told by the log. A client's own id is not taken."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        request.request_id = uuid7()  # type: ignore[attr-defined]  # read back by request_id()
        if self.is_async:
            return self._later(request)
        with bound(request_id=request_id(request)):
            return self._marked(request, self.get_response(request))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        with bound(request_id=request_id(request)):
            return self._marked(request, await self.get_response(request))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer what a page or Django's admin let through: an error of ours, or a refusal of the database's."""
        error = broken_promise(exception) if isinstance(exception, IntegrityError) else exception
        return _fail(request, error) if isinstance(error, NexusError) else None

    def _marked(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        request.log_fields = bound_now()  # type: ignore[attr-defined]  # read back by nexus.logs
        # The data plane's views have set their own: the id of the request's row.
        response.headers.setdefault("x-request-id", str(request_id(request)))
        return response


def request_id(request: HttpRequest) -> UUID:
    """Return the request's id."""
    identifier: UUID = getattr(request, "request_id", None) or uuid7()
    return identifier


def client_ip(request: HttpRequest) -> str | None:
    """Return the address that connected to us, None over a Unix socket without a front."""
    return request.META.get("REMOTE_ADDR") or None


def broken_promise(error: IntegrityError) -> Conflict | None:
    """Return what a trigger of ours refused, in its words; None where the database speaks for itself.

    Our triggers raise the bare class 23000, which PostgreSQL's own constraints never use.
    """
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error) or cause.sqlstate != OUR_TRIGGERS:
        return None
    return Conflict(f"Refused: {cause.diag.message_primary}.", constraint=cause.diag.constraint_name)


def error_response(error: NexusError, request: HttpRequest) -> JsonResponse:
    """Return an error as JSON."""
    return JsonResponse(error.body(str(request_id(request))), status=error.status, headers=error.headers)


def _fail(request: HttpRequest, error: NexusError) -> HttpResponse:
    if request.path.startswith(API_PREFIX):
        return error_response(error, request)
    context = {
        "status": error.status,
        "title": _TITLES.get(error.status, "NEXUS failed" if error.status >= 500 else "This did not work"),
        "message": error.message,
        "request_id": request_id(request),
    }
    return render(request, "error.html", context, status=error.status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _fail(request, InvalidRequest("The request is malformed."))


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _fail(request, Forbidden("You may not do this. An admin of your tenant can."))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _fail(request, NotFound("There is nothing at this address, or it is not yours."))


def too_many(request: HttpRequest) -> HttpResponse:
    return _fail(request, TooMany("Too many attempts from here. Wait a minute, then try again."))


def server_error(request: HttpRequest) -> HttpResponse:
    request.failing = True  # type: ignore[attr-defined]  # whoever renders the page asks nothing more of the database
    return _fail(request, ServerError("NEXUS failed on this request. Its log tells more under the request id."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _fail(request, Forbidden("This form is no longer valid. Go back, reload the page and send it again."))
