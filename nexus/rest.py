"""What the management APIs share: strict input, one error shape, keyset pages."""

import base64
import binascii
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any, Self
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Model, Q, QuerySet
from django.http import Http404
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from nexus.errors import (
    Forbidden,
    InvalidApiKey,
    InvalidRequest,
    MethodNotAllowed,
    NexusError,
    NotFound,
    UnsupportedMediaType,
)
from nexus.http import broken_promise, request_id

logger = logging.getLogger(__name__)
DEFAULT_LIMIT, MOST = 50, 200


class NotAcceptable(NexusError):
    code = "NOT_ACCEPTABLE"
    status = 406
    type = "invalid_request_error"


class TooManyRequests(NexusError):
    code = "RATE_LIMITED"
    status = 429


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses members it does not know, by name, and in JSON a value of another kind.

    In a query everything is text; in a body `parsed` asks for JSON's own kinds, where REST framework would take 7 for
    "7" and "yes" for true.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(set(map(str, data)) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({unknown[0]: ["This member is not known here."]})
            if self.context.get("json"):
                for name, field in self.fields.items():
                    if fault := _wrong_kind(field, data.get(name)):
                        raise serializers.ValidationError({name: fault})
        return super().to_internal_value(data)


def _wrong_kind(field: serializers.Field[Any, Any, Any, Any], value: Any) -> Any:
    """Return what is wrong with a value's kind, as REST framework tells it: a list of faults, or those of its members.

    None is as it should be. null is the field's own to judge, and so are the fields that are not named here.
    """
    match field, value:
        case _, None:
            return None
        case serializers.BooleanField(), _:
            return None if isinstance(value, bool) else ["This must be true or false."]
        case serializers.IntegerField(), _:
            is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return None if is_whole and not isinstance(value, bool) else ["This must be a whole number."]
        case ((serializers.CharField() | serializers.DateTimeField() | serializers.ChoiceField()), _):
            return None if isinstance(value, str) else ["This must be a text."]
        case serializers.ListField(child=child), list():
            return _wrong_members(child, enumerate(value))
        case serializers.DictField(child=child), dict():
            return _wrong_members(child, value.items())
    return None


def _wrong_members(field: serializers.Field[Any, Any, Any, Any], members: Iterable[tuple[Any, Any]]) -> Any:
    return next(({name: fault} for name, value in members if (fault := _wrong_kind(field, value))), None)


class PageQuery(StrictSerializer):
    """The query of a list that comes in pages; `paginate` reads it."""

    limit = serializers.IntegerField(min_value=1, max_value=MOST, required=False, help_text=f"{DEFAULT_LIMIT} if none.")
    cursor = serializers.CharField(
        required=False, allow_blank=True, help_text="The `next_cursor` of the page before; empty for the first."
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list that is in the order of (created_at, id), newest first: a page begins below it."""

    at: datetime
    id: UUID

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(row.created_at, row.id)

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Read a place from the text that clients hand back. Raises InvalidRequest."""
        try:
            at, id_ = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            place = cls(datetime.fromisoformat(at), UUID(id_))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, binascii.Error):
            raise InvalidRequest("cursor is not one that a list has answered.", param="cursor") from None
        if place.at.tzinfo is None:
            raise InvalidRequest("cursor is not one that a list has answered.", param="cursor")
        return place

    @property
    def cursor(self) -> str:
        text = json.dumps([self.at.isoformat(), str(self.id)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @property
    def older(self) -> Q:
        """The rows below it."""
        return Q(created_at__lt=self.at) | Q(created_at=self.at, id__lt=self.id)


def parsed(serializer: type[StrictSerializer], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """Return the request's body as the serializer understands it. Raises InvalidRequest with the member at fault."""
    try:
        given = request.data
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    if not isinstance(given, Mapping):
        raise InvalidRequest("The body must be a JSON object.")
    reader = serializer(data=given, partial=partial, context={"json": True})
    reader.is_valid(raise_exception=True)
    return dict(reader.validated_data)


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response:
    """Render every exception of a view in OpenAI's shape. A fault of our own is logged and tells nothing else.

    What the view has written is undone with its transaction, as of every answer that is an error (nexus/tenancy.py).
    """
    request = context["request"]
    error = _as_nexus_error(exception)
    if error is None and isinstance(exception, IntegrityError):
        error = broken_promise(exception)
    if error is None:
        logger.error("A request failed.", extra={"request_id": request_id(request)}, exc_info=exception)
        error = NexusError("NEXUS failed on this request. Its log tells more under the request id.")
    return Response(error.body(str(request_id(request))), status=error.status, headers=error.headers)


def _as_nexus_error(exception: Exception) -> NexusError | None:
    match exception:
        case NexusError():
            return exception
        case exceptions.ValidationError():
            param, message = _first_fault(exception.detail)
            return InvalidRequest(f"{param}: {message}" if param else message, param=param)
        case exceptions.ParseError():
            return InvalidRequest("The body is not valid JSON.")
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return InvalidApiKey()
        case exceptions.PermissionDenied() | PermissionDenied():
            return Forbidden(str(exception) or "You may not do this.")
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed(str(exception.detail))
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType("Send JSON, with the content type application/json.")
        case exceptions.NotAcceptable():
            return NotAcceptable("This answers JSON, which your Accept header does not take.")
        case exceptions.Throttled():
            wait = ceil(getattr(exception, "wait", None) or 1)  # seconds
            return TooManyRequests(str(exception.detail), headers={"retry-after": str(wait)})
        case Http404() | exceptions.NotFound():
            return NotFound("There is no such object, or it is not yours.")
    return None


def _first_fault(detail: Any, path: str = "") -> tuple[str | None, str]:
    """Return the dotted path of the first thing wrong, and what is wrong with it."""
    if isinstance(detail, Mapping):
        name, inner = next(iter(detail.items()))
        own = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
        return _first_fault(inner, own)
    if isinstance(detail, list):
        index, inner = next((i, item) for i, item in enumerate(detail) if item)
        return _first_fault(inner, f"{path}.{index}" if isinstance(inner, Mapping) else path)
    return path or None, str(detail)


def paginate[Row: Model](
    rows: QuerySet[Row], request: Request, as_json: Callable[[list[Row]], list[dict[str, Any]]]
) -> Response:
    """Answer one page, newest first: `{"data", "next_cursor"}`. One query, whose cost does not grow with the page.

    `as_json` turns the page's rows into JSON, all at once, so that it may look things up for all of them in one query.
    The cursor names the last row seen (created_at, id), so rows that are added meanwhile move nothing.
    """
    limit = asked_limit(request)
    place = asked_place(request)
    if place is not None:
        rows = rows.filter(place.older).filter(created_at__lte=place.at)
    page = list(rows.order_by("-created_at", "-id")[: limit + 1])
    return page_response(as_json(page[:limit]), Place.of(page[limit - 1]) if len(page) > limit else None)


def page_response(data: list[dict[str, Any]], further: Place | None) -> Response:
    """Answer one page in the shape of all lists."""
    return Response({"data": data, "next_cursor": further.cursor if further else None})


def asked_place(request: Request) -> Place | None:
    """Return where the page asked for begins; None for the first. Raises InvalidRequest."""
    cursor = request.query_params.get("cursor")
    return Place.read(cursor) if cursor else None


def asked_limit(request: Request) -> int:
    """Return how many rows a page may have. Raises InvalidRequest."""
    value = request.query_params.get("limit")
    if value is None:
        return DEFAULT_LIMIT
    if not (value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= MOST):
        raise InvalidRequest(f"limit must be a number from 1 to {MOST}.", param="limit")
    return int(value)
