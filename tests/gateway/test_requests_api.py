"""The request log over REST: shapes, filters, pages, CSV, and whose rows they are."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.http import StreamingHttpResponse
from django.test import AsyncClient
from django.test import Client as Browser

from accounts.models import Tenant
from gateway import api_requests
from gateway.models import RequestLog
from nexus.ids import time_of, uuid7_at
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key

pytestmark = pytest.mark.django_db
PRICE = {"input": "2.5", "output": "10", "cached_input": "1.25", "cache_write": "2.5", "source": "test"}


def make_request(tenant: Tenant, *, minutes_ago: float = 1, **fields: Any) -> RequestLog:
    """Make a row as the shipper does: `created_at` is the moment in the id."""
    moment = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    identifier = uuid7_at(round(moment.timestamp() * 1000))
    row: RequestLog = RequestLog.objects.create(
        id=identifier,
        created_at=time_of(identifier),
        tenant=tenant,
        **{"endpoint": "chat/completions", "status": 200, "provider": "openai", "model": "gpt-4o", **fields},
    )
    return row


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["data"]]


def test_a_request_is_told_with_all_its_facts(ada: Person, acme: Tenant) -> None:
    key_id, provider_id = uuid4(), uuid4()
    attempts = [
        {"provider": "openai", "provider_id": str(uuid4()), "fate": "503", "ms": 12},
        {"provider": "openai", "provider_id": str(provider_id), "fate": "200", "ms": 340},
    ]
    row = make_request(
        acme, key_id=key_id, provider_id=provider_id, upstream_model="gpt-4o-2024-08-06", attempts=attempts,
        latency_ms=340, ttft_ms=360, duration_ms=900, overhead_ms=Decimal("1.250"), input_tokens=11, output_tokens=7,
        cached_tokens=0, reasoning_tokens=0, cost_usd=Decimal("0.000097500"), price=PRICE, streamed=True,
    )  # fmt: skip

    body = ada.browser.get(f"/v1/requests/{row.id}").json()

    assert body == {
        "id": str(row.id),
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "endpoint": "chat/completions",
        "streamed": True,
        "provider": "openai",
        "provider_id": str(provider_id),
        "model": "gpt-4o",
        "upstream_model": "gpt-4o-2024-08-06",
        "status": 200,
        "error_class": None,
        "error_code": None,
        "retryable": None,
        "attempts": attempts,
        "decision": None,
        "latency_ms": 340,
        "ttft_ms": 360,
        "duration_ms": 900,
        "overhead_ms": 1.25,
        "input_tokens": 11,
        "output_tokens": 7,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "usage_estimated": False,
        "cost_usd": "0.000097500",
        "price": PRICE,
        "key_id": str(key_id),
        "prompt_version": None,
        "policy_events": [],
        "simulated": False,
    }
    assert ada.browser.get("/v1/requests").json() == {"data": [body], "next_cursor": None}


def test_a_cost_that_is_not_known_is_null_and_a_small_one_is_no_power_of_ten(ada: Person, acme: Tenant) -> None:
    unpriced = make_request(acme, unpriced=True, minutes_ago=1)
    small = make_request(acme, cost_usd=Decimal("0.000000001"), minutes_ago=2)

    rows = {row["id"]: row["cost_usd"] for row in ada.browser.get("/v1/requests").json()["data"]}

    assert rows == {str(unpriced.id): None, str(small.id): "0.000000001"}


def test_all_roles_read_requests_of_their_own_tenant(dev: Person, vera: Person, gus: Person, acme: Tenant) -> None:
    row = make_request(acme)

    assert [person.browser.get(f"/v1/requests/{row.id}").status_code for person in (dev, vera, gus)] == [200, 200, 404]
    assert [len(ids(person.browser.get("/v1/requests"))) for person in (dev, vera, gus)] == [1, 1, 0]


def test_a_key_needs_the_scope(ada: Person) -> None:
    key = make_key(ada.tenant, ada.user, scopes=["completions:write"])

    response = Browser().get("/v1/requests", headers={"authorization": f"Bearer {key}"})

    assert (response.status_code, response.json()["error"]["code"]) == (403, "SCOPE_REQUIRED")


@pytest.mark.parametrize("identifier", [uuid4(), uuid7_at(0), uuid7_at((1 << 48) - 1), UUID(int=0)])
def test_an_id_of_no_request_is_not_found(ada: Person, identifier: UUID) -> None:
    assert ada.browser.get(f"/v1/requests/{identifier}").status_code == 404


def test_it_filters_by_every_field_it_offers(ada: Person, acme: Tenant) -> None:
    key_id, provider_id = uuid4(), uuid4()
    odd = make_request(
        acme, minutes_ago=30, status=503, provider="openai_compatible", provider_id=provider_id, model="other",
        key_id=key_id, streamed=True,
    )  # fmt: skip
    plain = make_request(acme, minutes_ago=1)
    between = (odd.created_at + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")

    for query in (
        "status=503", "status_class=5xx", "provider=openai_compatible", f"provider_id={provider_id}", "model=other",
        f"key_id={key_id}", "streamed=true", f"to={between}", "status_class=5xx&streamed=true",
    ):  # fmt: skip
        assert ids(ada.browser.get(f"/v1/requests?{query}")) == [str(odd.id)], query
    for query in ("status=200", "status_class=2xx", "streamed=false", f"from={between}", "provider=openai"):
        assert ids(ada.browser.get(f"/v1/requests?{query}")) == [str(plain.id)], query
    assert ids(ada.browser.get("/v1/requests?status_class=4xx")) == []


@pytest.mark.parametrize(
    "query",
    [
        "colour=red",
        "status=abc",
        "status_class=3xx",
        "provider_id=7",
        "from=yesterday",
        "streamed=perhaps",
        "limit=0",
        "limit=x",
        "cursor=nonsense",
        "format=xml",
    ],
)
def test_it_refuses_a_query_that_it_does_not_understand(ada: Person, query: str) -> None:
    response = ada.browser.get(f"/v1/requests?{query}")

    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_REQUEST")
    assert response.json()["error"]["param"] == query.partition("=")[0]


def test_pages_follow_each_other_newest_first_and_miss_nothing(ada: Person, acme: Tenant) -> None:
    made = [str(make_request(acme, minutes_ago=number + 1).id) for number in range(7)]

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = ada.browser.get(f"/v1/requests?limit=3{cursor and '&cursor=' + cursor}").json()
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
        if len(seen) == 3:
            make_request(acme, minutes_ago=0)  # newer than the page: it moves nothing

    assert seen == made


def test_a_page_costs_one_query_however_long(ada: Person, acme: Tenant, django_assert_num_queries: Any) -> None:
    for rows in (1, 20):
        for _ in range(rows):
            make_request(acme)
        with django_assert_num_queries(WALL + 4):  # session, user, membership; page
            ada.browser.get("/v1/requests")


def test_a_list_opens_no_day_outside_its_bounds(ada: Person, acme: Tenant, django_assert_num_queries: Any) -> None:
    make_request(acme)
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0).isoformat().replace("+00:00", "Z")

    with django_assert_num_queries(WALL + 4) as captured:
        ada.browser.get(f"/v1/requests?from={since}&to={since}")

    (page,) = (query["sql"] for query in captured if "request_log" in query["sql"])
    assert '"created_at" >=' in page
    assert '"created_at" <' in page


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_export_holds_the_same_rows_as_csv(ada: Person, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_requests, "_CSV_PAGE", 2)  # so that five rows are three pages
    attempts = [
        {"provider": "openai", "fate": "503", "ms": 1},
        {"provider": "openai_compatible", "fate": "200", "ms": 2},
    ]
    made = [make_request(acme, minutes_ago=n + 1, attempts=attempts, cost_usd=Decimal("0.5")) for n in range(5)]
    make_request(acme, status=503)

    response = ada.browser.get("/v1/requests?format=csv&status_class=2xx")
    rows = rows_of(response.getvalue())

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="requests.csv"'
    assert [row["id"] for row in rows] == [str(row.id) for row in made]
    assert rows[0]["attempts"] == "openai=503;openai_compatible=200"
    assert (rows[0]["cost_usd"], rows[0]["streamed"], rows[0]["ttft_ms"]) == ("0.500000000", "false", "")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_export_is_a_formula(ada: Person, acme: Tenant, start: str) -> None:
    make_request(acme, model=f'{start}cmd|"/C calc"!A1')

    rows = rows_of(ada.browser.get("/v1/requests?format=csv").getvalue())

    assert rows[0]["model"] == f'\'{start}cmd|"/C calc"!A1'


def test_the_export_refuses_as_the_list_does(ada: Person, gus: Person, acme: Tenant) -> None:
    make_request(acme)

    refused = ada.browser.get("/v1/requests?format=csv&colour=red")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "colour")
    assert rows_of(gus.browser.get("/v1/requests?format=csv").getvalue()) == []


def test_the_export_streams_under_asgi_too(ada: Person, acme: Tenant) -> None:
    made = make_request(acme)
    key = ada.key

    async def fetch() -> bytes:
        response = await AsyncClient().get("/v1/requests?format=csv", headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 200
        return b"".join([chunk async for chunk in cast("StreamingHttpResponse", response)])

    assert [row["id"] for row in rows_of(async_to_sync(fetch)())] == [str(made.id)]


def test_a_client_that_accepts_only_csv_gets_it(ada: Person, acme: Tenant) -> None:
    made = make_request(acme)

    response = ada.browser.get("/v1/requests?format=csv", headers={"accept": "text/csv"})

    assert [row["id"] for row in rows_of(response.getvalue())] == [str(made.id)]
