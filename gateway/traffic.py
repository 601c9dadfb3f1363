"""What the newest requests came to, over time: summed up in the log itself, within a budget of rows.

Whoever has more requests than that gets figures of a shorter time, which `covered` returns, and is told so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Q

from accounts.models import Tenant
from console.time_range import TimeRange
from gateway.request_search import Search, among, condition_of, newest

BUDGET = 10_000  # rows
_SUMS = """
    count(*), count(*) FILTER (WHERE status >= 500),
    count(*) FILTER (WHERE status BETWEEN 200 AND 299 AND jsonb_array_length(attempts) > 1),
    coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0), coalesce(sum(cost_usd), 0),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE status BETWEEN 200 AND 299)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests by the start of their bucket."""

    answered: Mapping[datetime, int]
    failed: Mapping[datetime, int]

    @property
    def total(self) -> int:
        return sum(self.answered.values()) + sum(self.failed.values())


@dataclass(frozen=True, slots=True)
class Sums:
    """What some requests came to. `failed` were answered 5xx, `absorbed` were answered after a failed attempt.

    `p95_ms` is of whole answers that succeeded, None without any.
    """

    requests: int = 0
    failed: int = 0
    absorbed: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """How a provider has answered. Times are milliseconds of whole attempts that succeeded, None without any."""

    asked: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def error_rate(self) -> float | None:
        return self.failed / self.asked if self.asked else None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Sums over a time range: of all, by bucket, and by bucket and provider."""

    whole: Sums = Sums()
    buckets: Mapping[datetime, Sums] = field(default_factory=dict)
    providers: Mapping[UUID | None, Mapping[datetime, Sums]] = field(default_factory=dict)


def covered(tenant: Tenant, search: Search, span: TimeRange, *, budget: int | None = None) -> TimeRange:
    """Return what of a range figures can be had for: all, or since the newest `budget` requests began. One query."""
    edge = newest(tenant, search).values_list("created_at", flat=True)
    at = (budget or BUDGET) - 1
    begins: datetime | None = edge[at : at + 1].first()
    return span if begins is None else replace(span, since=begins, preset="")


def count_requests(tenant: Tenant, search: Search, span: TimeRange, *, budget: int | None = None) -> Counts:
    """Count what matches a search, by the buckets of a range that is covered. One query."""
    rows, parameters = among(newest(tenant, replace(search, since=span.since))[: budget or BUDGET], Q())
    matching, more = condition_of(search.by_row)
    sql = f"""
        SELECT date_bin(%s::interval, created_at, %s),
               count(*) FILTER (WHERE status BETWEEN 200 AND 299), count(*)
        FROM {rows} AND {matching} GROUP BY 1 ORDER BY 1
    """  # noqa: S608  (ours but for the parameters)
    with connection.cursor() as cursor:
        cursor.execute(sql, [*_bins(span), *parameters, *more])
        found: list[tuple[datetime, int, int]] = cursor.fetchall()
    return Counts({row[0]: row[1] for row in found}, {row[0]: row[2] - row[1] for row in found})


def traffic(tenant: Tenant, search: Search, span: TimeRange) -> Traffic:
    """Sum up a range that is covered. One query, which reads each row once."""
    rows, parameters = among(newest(tenant, replace(search, since=span.since))[:BUDGET], search.by_row)
    sql = f"""
        SELECT GROUPING(bucket, provider_id), bucket, provider_id, {_SUMS}
        FROM (SELECT date_bin(%s::interval, created_at, %s) AS bucket, * FROM {rows}) AS binned
        GROUP BY GROUPING SETS ((bucket, provider_id), (bucket), ())
    """  # noqa: S608  (as above)
    whole, buckets = Sums(), {}
    providers: dict[UUID | None, dict[datetime, Sums]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [*_bins(span), *parameters])
        for grouped, bucket, provider_id, *sums in cursor.fetchall():
            match grouped:
                case 0:
                    providers.setdefault(provider_id, {})[bucket] = Sums(*sums)
                case 1:
                    buckets[bucket] = Sums(*sums)
                case _:
                    whole = Sums(*sums)
    return Traffic(whole, buckets, providers)


def by_provider(tenant: Tenant, since: datetime) -> Mapping[UUID | None, Sums]:
    """Sum up the newest requests since a moment by the provider that answered, or was tried last. One query."""
    rows, parameters = among(newest(tenant, Search(since))[:BUDGET], Q())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT provider_id, {_SUMS} FROM {rows} GROUP BY 1", parameters)  # noqa: S608  (as above)
        return {provider_id: Sums(*sums) for provider_id, *sums in cursor.fetchall()}


def attempts_by_provider(tenant: Tenant, since: datetime) -> Mapping[str, Attempts]:
    """Sum up the attempts of the newest requests since a moment, by the provider's id as text. One query."""
    rows, parameters = among(newest(tenant, Search(since))[:BUDGET], Q())
    sql = f"""
        SELECT attempt->>'provider_id', count(*), count(*) FILTER (WHERE attempt->>'kind' IS NOT NULL),
               percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY (attempt->>'ms')::int)
                   FILTER (WHERE attempt->>'fate' = '200')
        FROM (SELECT attempts FROM {rows}) AS asked CROSS JOIN jsonb_array_elements(attempts) AS attempt
        WHERE coalesce(attempt->>'circuit', '') NOT IN ('open', 'half_open') GROUP BY 1
    """  # noqa: S608  (as above)
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return {
            id_: Attempts(asked, failed, *(times or (None,) * 3)) for id_, asked, failed, times in cursor.fetchall()
        }


def how_many(tenant: Tenant, search: Search) -> int | None:
    """Count what the index finds of a search; None for more than the budget. One query."""
    found = newest(tenant, search)[: BUDGET + 1].count()
    return None if found > BUDGET else found


def _bins(span: TimeRange) -> tuple[str, datetime]:
    return f"{span.bucket.total_seconds()} seconds", span.buckets[0]
