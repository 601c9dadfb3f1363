"""What the newest requests came to, over time: counted in the log itself, within a budget of rows.

Whoever has more requests than the budget gets figures of the newest ones, and is told since when they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from accounts.models import Tenant
from gateway.request_search import Search, among, condition_of, newest

BUDGET = 20_000  # rows


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests by bucket. `since` is set where older ones lie beyond the budget: the moment the figures begin."""

    answered: Mapping[datetime, int]
    failed: Mapping[datetime, int]
    since: datetime | None = None

    @property
    def total(self) -> int:
        return sum(self.answered.values()) + sum(self.failed.values())


def count_requests(
    tenant: Tenant, search: Search, *, step: timedelta, origin: datetime, budget: int = BUDGET
) -> Counts:
    """Count what matches a search, by buckets of `step`. One query."""
    rows, parameters = among(newest(tenant, search)[:budget], Q())
    matching, more = condition_of(search.by_row)
    sql = f"""
        SELECT date_bin(%s::interval, created_at, %s), min(created_at), count(*),
               count(*) FILTER (WHERE status BETWEEN 200 AND 299 AND {matching}),
               count(*) FILTER (WHERE status NOT BETWEEN 200 AND 299 AND {matching})
        FROM {rows} GROUP BY 1 ORDER BY 1
    """  # noqa: S608  (ours but for the parameters)
    with connection.cursor() as cursor:
        cursor.execute(sql, [f"{step.total_seconds()} seconds", origin, *more, *more, *parameters])
        found: Sequence[tuple[datetime, datetime, int, int, int]] = cursor.fetchall()
    looked_at = sum(row[2] for row in found)
    return Counts(
        answered={row[0]: row[3] for row in found},
        failed={row[0]: row[4] for row in found},
        since=found[0][1] if found and looked_at >= budget else None,
    )
