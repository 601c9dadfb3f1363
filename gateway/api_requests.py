"""The request log over REST: pages, one row, and the same rows as CSV."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Tenant
from gateway.api_providers import caller_of
from gateway.models import RequestLog
from gateway.serializers import RequestSerializer
from nexus.errors import NotFound
from nexus.ids import time_of
from nexus.openapi import page_of
from nexus.rest import PageQuery, paginate
from nexus.tenancy import of_tenant

LOOK_BACK = timedelta(days=90)  # without `from`; as long as the log is kept
_STATUS_CLASSES = {"2xx": (200, 299), "4xx": (400, 499), "5xx": (500, 599)}
_CSV_PAGE = 1000  # rows
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
_CSV_COLUMNS = (
    "id", "created_at", "endpoint", "model", "provider", "provider_id", "upstream_model", "status", "error_class",
    "error_code", "retryable", "streamed", "attempts", "latency_ms", "ttft_ms", "duration_ms", "overhead_ms",
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "usage_estimated", "cost_usd", "key_id",
    "prompt_version", "simulated",
)  # fmt: skip


class RequestFilter(PageQuery):
    """The query of GET /v1/requests."""

    status = serializers.IntegerField(min_value=0, max_value=599, required=False)
    status_class = serializers.ChoiceField(choices=sorted(_STATUS_CLASSES), required=False)
    provider = serializers.CharField(max_length=32, required=False)
    provider_id = serializers.UUIDField(required=False)
    model = serializers.CharField(max_length=200, required=False)
    key_id = serializers.UUIDField(required=False)
    streamed = serializers.BooleanField(required=False, allow_null=True, default=None)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    format = serializers.ChoiceField(choices=("json", "csv"), required=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Give `since` and `until` the names they have in the query, of which one is a word of Python's."""
        fields = super().get_fields()
        return {{"since": "from", "until": "to"}.get(name, name): field for name, field in fields.items()}


class JsonOrOurOwn(DefaultContentNegotiation):
    """Leaves `format` to the view, where it is a field like any other; REST framework answers a strange one by 404."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class RequestList(APIView):
    scopes = {"GET": "analytics:read"}
    content_negotiation_class = JsonOrOurOwn

    @extend_schema(
        operation_id="listRequests",
        summary="List the requests, newest first, as JSON or CSV",
        parameters=[RequestFilter],
        responses={(200, "application/json"): page_of(RequestSerializer), (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponseBase:
        given = RequestFilter(data=request.query_params.dict())
        given.is_valid(raise_exception=True)
        rows = filtered(RequestLog.objects.for_tenant(caller_of(request).tenant), given.validated_data)
        if given.validated_data.get("format") == "csv":
            return _csv_response(request, rows, caller_of(request).tenant)
        return paginate(rows, request, lambda page: [request_json(row) for row in page])


class RequestDetail(APIView):
    scopes = {"GET": "analytics:read"}

    @extend_schema(operation_id="getRequest", summary="Show what became of a request", responses=RequestSerializer)
    def get(self, request: Request, request_id: UUID) -> Response:
        return Response(request_json(find_request(caller_of(request).tenant, request_id)))


def find_request(tenant: Tenant, request_id: UUID) -> RequestLog:
    """Return a row of a tenant. Raises NotFound. One query, which reads one partition."""
    row: RequestLog | None = None
    if request_id.version == 7 and (created_at := _moment_of(request_id)):
        row = RequestLog.objects.for_tenant(tenant).filter(id=request_id, created_at=created_at).first()
    if row is None:
        raise NotFound("There is no such request. Its row is readable within 2 s of the answer.")
    return row


def filtered(rows: QuerySet[RequestLog], given: dict[str, Any]) -> QuerySet[RequestLog]:
    """Return the rows asked for, always bounded by time, so that the database opens only the days it needs."""
    since = given.get("from") or timezone.now() - LOOK_BACK
    rows = rows.filter(created_at__gte=since)
    if "to" in given:
        rows = rows.filter(created_at__lt=given["to"])
    if "status_class" in given:
        rows = rows.filter(status__range=_STATUS_CLASSES[given["status_class"]])
    if given.get("streamed") is not None:
        rows = rows.filter(streamed=given["streamed"])
    exact = {name: given[name] for name in ("status", "provider", "provider_id", "model", "key_id") if name in given}
    return rows.filter(**exact)


def request_json(row: RequestLog) -> dict[str, Any]:
    """Return a row as the API shows it; money is a decimal string, None where no price is known."""
    return {
        "id": row.id,
        "created_at": row.created_at,
        "endpoint": row.endpoint,
        "streamed": row.streamed,
        "provider": row.provider,
        "provider_id": row.provider_id,
        "model": row.model,
        "upstream_model": row.upstream_model,
        "status": row.status,
        "error_class": row.error_class,
        "error_code": row.error_code,
        "retryable": row.retryable,
        "attempts": row.attempts,
        "decision": row.decision,
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "duration_ms": row.duration_ms,
        "overhead_ms": float(row.overhead_ms) if row.overhead_ms is not None else None,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "usage_estimated": row.usage_estimated,
        "cost_usd": format(row.cost_usd, "f") if row.cost_usd is not None else None,
        "price": row.price,
        "key_id": row.key_id,
        "prompt_version": row.prompt_version,
        "policy_events": row.policy_events,
        "simulated": row.simulated,
    }


def attempts_text(row: RequestLog) -> str:
    """Return the attempts as `x-nexus-route` tells them: `openai=503;openai=200`."""
    return ";".join(f"{attempt.get('provider')}={attempt.get('fate')}" for attempt in row.attempts)


def csv_chunks(rows: QuerySet[RequestLog], tenant: Tenant) -> Iterator[bytes]:
    """Yield a tenant's rows as CSV, newest first, a page at a time, so that memory holds one page of any export.

    The request's transaction is over by then; each page has one of its own, and none waits for a client.
    """
    yield _csv_lines([_CSV_COLUMNS])
    page = rows.order_by("-created_at", "-id")
    after: RequestLog | None = None
    while True:
        rest = page if after is None else page.filter(_older_than(after))
        with of_tenant(tenant.id):
            found = list(rest[:_CSV_PAGE])
        if not found:
            return
        yield _csv_lines(_csv_row(row) for row in found)
        after = found[-1]


def _older_than(row: RequestLog) -> Q:
    return Q(created_at__lt=row.created_at) | Q(created_at=row.created_at, id__lt=row.id)


def _csv_row(row: RequestLog) -> list[object]:
    shown = {
        **request_json(row),
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "attempts": attempts_text(row),
    }
    return [_safe(shown[column]) for column in _CSV_COLUMNS]


def _safe(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: model names come from whoever calls the gateway."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _csv_lines(lines: Iterable[Iterable[object]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(lines)
    return buffer.getvalue().encode()


def _csv_response(request: Request, rows: QuerySet[RequestLog], tenant: Tenant) -> StreamingHttpResponse:
    chunks = csv_chunks(rows, tenant)
    # Each server protocol takes the kind of iterator that it can send without holding the whole export in memory.
    body = _off_the_loop(chunks) if isinstance(request._request, ASGIRequest) else chunks
    return StreamingHttpResponse(
        body,
        content_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="requests.csv"', "cache-control": "no-store"},
    )


async def _off_the_loop(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes:
        return next(chunks, b"")

    while chunk := await sync_to_async(following)():
        yield chunk


def _moment_of(request_id: UUID) -> datetime | None:
    try:
        return time_of(request_id)
    except (ValueError, OverflowError):  # an id of a year that no calendar holds
        return None
