"""Overview: who sees what, what it costs, and what htmx gets of it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.test import Client as Browser

from accounts.models import Membership, Role, Tenant, User
from billing.models import TenantDailySpend
from gateway import traffic
from gateway.models import CircuitEvent, ModelRoute, Provider, RequestLog
from nexus.ids import time_of, uuid7, uuid7_at
from tests.conftest import Person
from tests.database import WALL

pytestmark = pytest.mark.django_db
ACME = "/t/acme/"


def make_provider(tenant: Tenant, name: str = "Primary", **fields: Any) -> Provider:
    provider: Provider = Provider.objects.create(
        tenant=tenant, name=name, **{"family": "openai", "base_url": "https://llm.example.com/v1", **fields}
    )
    return provider


def make_request(tenant: Tenant, *, minutes_ago: float = 1, **fields: Any) -> RequestLog:
    identifier = uuid7_at(round((datetime.now(UTC) - timedelta(minutes=minutes_ago)).timestamp() * 1000))
    row: RequestLog = RequestLog.objects.create(
        id=identifier,
        created_at=time_of(identifier),
        tenant=tenant,
        **{"endpoint": "chat/completions", "status": 200, "model": "gpt-4o", **fields},
    )
    return row


def text_of(response: Any) -> str:
    """Return what a reader reads: the page without its tags."""
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_a_stranger_is_sent_to_the_sign_in(db: None) -> None:
    for path in ("/", "/t/acme/"):
        response = Browser().get(path)
        assert (response.status_code, response.headers["location"]) == (302, f"/accounts/login/?next={path}")


def test_every_role_sees_its_tenant_and_itself(ada: Person, dev: Person, vera: Person) -> None:
    for person, role in ((ada, "admin"), (dev, "developer"), (vera, "viewer")):
        text = text_of(person.browser.get(ACME))
        assert f"Signed in as {person.user.email}, {role} of acme" in text


def test_one_can_log_out_from_it(ada: Person) -> None:
    page = ada.browser.get(ACME).content.decode()

    assert '<form method="post" action="/accounts/logout/"' in page
    assert ada.browser.post("/accounts/logout/").status_code == 302
    assert ada.browser.get(ACME).status_code == 302


def test_it_tells_the_circuits_in_words(ada: Person, acme: Tenant) -> None:
    provider = make_provider(acme, "Primary", simulated=True)
    CircuitEvent.objects.create(
        id=uuid7(),
        tenant=acme,
        provider_id=provider.id,
        created_at=datetime.now(UTC),
        from_state="half_open",
        to_state="closed",
        reason="2 probes succeeded",
    )

    text = text_of(ada.browser.get(ACME))

    assert re.search(r"Primary simulated 2 probes succeeded, just now Closed — idle", text)


def test_it_tells_a_failover_and_a_missing_price(ada: Person, acme: Tenant) -> None:
    make_request(
        acme,
        attempts=[{"provider": "openai", "fate": "503"}, {"provider": "openai_compatible", "fate": "200"}],
        latency_ms=412,
        input_tokens=31,
        output_tokens=7,
        usage_estimated=True,
        unpriced=True,
    )
    make_request(acme, minutes_ago=5, cost_usd=Decimal("0.000123"), status=502, error_class="server_error")

    page = ada.browser.get(ACME)
    text = text_of(page)

    assert "openai 503 → openai_compatible 2 200 412 ms ~31 / 7 no price" in text
    assert "502 server_error" in text
    assert "$0.000123" in text


def test_it_shows_the_last_8_requests_newest_first(ada: Person, acme: Tenant) -> None:
    for number in range(12):
        make_request(acme, minutes_ago=number + 1, model=f"model-{number:02}")

    shown = re.findall(r"model-\d\d", ada.browser.get(ACME).content.decode())

    assert shown == [f"model-{number:02}" for number in range(8)]


def test_it_shows_nothing_of_another_tenant(gus: Person, acme: Tenant) -> None:
    make_provider(acme, "Ours alone")
    make_request(acme, model="ours-alone")

    text = text_of(gus.browser.get("/t/globex/"))

    assert "Ours alone" not in text
    assert "ours-alone" not in text


def test_an_empty_tenant_is_told_how_to_begin_and_what_is_done(ada: Person, vera: Person, acme: Tenant) -> None:
    empty = text_of(ada.browser.get(ACME))
    ModelRoute.objects.create(
        tenant=acme, provider=make_provider(acme), public_name="my-model", upstream_name="their-model"
    )
    routed = ada.browser.get(ACME)
    begun = routed.content.decode().split('id="setup-title"')[1].split("</section>")[0]

    assert "No provider is connected yet" in empty
    assert "curl http://testserver/v1/chat/completions" in empty
    assert '"model":"my-model"' in unescape(text_of(routed)).replace(" ", "")
    assert begun.count('aria-label="done"') == 1
    assert begun.count('aria-label="to do"') == 2
    assert "Only admins can." in text_of(vera.browser.get(ACME))
    assert "Key figures" not in empty


def test_the_figures_are_those_of_the_range(ada: Person, acme: Tenant) -> None:
    provider = make_provider(acme, "Primary")
    failed_over = [{"provider": "openai", "fate": "503"}, {"provider": "openai", "fate": "200"}]
    for minutes in (5, 10, 15):
        make_request(
            acme, minutes_ago=minutes, provider_id=provider.id, duration_ms=2_000, input_tokens=900, output_tokens=100,
            cost_usd=Decimal("0.5"), attempts=failed_over if minutes == 5 else [],
        )  # fmt: skip
    make_request(acme, minutes_ago=20, provider_id=provider.id, status=502)
    make_request(acme, minutes_ago=90, duration_ms=60_000)  # of the hour before
    TenantDailySpend.objects.create(
        tenant=acme, day=datetime.now(UTC).date(), provider="openai", model="gpt-4o", requests=4, cost_usd="1.50"
    )

    text = text_of(ada.browser.get(ACME, {"range": "1h"}))

    assert "Requests 4 +300.0% vs the time before" in text
    assert "Failed for clients 25.00 % 1 absorbed by failover" in text
    assert "p95 latency 2.00 s" in text
    assert "Tokens 3k for $1.50" in text
    assert f"Spend, {datetime.now(UTC):%B} $1 .50" in text
    page = ada.browser.get(ACME, {"range": "1h"}).content.decode()
    assert 'aria-label="Requests by provider. 4 in all, 100% of it from Primary"' in page
    assert f'href="{ACME}requests/?range=1h&amp;status_class=5xx"' in page
    for measure, told in (("tokens", "3,000 in all"), ("cost", "$1.50 in all"), ("p95", "p95 of whole answers")):
        assert told in ada.browser.get(ACME, {"range": "1h", "measure": measure}).content.decode()
    assert "4 in all" in ada.browser.get(ACME, {"range": "1h", "measure": "nonsense"}).content.decode()


def test_with_more_requests_than_are_read_the_figures_say_since_when(
    ada: Person, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "BUDGET", 5)
    rows = [make_request(acme, minutes_ago=number + 1) for number in range(9)]

    page = ada.browser.get(ACME)

    assert "Figures and chart cover the newest 10,000 requests, which begin at" in text_of(page)
    assert (
        f'<time datetime="{rows[4].created_at:%Y-%m-%dT%H:%M:%S}' in page.content.decode().split('id="traffic-card"')[0]
    )
    assert "Requests 5 + more than are counted here" in text_of(page)
    assert "9 requests" not in text_of(ada.browser.get(f"{ACME}requests/"))
    assert "5+ requests" in text_of(ada.browser.get(f"{ACME}requests/"))
    assert "5 in all" in page.content.decode()


def test_now_is_told_beside_the_circuits(ada: Person, acme: Tenant) -> None:
    busy, idle = make_provider(acme, "Busy"), make_provider(acme, "Idle")
    make_request(acme, minutes_ago=1, provider_id=busy.id, duration_ms=1_500)
    make_request(acme, minutes_ago=50, provider_id=idle.id, duration_ms=9_000)

    text = text_of(ada.browser.get(ACME, headers={"hx-request": "true"}))

    assert re.search(r"Busy .*? Closed 1.50 s 100% now Idle .*? Closed — 0% now", text)


def test_the_demo_says_that_it_is_one(ada: Person, acme: Tenant) -> None:
    assert "simulated" not in text_of(ada.browser.get(ACME))
    Tenant.objects.filter(id=acme.id).update(is_demo=True)
    assert "Demo. The providers of this tenant are simulated" in text_of(ada.browser.get(ACME))


def test_without_a_tenant_it_says_whom_to_ask(db: None) -> None:
    browser = Browser()
    browser.force_login(User.objects.create(email="lone@nowhere.example"))

    assert "You are not a member of any tenant. Ask an admin to add lone@nowhere.example" in text_of(browser.get("/"))


def test_one_switches_between_tenants_of_ones_own_only(ada: Person, globex: Tenant) -> None:
    assert ada.browser.get("/t/globex/").status_code == 404
    Membership.objects.create(tenant=globex, user=ada.user, role=Role.VIEWER)

    switched = ada.browser.get("/t/globex/")

    assert "viewer of globex" in text_of(switched)
    assert "You have view access." in text_of(switched)
    assert ada.browser.get("/").headers["location"] == "/t/globex/"
    assert ada.browser.get("/t/nosuch/").status_code == 404


def test_an_open_circuit_is_told_above_everything(ada: Person, acme: Tenant, settings: Any) -> None:
    provider = make_provider(acme, "Primary")
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"  # the last recorded event is then what is known
    CircuitEvent.objects.create(
        id=uuid7(),
        tenant=acme,
        provider_id=provider.id,
        created_at=datetime.now(UTC),
        from_state="closed",
        to_state="open",
        reason="5 consecutive failures, the last: timeout",
    )

    whole = ada.browser.get(ACME).content.decode()
    part = ada.browser.get(ACME, headers={"hx-request": "true"}).content.decode()

    assert "Primary circuit is open." in whole.split('id="circuits"')[0]
    assert "5 consecutive failures, the last: timeout" in whole.split('id="circuits"')[0]
    assert 'id="strips" class="strips" role="status" hx-swap-oob="true"' in part
    assert "Primary circuit is open." in part
    assert "hx-swap-oob" not in whole


def test_the_range_in_the_address_chooses_the_requests(ada: Person, acme: Tenant) -> None:
    make_request(acme, minutes_ago=30, model="half-an-hour-old")

    assert "half-an-hour-old" in text_of(ada.browser.get(ACME, {"range": "1h"}))
    narrow = text_of(ada.browser.get(ACME, {"range": "15m"}))
    assert "half-an-hour-old" not in narrow
    assert "No requests in this time range" in narrow
    assert "is no time range" in text_of(ada.browser.get(ACME, {"range": "yesterday"}))


def test_htmx_gets_the_circuits_alone(ada: Person, acme: Tenant) -> None:
    make_provider(acme)
    make_request(acme)

    whole = ada.browser.get(ACME)
    part = ada.browser.get(ACME, headers={"hx-request": "true"})

    circuits = part.content.decode().split("</section>")[0].strip()
    assert circuits.startswith('<section class="card prov region" id="circuits"')
    assert circuits in whole.content.decode()
    assert "<html" not in part.content.decode()
    for response in (whole, part):
        assert "HX-Request" in response.headers["vary"]
        assert "no-store" in response.headers["cache-control"]
    assert 'hx-trigger="every 30s"' in part.content.decode()


def test_nothing_on_it_needs_an_inline_script_or_style(ada: Person, acme: Tenant) -> None:
    make_provider(acme)
    make_request(acme)

    response = ada.browser.get(ACME)
    page = response.content.decode()

    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)


def test_what_callers_chose_is_escaped(ada: Person, acme: Tenant) -> None:
    make_request(acme, model="<script>alert(1)</script>")

    assert "<script>alert(1)" not in ada.browser.get(ACME).content.decode()


def test_it_is_there_without_redis(ada: Person, acme: Tenant, settings: Any) -> None:
    make_provider(acme)
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"

    assert "The shared circuit state cannot be read at the moment." in text_of(ada.browser.get(ACME))


def test_it_costs_the_same_with_one_row_and_with_twenty(
    ada: Person, vera: Person, acme: Tenant, django_assert_num_queries: Any
) -> None:
    for rows in (1, 20):
        for number in range(rows):
            make_provider(acme, f"p{rows}-{number}")
            make_request(acme)
        for person in (ada, vera):
            # session, user, memberships; providers, latest events, now; requests, names; the range's reach, sums,
            # openings, time before, spend; the sidebar's circuits
            with django_assert_num_queries(WALL + 14):
                person.browser.get(ACME)
            with django_assert_num_queries(WALL + 6):  # session, user, membership; providers, latest events, now
                person.browser.get(ACME, headers={"hx-request": "true"})
