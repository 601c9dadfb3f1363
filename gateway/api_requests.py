"""The request log over REST: pages, one row, and the same rows as CSV."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
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
from gateway.request_search import STATUS_CLASSES, Search, find, search_of, walk
from gateway.serializers import RequestSerializer
from nexus.errors import NotFound
from nexus.ids import time_of
from nexus.openapi import page_of
from nexus.rest import PageQuery, asked_limit, asked_place, page_response
from nexus.spreadsheets import safe_cell
from nexus.tenancy import of_tenant

_CSV_PAGE = 1000  # rows
_CSV_COLUMNS = (
    "id", "created_at", "endpoint", "model", "provider", "provider_id", "upstream_model", "status", "error_class",
    "error_code", "retryable", "streamed", "attempts", "latency_ms", "ttft_ms", "duration_ms", "overhead_ms",
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "usage_estimated", "cost_usd", "key_id",
    "prompt_version", "simulated",
)  # fmt: skip


class RequestFilter(PageQuery):
    """The query of GET /v1/requests."""

    status = serializers.IntegerField(min_value=0, max_value=599, required=False)
    status_class = serializers.ChoiceField(choices=(*sorted(STATUS_CLASSES), "failed"), required=False)
    provider = serializers.CharField(max_length=32, required=False)
    provider_id = serializers.UUIDField(required=False)
    model = serializers.CharField(max_length=200, required=False)
    key_id = serializers.UUIDField(required=False)
    streamed = serializers.BooleanField(required=False, allow_null=True, default=None)
    min_duration_ms = serializers.IntegerField(min_value=0, max_value=2_147_483_647, required=False)
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
        description="A page looks through 50,000 requests at most. Where few of them match it may be short, or empty, "
        "and `next_cursor` goes on from there; null is the end.",
        parameters=[RequestFilter],
        responses={(200, "application/json"): page_of(RequestSerializer), (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponseBase:
        given = RequestFilter(data=request.query_params.dict())
        given.is_valid(raise_exception=True)
        tenant = caller_of(request).tenant
        search = search_of(given.validated_data, now=timezone.now())
        if given.validated_data.get("format") == "csv":
            return csv_response(request._request, tenant, search)
        found = find(tenant, search, limit=asked_limit(request), after=asked_place(request))
        return page_response([request_json(row) for row in found.rows], found.further)


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


def csv_chunks(tenant: Tenant, search: Search) -> Iterator[bytes]:
    """Yield what matches as CSV, newest first, a page at a time, so that memory holds one page of any export.

    The request's transaction is over by then; each page has one of its own, and none waits for a client.
    """
    yield _csv_lines([_CSV_COLUMNS])
    pages = walk(tenant, search, page_size=_CSV_PAGE)
    while True:
        with of_tenant(tenant.id):
            found = next(pages, None)
        if found is None:
            return
        if found:
            yield _csv_lines(_csv_row(row) for row in found)


def _csv_row(row: RequestLog) -> list[object]:
    shown = {
        **request_json(row),
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "attempts": attempts_text(row),
    }
    return [safe_cell(shown[column]) for column in _CSV_COLUMNS]


def _csv_lines(lines: Iterable[Iterable[object]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(lines)
    return buffer.getvalue().encode()


def csv_response(request: HttpRequest, tenant: Tenant, search: Search) -> StreamingHttpResponse:
    """Answer all that matches as a file."""
    chunks = csv_chunks(tenant, search)
    # Each server protocol takes the kind of iterator that it can send without holding the whole export in memory.
    body = _off_the_loop(chunks) if isinstance(request, ASGIRequest) else chunks
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
