"""Searching the request log: nothing is missed, and nothing that matches little reads much."""

import json
from collections.abc import Container, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Tenant
from console.time_range import TimeRange
from gateway import request_search
from gateway.models import RequestLog
from gateway.request_search import Search, find, just_newer, newer_than, walk
from gateway.traffic import count_requests, covered
from nexus.ids import time_of, uuid7_at
from nexus.rest import Place
from tests.conftest import Person

pytestmark = pytest.mark.django_db
ROWS = 4_000
BUDGET = 200


def fill(
    tenant: Tenant, rows: int, *, failing: int = 10**9, rare: Container[int] = (), **fields: Any
) -> list[RequestLog]:
    """Make requests of the last minutes, newest first, one in `failing` of them failed, some of a rare model."""
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    made = []
    for number in range(rows):
        id_ = uuid7_at(now_ms - number * 50)
        status = 503 if number % failing == failing - 1 else 200
        made.append(
            RequestLog(
                id=id_, created_at=time_of(id_), tenant=tenant,
                model=fields.get("model") or ("rare" if number in rare else "gpt-4o"),
                endpoint="chat/completions", status=status,
            )
        )  # fmt: skip
    RequestLog.objects.bulk_create(made)
    return made


def looking_for(**fields: Any) -> Search:
    return Search(datetime.now(UTC) - timedelta(days=1), **fields)


def span() -> TimeRange:
    now = datetime.now(UTC)
    return TimeRange(now - timedelta(days=1), now + timedelta(seconds=1))


def scans(sql: str) -> Iterator[dict[str, Any]]:
    """Run a query and yield the nodes of its plan that read the log."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        (found,) = cursor.fetchone()
    plans = [(json.loads(found) if isinstance(found, str) else found)[0]["Plan"]]
    while plans:
        node = plans.pop()
        plans += node.get("Plans", [])
        if node.get("Relation Name", "").startswith("request_log"):
            yield node


def rows_read(queries: CaptureQueriesContext) -> int:
    """Return how many rows of the log all the captured queries read, those that did not match included."""
    read = 0
    for query in queries.captured_queries:
        for node in scans(query["sql"]):
            read += round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    return read


def test_a_filter_that_matches_nothing_reads_no_more_than_its_budget(acme: Tenant) -> None:
    fill(acme, ROWS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE request_log")
    search = looking_for(columns=(("model", "none"),))

    with CaptureQueriesContext(connection) as queries:
        found = find(acme, search, limit=50, budget=BUDGET)

    assert found.rows == []
    assert rows_read(queries) <= 2 * BUDGET + 2  # once for the page, once for where it ended
    with CaptureQueriesContext(connection) as queries:
        assert newer_than(acme, search, Place(search.since, uuid4()), limit=50, budget=BUDGET) == []
        assert just_newer(acme, search, Place(search.since, uuid4()), budget=BUDGET) is None
        assert count_requests(acme, search, span(), budget=BUDGET).total == 0
        covered(acme, search, span(), budget=BUDGET)
    assert rows_read(queries) <= 4 * BUDGET + 4


def test_failures_have_an_index_of_their_own(acme: Tenant) -> None:
    fill(acme, ROWS, failing=1_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE request_log")

    for fields in ({"failed": True}, {"status": 503}, {"status": (500, 599)}):
        with CaptureQueriesContext(connection) as queries:
            found = find(acme, looking_for(**fields), limit=50)
        assert len(found.rows) == 4
        assert found.further is None
        assert rows_read(queries) == 4
        for query in queries.captured_queries:
            used = [node.get("Index Name", "") for node in scans(query["sql"])]
            assert used
            assert all(name.endswith("_status_idx") for name in used), used  # a partition's part of it
    with CaptureQueriesContext(connection) as queries:
        assert find(acme, looking_for(status=404), limit=50).rows == []
    assert rows_read(queries) <= 4


def test_failures_are_counted_by_their_index_alone(acme: Tenant) -> None:
    fill(acme, ROWS, failing=100)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE request_log")
        cursor.execute("SET LOCAL enable_seqscan = off")  # so few rows that all of them are soon read

    with CaptureQueriesContext(connection) as queries:
        assert count_requests(acme, looking_for(status=(500, 599)), span()).total == ROWS // 100

    (counted,) = queries.captured_queries
    used = {node["Node Type"] for node in scans(counted["sql"]) if node["Actual Rows"]}
    assert used == {"Index Only Scan"}


def test_a_page_that_all_match_reads_a_page(acme: Tenant) -> None:
    fill(acme, ROWS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE request_log")

    with CaptureQueriesContext(connection) as queries:
        found = find(acme, looking_for(columns=(("model", "gpt-4o"),)), limit=50)

    assert len(found.rows) == 50
    assert rows_read(queries) <= 60


def test_a_search_goes_on_where_its_budget_ended_and_misses_nothing(acme: Tenant) -> None:
    places = (3, 24, 25, 59)
    rows = fill(acme, 60, rare=places)
    wanted = [rows[number] for number in places]
    search = looking_for(columns=(("model", "rare"),))

    pages, place = [], None
    while True:
        found = find(acme, search, limit=2, after=place, budget=20)
        pages.append([row.id for row in found.rows])
        assert found.reached is None or found.further is not None
        place = found.further
        if place is None:
            break

    assert [id_ for page in pages for id_ in page] == [row.id for row in wanted]
    assert len(pages) <= 5
    assert [row.id for page in walk(acme, search, page_size=2) for row in page] == [row.id for row in wanted]


def test_a_search_sees_its_own_tenant_only(acme: Tenant, globex: Tenant) -> None:
    fill(globex, 5, model="theirs")
    ours = fill(acme, 5)

    assert find(acme, looking_for(columns=(("model", "theirs"),)), limit=5).rows == []
    assert [row.id for row in find(acme, looking_for(), limit=9).rows] == [row.id for row in ours]


def test_what_came_after_a_request_is_found_both_ways(acme: Tenant) -> None:
    rows = fill(acme, 6)
    place = Place.of(rows[3])

    assert [row.id for row in newer_than(acme, looking_for(), place, limit=9)] == [row.id for row in rows[:3]]
    nearest = just_newer(acme, looking_for(), place, budget=100)
    assert nearest is not None
    assert nearest.id == rows[2].id
    assert just_newer(acme, looking_for(), Place.of(rows[0]), budget=100) is None


def test_figures_cover_what_the_budget_reaches(acme: Tenant) -> None:
    rows = fill(acme, 30, failing=10)
    day = span()

    whole = count_requests(acme, looking_for(), day)
    reached = covered(acme, looking_for(), day, budget=10)
    part = count_requests(acme, looking_for(), reached, budget=10)

    assert covered(acme, looking_for(), day) is day
    assert (whole.total, sum(whole.failed.values())) == (30, 3)
    assert (part.total, reached.since) == (10, rows[9].created_at)


def test_the_api_goes_on_with_a_short_page(ada: Person, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = fill(acme, 30, rare=(29,))
    monkeypatch.setattr(request_search, "BUDGET", 20)

    first = ada.browser.get("/v1/requests?model=rare").json()
    second = ada.browser.get(f"/v1/requests?model=rare&cursor={first['next_cursor']}").json()

    assert first["data"] == []
    assert [row["id"] for row in second["data"]] == [str(rows[29].id)]
    assert second["next_cursor"] is None
