"""Requests of a tenant by filters, newest first, at a cost that has a bound whatever matches.

The index gives a tenant's requests in their order, and those that failed in theirs. Every other filter is compared row
by row, and a model that nobody asked for is in none of a million rows. So a search looks through a budget of rows, and
where that is used up before the page is full it says how far it came: the next page goes on from there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from accounts.models import Tenant
from gateway.models import RequestLog
from nexus.rest import Place

LOOK_BACK = timedelta(days=90)  # as long as the log is kept
BUDGET = 50_000  # rows that one page looks through
STATUS_CLASSES: Mapping[str, tuple[int, int]] = {"2xx": (200, 299), "4xx": (400, 499), "5xx": (500, 599)}
FAILED = Q(status__lt=200) | Q(status__gt=299)  # as the index `request_log_failures` has it
_COLUMNS = "provider", "provider_id", "model", "key_id", "streamed"


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. `status` is one status or a span of them; `columns` are to be equal; times are half open."""

    since: datetime
    until: datetime | None = None
    status: int | tuple[int, int] | None = None
    failed: bool = False
    slower_than_ms: int | None = None
    columns: tuple[tuple[str, Any], ...] = ()

    @property
    def by_index(self) -> Q:
        """What the index finds."""
        wanted = Q(created_at__gte=self.since)
        if self.until is not None:
            wanted &= Q(created_at__lt=self.until)
        return wanted & self._status if self._is_of_failures else wanted

    @property
    def by_row(self) -> Q:
        """What has to be compared, empty for nothing."""
        wanted = Q(**dict(self.columns))
        if self.slower_than_ms is not None:
            wanted &= Q(duration_ms__gte=self.slower_than_ms)
        return wanted if self._is_of_failures else wanted & self._status

    @property
    def _status(self) -> Q:
        if isinstance(self.status, tuple):
            return Q(status__range=self.status)
        if self.status is not None:
            return Q(status=self.status)
        return FAILED if self.failed else Q()

    @property
    def _is_of_failures(self) -> bool:
        if self.status is None:
            return self.failed
        first, last = self.status if isinstance(self.status, tuple) else (self.status, self.status)
        return last < 200 or first > 299


@dataclass(frozen=True, slots=True)
class Found:
    """A page of rows. `further` is where the next one begins, None at the end of all.

    `reached` is set where the budget was used up before the page was full: the moment down to which was looked.
    """

    rows: list[RequestLog]
    further: Place | None = None
    reached: datetime | None = None


def search_of(given: Mapping[str, Any], *, now: datetime) -> Search:
    """Return the search that a valid query asks for: times, status and columns, as the API names them."""
    group = given.get("status_class", "")
    return Search(
        since=given.get("from") or now - LOOK_BACK,
        until=given.get("to"),
        status=given.get("status", STATUS_CLASSES.get(group)),
        failed=group == "failed",
        slower_than_ms=given.get("min_duration_ms"),
        columns=tuple((name, given[name]) for name in _COLUMNS if given.get(name) is not None),
    )


def find(tenant: Tenant, search: Search, *, limit: int, after: Place | None = None, budget: int | None = None) -> Found:
    """Return a page of a tenant's requests. One query, two where it is not full; cheap whatever matches."""
    budget = budget or BUDGET
    newest = _newest(tenant, search, after)
    if not search.by_row:
        rows = list(newest[: limit + 1])
    else:
        sql, parameters = among(newest[:budget], search.by_row)
        # Ours but for the parameters; the order is kept by the subquery, and asked for again to be sure of it.
        ordered = f"SELECT * FROM {sql} ORDER BY created_at DESC, id DESC LIMIT {limit + 1}"  # noqa: S608
        rows = list(RequestLog.objects.raw(ordered, parameters))
    if len(rows) > limit:
        return Found(rows[:limit], Place.of(rows[limit - 1]))
    last = newest.values_list("created_at", "id")[budget - 1 : budget].first() if search.by_row else None
    return Found(rows, Place(*last), last[0]) if last else Found(rows)


def newer_than(tenant: Tenant, search: Search, place: Place, *, limit: int, budget: int = BUDGET) -> list[RequestLog]:
    """Return the newest of the requests that came after a place. One query."""
    later = Q(created_at__gt=place.at) | Q(created_at=place.at, id__gt=place.id)
    rows = _newest(tenant, replace(search, since=max(search.since, place.at)), None).filter(later)
    if not search.by_row:
        return list(rows[:limit])
    sql, parameters = among(rows[:budget], search.by_row)
    ordered = f"SELECT * FROM {sql} ORDER BY created_at DESC, id DESC LIMIT {limit}"  # noqa: S608  (as above)
    return list(RequestLog.objects.raw(ordered, parameters))


def just_newer(tenant: Tenant, search: Search, place: Place, *, budget: int) -> RequestLog | None:
    """Return the request that comes right after a place, None where there is none within the budget. One query."""
    later = Q(created_at__gt=place.at) | Q(created_at=place.at, id__gt=place.id)
    rows = _newest(tenant, replace(search, since=max(search.since, place.at)), None).filter(later)
    sql, parameters = among(rows.order_by("created_at", "id")[:budget], search.by_row)
    ordered = f"SELECT * FROM {sql} ORDER BY created_at, id LIMIT 1"  # noqa: S608  (as above)
    return next(iter(RequestLog.objects.raw(ordered, parameters)), None)


def walk(tenant: Tenant, search: Search, *, page_size: int) -> Iterator[list[RequestLog]]:
    """Yield all that matches, page by page; some may be empty. Between two of them no query is open."""
    place: Place | None = None
    while True:
        found = find(tenant, search, limit=page_size, after=place)
        yield found.rows
        place = found.further
        if place is None:
            return


def among(rows: QuerySet[RequestLog], wanted: Q) -> tuple[str, list[Any]]:
    """Return `(rows) request_log WHERE wanted` as SQL: what a query finds within the rows of another.

    Django has no filter after a slice, and a subquery by ids would be planned as a join of all rows.
    """
    inner, parameters = rows.query.sql_with_params()
    condition, more = condition_of(wanted)
    return f'({inner}) "request_log" WHERE {condition}', [*parameters, *more]


def condition_of(wanted: Q) -> tuple[str, list[Any]]:
    """Return a condition on rows of the request log as SQL."""
    if not wanted:
        return "TRUE", []
    within = RequestLog.objects.filter(wanted).query
    condition, parameters = within.get_compiler(connection=connection).compile(within.where)
    return condition, list(parameters)


def newest(tenant: Tenant, search: Search) -> QuerySet[RequestLog]:
    """Return what the index finds of a search, newest first. To be cut to a budget."""
    return _newest(tenant, search, None)


def _newest(tenant: Tenant, search: Search, after: Place | None) -> QuerySet[RequestLog]:
    rows: QuerySet[RequestLog] = RequestLog.objects.for_tenant(tenant).filter(search.by_index)
    if after is not None:
        rows = rows.filter(after.older).filter(created_at__lte=after.at)
    return rows.order_by("-created_at", "-id")
