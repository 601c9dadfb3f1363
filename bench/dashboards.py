"""What people wait for over a large request log: the pages, the API's lists and the rollup, each as a whole answer
made in this process, and the share of it that the database took."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any
from urllib.parse import urlencode

from django.db import connection, connections
from django.db.models import Count, Sum
from django.test import Client

from accounts.audit import Actor
from accounts.models import Role, Tenant, User
from accounts.services import add_member, create_tenant
from bench.features import NOT_BUILT
from bench.log_filling import DAYS, fill
from bench.programs import CannotMeasure
from bench.result import Answer, Dashboards
from billing.models import TenantDailySpend
from gateway.models import RequestLog

_ACTOR = Actor.system("benchmark")
_TIMES = 15
_LONG_TIMES, _LONG_MS = 3, 1000.0  # what takes longer is asked less often


class _Watch:
    """Counts queries and the time they take, fetching included as far as the driver does it at once."""

    def __init__(self) -> None:
        self.queries, self.seconds = 0, 0.0

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            self.seconds += time.perf_counter() - began
            self.queries += 1


def main(arguments: list[str]) -> Dashboards:
    """Fill a tenant's log with as many rows as the argument says, and ask for everything that reads it."""
    rows = int(arguments[0])
    tenant = create_tenant(slug="bench-log", name="bench-log", actor=_ACTOR)
    user = User.objects.create(email="reader@bench.example.com")
    add_member(tenant, email=user.email, role=Role.ADMIN, actor=_ACTOR)
    seconds = fill(tenant, rows, say=lambda line: print(line, file=sys.stderr, flush=True))
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    answers = [_timed(client, name, path, shown) for name, path, shown in _paths(tenant, client)]
    answers += [_timed_query(name, read) for name, read in _rollup_reads(tenant)]
    return Dashboards(rows=rows, fill_seconds=round(seconds, 1), log_mb=_log_mb(), answers=answers)


def _paths(tenant: Tenant, client: Client) -> Iterator[tuple[str, str, str]]:
    """Yield what is asked for, what is not built yet included: name, path, and the path as the report shows it."""
    middle = datetime.now(UTC) - timedelta(days=DAYS / 2)
    row = RequestLog.objects.for_tenant(tenant).filter(created_at__gte=middle).order_by("created_at", "id").first()
    if row is None:
        raise CannotMeasure("The request log has no row in the middle of its month.")
    to_middle = {"to": row.created_at.isoformat()}
    cursor = client.get(f"/v1/requests?{urlencode(to_middle)}").json()["next_cursor"]
    in_the_middle = urlencode({**to_middle, "cursor": cursor})
    for name, path in (
        ("overview", ""),
        ("requests", "requests/"),
        ("requests of a month", "requests/?range=30d"),
        ("requests of a month that failed", "requests/?range=30d&status_class=5xx"),
        ("requests of a model that nobody asked for", "requests/?range=30d&model=none"),
        ("providers", "providers/"),
        ("keys", "keys/"),
        ("members", "members/"),
        ("audit log", "audit/"),
    ):
        yield name, f"/t/{tenant.slug}/{path}", f"/t/{{slug}}/{path}"
    yield "the newest 50", "/v1/requests", "/v1/requests"
    yield "a page in the middle of the month", f"/v1/requests?{in_the_middle}", "/v1/requests?to&cursor"
    for name, query in (
        ("server errors", "status_class=5xx"),
        ("one model", "model=gpt-4o"),
        ("a model that nobody asked for", "model=none"),
    ):
        yield name, f"/v1/requests?{query}", f"/v1/requests?{query}"
    yield "one request", f"/v1/requests/{row.id}", "/v1/requests/{id}"
    period = urlencode({"from": (datetime.now(UTC) - timedelta(days=DAYS)).isoformat()})
    for report in ("latency", "errors", "spend", "tokens", "reliability"):
        yield f"a month of {report}", f"/v1/analytics/{report}?{period}", f"/v1/analytics/{report}?from"
    yield "spend", "/v1/billing/spend", "/v1/billing/spend"
    yield "incidents", "/v1/incidents", "/v1/incidents"


def _rollup_reads(tenant: Tenant) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """Yield the sums that dashboards make of the daily rollup."""
    month = TenantDailySpend.objects.for_tenant(tenant).filter(day__gte=datetime.now(UTC).date() - timedelta(days=DAYS))
    sums = {"cost": Sum("cost_usd", default=Decimal(0)), "asked": Sum("requests"), "models": Count("model")}
    yield "a month by day", lambda: list(month.values("day").annotate(**sums).order_by("day"))
    yield (
        "a month by provider and model",
        lambda: list(month.values("provider", "model").annotate(**sums).order_by("provider", "model")),
    )


def _timed(client: Client, name: str, path: str, shown: str) -> Answer:
    first = client.get(path)
    if first.status_code == 404:
        return Answer(name, shown, NOT_BUILT)
    if first.status_code != 200:
        raise CannotMeasure(f"{path} answered {first.status_code}: {first.content[:300]!r}")
    return _measured(name, shown, lambda: client.get(path))


def _timed_query(name: str, read: Callable[[], list[Any]]) -> Answer:
    if not read():
        raise CannotMeasure(f"{name}: the rollup is empty.")
    return _measured(name, "tenant_daily_spend", read)


def _measured(name: str, path: str, ask: Callable[[], object]) -> Answer:
    """Ask some more times, after a first one that has filled the caches."""
    samples: list[tuple[float, float, int]] = []
    while len(samples) < (_LONG_TIMES if samples and samples[0][0] > _LONG_MS else _TIMES):
        with _watched() as watch:
            began = time.perf_counter()
            ask()
            elapsed_ms = (time.perf_counter() - began) * 1000
        samples.append((elapsed_ms, watch.seconds * 1000, watch.queries))
    return Answer(
        name,
        path,
        "measured",
        times=len(samples),
        ms=round(median(total for total, _, _ in samples), 2),
        slowest_ms=round(max(total for total, _, _ in samples), 2),
        database_ms=round(median(database for _, database, _ in samples), 2),
        queries=max(queries for _, _, queries in samples),
    )


@contextmanager
def _watched() -> Iterator[_Watch]:
    """Watch every connection: pages use another role's than what is no tenant's (nexus/database_roles.py)."""
    watch = _Watch()
    with ExitStack() as stack:
        for one in connections.all():
            stack.enter_context(one.execute_wrapper(watch))
        yield watch


def _log_mb() -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'request_log'::regclass"
        )
        (size,) = cursor.fetchone()
    return round(float(size) / 1e6, 1)
