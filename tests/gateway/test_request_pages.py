"""The Requests page: filters in the address, pages, the drawer, live rows, the export."""

import re
from html import unescape
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import ApiKey, Tenant
from gateway import request_pages
from gateway.models import RequestLog
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key
from tests.gateway.test_overview import make_provider, make_request, text_of

pytestmark = pytest.mark.django_db
LIST = "/t/acme/requests/"


def shown(person: Person, query: str = "", **headers: str) -> list[str]:
    """Return the ids of the rows that a page of the list shows, in order."""
    page = person.browser.get(LIST + query, headers=headers).content.decode()
    return re.findall(r'<tr id="line-([0-9a-f-]+)"', page)


def test_every_role_reads_requests_and_those_who_may_see_keys_see_whose(
    ada: Person, dev: Person, vera: Person, acme: Tenant
) -> None:
    make_key(acme, ada.user, name="CI")
    key = ApiKey.objects.get(tenant=acme)
    row = make_request(acme, key_id=key.id)

    for person in (ada, dev):
        assert f"{key.prefix}…" in text_of(person.browser.get(LIST))
        assert "CI" in text_of(person.browser.get(LIST))
    theirs = text_of(vera.browser.get(LIST))
    assert key.prefix not in theirs
    assert key.prefix not in text_of(vera.browser.get(f"{LIST}{row.id}/"))
    assert shown(vera) == [str(row.id)]


def test_each_filter_in_the_address_narrows_the_list_and_can_be_taken_off(ada: Person, acme: Tenant) -> None:
    provider = make_provider(acme, "Secondary")
    key_id = uuid4()
    odd = make_request(
        acme, minutes_ago=40, status=503, provider_id=provider.id, model="other", key_id=key_id, streamed=True,
        duration_ms=6_000,
    )  # fmt: skip
    make_request(acme, duration_ms=200)

    for query, told in (
        ("status=503", "Status 503"),
        ("status_class=5xx", "Status 5xx failed"),
        ("status_class=failed", "Status All that failed"),
        (f"provider_id={provider.id}", "Provider Secondary"),
        ("model=other", "Model other"),
        (f"key_id={key_id}", f"Key {str(key_id)[:8]}"),
        ("streamed=true", "Answer Streamed"),
        ("min_duration_ms=5000", "Took ≥ 5.00 s"),
    ):
        assert shown(ada, f"?range=6h&{query}") == [str(odd.id)], query
        page = ada.browser.get(f"{LIST}?range=6h&{query}").content.decode()
        assert f'<a class="chip on" href="?range=6h" aria-label="{told}: remove this filter">' in page, query
    assert len(shown(ada, "?range=6h&status_class=2xx")) == 1
    assert shown(ada, "?range=15m&status_class=5xx") == []


def test_a_filter_that_cannot_be_read_is_left_out_and_said(ada: Person, acme: Tenant) -> None:
    row = make_request(acme)

    answer = ada.browser.get(f"{LIST}?status_class=blue&provider_id=7&model=gpt-4o")

    assert "“blue” is nothing that status_class can be. This filter is left out." in text_of(answer)
    assert "“7” is nothing that provider_id can be." in text_of(answer)
    assert shown(ada, "?status_class=blue&model=gpt-4o") == [str(row.id)]
    assert ada.browser.get(f"{LIST}?cursor=nonsense").status_code == 400


def test_each_way_of_finding_nothing_says_so_and_leads_on(ada: Person, acme: Tenant) -> None:
    first = text_of(ada.browser.get(LIST))
    assert "No request yet" in first
    assert "curl http://testserver/v1/chat/completions" in first

    make_request(acme, minutes_ago=60)

    assert "No requests in this time range" in text_of(ada.browser.get(f"{LIST}?range=15m"))
    filtered = ada.browser.get(f"{LIST}?range=6h&model=none").content.decode()
    assert "No requests match these filters" in filtered
    assert '<a class="btn sm" href="?range=6h">Clear filters</a>' in filtered
    assert "No request has this id" in text_of(ada.browser.get(f"{LIST}?q={uuid4()}"))
    assert "No request has this id" in text_of(ada.browser.get(f"{LIST}?q=half-an-id"))


def test_a_request_is_found_by_its_id_whatever_the_range(ada: Person, gus: Person, acme: Tenant) -> None:
    row = make_request(acme, minutes_ago=90)
    make_request(acme)

    assert shown(ada, f"?range=15m&q={row.id}") == [str(row.id)]
    found = ada.browser.get("/t/acme/palette/", {"q": str(row.id)}).content.decode()
    assert f'href="/t/acme/requests/{row.id}/"' in found
    theirs = gus.browser.get("/t/globex/palette/", {"q": str(row.id)}).content.decode()
    assert f"requests/{row.id}/" not in theirs


def test_pages_follow_each_other_with_the_filters(ada: Person, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_pages, "PAGE", 3)
    made = [str(make_request(acme, minutes_ago=number + 1).id) for number in range(7)]
    make_request(acme, status=500)
    seen, query = [], "?status_class=2xx"
    for _ in range(3):
        page = ada.browser.get(LIST + query).content.decode()
        seen += re.findall(r'<tr id="line-([0-9a-f-]+)"', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        query = unescape(following[1]) if following else ""

    assert seen == made
    assert query == ""
    assert '<a class="btn sm" href="?status_class=2xx">' in page  # back to the newest


def test_the_drawer_tells_how_it_was_routed_and_what_it_cost(ada: Person, acme: Tenant) -> None:
    primary, backup = make_provider(acme, "Primary"), make_provider(acme, "Backup")
    plan = {
        "weighted": False,
        "max_attempts": 4,
        "candidates": [{"provider": "openai", "provider_id": str(each.id), "weight": 1} for each in (primary, backup)],
    }
    row = make_request(
        acme, minutes_ago=5, provider="openai", provider_id=backup.id, upstream_model="gpt-4o-2024-08-06",
        attempts=[
            {"provider": "openai", "provider_id": str(primary.id), "fate": "503", "ms": 12, "kind": "server_error"},
            {"provider": "openai", "provider_id": str(uuid4()), "fate": "circuit_open", "ms": 0, "circuit": "open"},
            {"provider": "openai", "provider_id": str(backup.id), "fate": "200", "ms": 340},
        ],
        decision={"plan": plan}, duration_ms=900, input_tokens=11, output_tokens=7, cost_usd="0.0000975",
        price={"input": "2.50", "output": "10.00"},
    )  # fmt: skip
    newer = make_request(acme, minutes_ago=1)
    older = make_request(acme, minutes_ago=9)

    answer = ada.browser.get(f"{LIST}{row.id}/?range=1h", headers={"hx-request": "true", "hx-target": "drawer"})
    drawer = answer.content.decode()
    text = text_of(answer)

    assert "<html" not in drawer
    assert re.search(r"Primary answered 503: its own fault 12 ms .*openai left out: its circuit was open", text)
    assert "Backup answered 340 ms" in text
    assert "2 candidates, the highest weight first, at most 4 attempts." in text
    assert "$0.000098" in text
    assert "input $2.50, output $10.00 per million tokens" in text
    assert "x-nexus-route openai=503;openai=circuit_open;openai=200" in text
    assert "Not stored." in text
    assert f'href="/t/acme/requests/{newer.id}/?range=1h"' in drawer
    assert f'href="/t/acme/requests/{older.id}/?range=1h"' in drawer
    assert '<a class="btn icon ghost" href="/t/acme/requests/?range=1h" data-drawer-close' in drawer


def test_an_address_with_an_open_request_shows_list_and_drawer(ada: Person, gus: Person, acme: Tenant) -> None:
    row = make_request(acme, status=400, error_code="INVALID_REQUEST")

    page = ada.browser.get(f"{LIST}?open={row.id}").content.decode()
    assert f'data-drawer-title="{row.id}"' in page.split('id="drawer"')[1]
    assert f'<tr id="line-{row.id}" data-id="{row.id}" class="sel">' in page
    alone = ada.browser.get(f"{LIST}{row.id}/")
    assert "It was answered before any provider was asked: INVALID_REQUEST" in text_of(alone)
    for missing in (f"{LIST}?open={uuid4()}", f"{LIST}?open=x", f"{LIST}{uuid4()}/"):
        assert ada.browser.get(missing).status_code == 404
    assert gus.browser.get(f"/t/globex/requests/?open={row.id}").status_code == 404


def test_a_live_page_asks_only_for_what_is_new(ada: Person, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = {"hx-request": "true", "hx-target": "rows"}
    first = make_request(acme, minutes_ago=5)
    assert 'hx-trigger="every 2s"' in ada.browser.get(f"{LIST}?live=1").content.decode()
    assert 'hx-trigger="every 2s"' not in ada.browser.get(LIST).content.decode()
    assert shown(ada, f"?live=1&after={first.id}", **poll) == []

    newer = [str(make_request(acme, minutes_ago=number).id) for number in (1, 2)]
    make_request(acme, status=500)

    assert shown(ada, f"?live=1&status_class=2xx&after={first.id}", **poll) == newer
    assert shown(ada, "?live=1&status_class=2xx&after=", **poll) == [*newer, str(first.id)]
    monkeypatch.setattr(request_pages, "PAGE", 2)
    full = ada.browser.get(f"{LIST}?live=1&after={first.id}", headers=poll)
    assert full.headers["hx-reswap"] == "innerHTML"  # more may have come than fit: what is shown is replaced


def test_the_export_holds_what_the_filters_match(ada: Person, acme: Tenant) -> None:
    make_request(acme)
    failed = make_request(acme, status=503)

    page = ada.browser.get(f"{LIST}?status_class=5xx&live=1").content.decode()
    link = re.search(r'id="export" href="([^"]+)"', page)
    assert link is not None
    answer = ada.browser.get(LIST + unescape(link[1]))

    lines = answer.getvalue().decode().splitlines()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [line.partition(",")[0] for line in lines] == ["id", str(failed.id)]


def test_the_histogram_counts_what_matches_and_its_bars_lead_there(ada: Person, acme: Tenant) -> None:
    for minutes in (1, 2, 3):
        make_request(acme, minutes_ago=minutes)
    make_request(acme, minutes_ago=200, status=503)

    page = ada.browser.get(f"{LIST}?range=6h").content.decode()
    assert "4 requests, 1 of them failed" in page
    assert "1 requests, 1 of them failed" in ada.browser.get(f"{LIST}?range=6h&status_class=5xx").content.decode()
    links = re.findall(r'<a href="(\?from=[^"]+)" aria-label="[^"]* answered, [^"]*" tabindex="-1"></a>', page)
    assert sum(len(shown(ada, unescape(link))) for link in links) == 4


def test_what_callers_chose_is_escaped_in_a_page_and_quoted_in_a_command(ada: Person, acme: Tenant) -> None:
    row = make_request(acme, model="<script>'$(id)'")

    for path in (LIST, f"{LIST}{row.id}/"):
        assert "<script>'" not in ada.browser.get(path).content.decode()
    command = unescape(re.sub(r"<[^>]+>", "", ada.browser.get(f"{LIST}{row.id}/").content.decode()))
    assert r"""-d '{"model": "<script>'\''$(id)'\''", """ in command


def test_it_costs_the_same_with_one_row_and_with_fifty(
    ada: Person, acme: Tenant, django_assert_num_queries: Any
) -> None:
    provider = make_provider(acme)
    make_key(acme, ada.user)
    key_id = ApiKey.objects.get().id
    for rows in (1, 49):
        for number in range(rows):
            row = make_request(acme, minutes_ago=number + 2, key_id=key_id, provider_id=provider.id)
        # session, user, memberships; providers' names, rows, keys' prefixes; chips: models, keys;
        # histogram: its reach, its counts; the sidebar's circuits
        with django_assert_num_queries(WALL + 11):
            ada.browser.get(LIST)
        first = RequestLog.objects.order_by("-created_at").first()
        assert first is not None
        make_request(acme, key_id=key_id)
        poll = {"hx-request": "true", "hx-target": "rows"}
        with django_assert_num_queries(WALL + 6):  # session, user, membership; rows, names, prefixes
            ada.browser.get(f"{LIST}?live=1&after={first.id}", headers=poll)
    with django_assert_num_queries(WALL + 8):  # session, user, membership; row, names, prefix, newer, older
        ada.browser.get(f"{LIST}{row.id}/", headers={"hx-request": "true", "hx-target": "drawer"})
