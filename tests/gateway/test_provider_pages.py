"""The Providers pages: who sees what, what admins do, and what of it the audit log keeps."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client as Browser

from accounts.models import AuditEvent, Tenant
from gateway.circuit import Status
from gateway.circuit_scripts import read_states
from gateway.models import CircuitEvent, ModelRoute, Provider
from gateway.services import open_api_key
from nexus.ids import uuid7
from nexus.redis_clients import sync_client
from tests.conftest import Person
from tests.database import WALL
from tests.gateway.test_overview import make_provider, make_request, text_of
from tests.upstream import Upstream

pytestmark = pytest.mark.django_db
LIST = "/t/acme/providers/"
KEY = "sk-very-secret-key-4321"
FORM = {
    "name": "Primary", "family": "openai", "base_url": "", "api_key": KEY, "weight": "150", "timeout_s": "30",
    "models": "gpt-4o\nfast = gpt-4o-mini\n", "enabled": "1",
}  # fmt: skip


def connect(person: Person, **fields: str) -> Provider:
    answer = person.browser.post(f"{LIST}new/", {**FORM, **fields})
    assert answer.status_code == 303, answer.content
    provider: Provider = Provider.objects.get(name=fields.get("name", "Primary"))
    return provider


def state_of(provider: Provider, settings: Any) -> Status:
    return read_states(sync_client(settings.REDIS_URL), [provider.id])[provider.id].status


def test_an_admin_connects_a_provider_whose_key_is_never_shown_again(ada: Person, acme: Tenant) -> None:
    provider = connect(ada)

    assert (provider.weight, provider.timeout_s, provider.enabled) == (150, 30, True)
    assert provider.base_url == "https://api.openai.com/v1"
    assert open_api_key(provider) == KEY
    assert dict(ModelRoute.objects.values_list("public_name", "upstream_name")) == {
        "gpt-4o": "gpt-4o", "fast": "gpt-4o-mini",
    }  # fmt: skip
    assert AuditEvent.objects.get(action="provider.created").actor_label == ada.user.email
    for path in (LIST, f"{LIST}{provider.id}/", f"{LIST}{provider.id}/edit/"):
        page = ada.browser.get(path).content.decode()
        assert KEY not in page
        assert provider.api_key_sealed not in page
    assert "set, ends in …4321" in text_of(ada.browser.get(f"{LIST}{provider.id}/"))


def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost_but_the_key(
    ada: Person, settings: Any
) -> None:
    settings.NEXUS_ALLOW_PRIVATE_PROVIDERS = ""
    for field, value, told in (
        ("name", "", "may not be blank"),
        ("weight", "heavy", "valid integer"),
        ("models", "  \n", "at least one model"),
        ("family", "bedrock2", "The family is unknown"),
        ("base_url", "http://127.0.0.1/v1", "which is not dialled"),
    ):
        answer = ada.browser.post(f"{LIST}new/", {**FORM, field: value})
        page = answer.content.decode()
        assert answer.status_code == 422, field
        assert told in page, field
        assert re.search(rf'id="f-{field}"[^>]*aria-invalid="true"', page), field
        assert f'id="f-{field}-fault"' in page
        assert KEY not in page
        assert 'value="30"' in page
    assert not Provider.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_preset_is_chosen_in_the_form_and_shown_again(ada: Person) -> None:
    provider = connect(ada, name="fast", family="openai_compatible", preset="groq")
    assert (provider.base_url, provider.options) == ("https://api.groq.com/openai/v1", {"preset": "groq"})
    assert "Groq" in text_of(ada.browser.get(f"{LIST}{provider.id}/"))
    form = ada.browser.get(f"{LIST}{provider.id}/edit/").content.decode()
    assert '<option value="groq" selected>Groq</option>' in form
    edited = {**FORM, "name": "fast", "api_key": "", "base_url": provider.base_url, "preset": ""}
    assert ada.browser.post(f"{LIST}{provider.id}/edit/", edited).status_code == 303
    provider.refresh_from_db()
    assert provider.options == {}


def test_a_name_that_is_taken_is_told_beside_the_name(ada: Person) -> None:
    connect(ada)
    answer = ada.browser.post(f"{LIST}new/", FORM)
    assert answer.status_code == 422
    assert "There is a provider named Primary already." in answer.content.decode()


def test_vertex_ai_is_connected_by_two_fields(ada: Person) -> None:
    provider = connect(ada, family="gemini", vertex_project="acme", vertex_location="europe-west4")
    assert provider.options == {"vertex": {"project": "acme", "location": "europe-west4"}}
    assert provider.base_url == "https://europe-west4-aiplatform.googleapis.com"
    edit = ada.browser.get(f"{LIST}{provider.id}/edit/").content.decode()
    assert 'value="acme"' in edit
    assert 'value="europe-west4"' in edit
    half = ada.browser.post(f"{LIST}new/", {**FORM, "family": "gemini", "vertex_project": "acme", "name": "Half"})
    assert half.status_code == 422
    assert "vertex must be an object of two names" in half.content.decode()
    cleared = {**FORM, "base_url": provider.base_url, "vertex_project": "", "vertex_location": ""}
    assert ada.browser.post(f"{LIST}{provider.id}/edit/", cleared).status_code == 303
    provider.refresh_from_db()
    assert (provider.options, provider.base_url) == ({}, "https://generativelanguage.googleapis.com")


def test_a_change_keeps_the_key_unless_the_address_changes(ada: Person) -> None:
    provider = connect(ada)
    edit = f"{LIST}{provider.id}/edit/"
    without_key = {**FORM, "api_key": "", "base_url": provider.base_url, "weight": "1", "organization": "org-1"}

    assert ada.browser.post(edit, without_key).status_code == 303
    provider.refresh_from_db()
    assert (provider.weight, provider.options, open_api_key(provider)) == (1, {"organization": "org-1"}, KEY)
    moved = ada.browser.post(edit, {**without_key, "base_url": "https://llm.example.com/v1"}, follow=True)
    provider.refresh_from_db()
    assert provider.api_key_sealed == ""
    assert "The API key was deleted, because base_url changed" in text_of(moved)
    assert ada.browser.post(edit, {**without_key, "api_key": KEY}).status_code == 303
    assert ada.browser.post(edit, {**without_key, "forget_key": "1"}).status_code == 303
    provider.refresh_from_db()
    assert provider.api_key_sealed == ""


def test_roles_see_what_is_theirs_and_only_admins_act(ada: Person, dev: Person, vera: Person) -> None:
    provider = connect(ada)
    page = f"{LIST}{provider.id}/"

    theirs, viewers = text_of(dev.browser.get(page)), text_of(vera.browser.get(page))

    assert "https://api.openai.com/v1" in theirs
    assert "Force open" not in theirs
    assert "https://api.openai.com/v1" not in viewers
    assert "4321" not in viewers
    assert "Closed" in viewers
    assert "Only admins can change providers." in text_of(dev.browser.get(LIST))
    for person in (dev, vera):
        for path in ("edit", "test", "circuit", "switch", "delete"):
            assert person.browser.post(f"{page}{path}/").status_code == 403
    assert Browser(enforce_csrf_checks=True).post(f"{page}delete/").status_code == 403
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(ada.user)
    assert strict.post(f"{page}delete/").status_code == 403  # no token
    assert Provider.objects.exists()


def test_a_circuit_is_opened_and_closed_by_hand_for_a_reason(ada: Person, acme: Tenant, settings: Any) -> None:
    provider = connect(ada)
    page = f"{LIST}{provider.id}/"

    refused = ada.browser.post(f"{page}circuit/", {"state": "open", "reason": "  "})
    assert refused.status_code == 422
    assert "Give a reason" in refused.content.decode()
    assert state_of(provider, settings) is Status.CLOSED

    opened = ada.browser.post(f"{page}circuit/", {"state": "open", "reason": "maintenance"}, follow=True)
    assert "The circuit of Primary is open." in text_of(opened)
    assert f"opened by {ada.user.email}: maintenance" in text_of(opened)
    assert state_of(provider, settings) is Status.OPEN
    ada.browser.post(f"{page}circuit/", {"state": "closed", "reason": "done"})
    assert state_of(provider, settings) is Status.CLOSED

    events = CircuitEvent.objects.order_by("created_at", "id").values_list("from_state", "to_state", "reason")
    assert list(events) == [
        ("closed", "open", f"opened by {ada.user.email}: maintenance"),
        ("open", "closed", f"closed by {ada.user.email}: done"),
    ]
    audited = AuditEvent.objects.filter(action__startswith="provider.circuit").order_by("created_at", "id")
    assert [(event.action, event.changes["reason"][1]) for event in audited] == [
        ("provider.circuit_opened", "maintenance"), ("provider.circuit_closed", "done"),
    ]  # fmt: skip


def test_without_redis_no_circuit_is_forced_and_nothing_is_recorded(ada: Person, settings: Any) -> None:
    provider = connect(ada)
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"

    answer = ada.browser.post(f"{LIST}{provider.id}/circuit/", {"state": "open", "reason": "maintenance"})

    assert answer.status_code == 503
    assert "Redis does not answer" in answer.content.decode()
    assert not CircuitEvent.objects.exists()
    assert not AuditEvent.objects.filter(action="provider.circuit_opened").exists()


def test_a_connection_is_tested_beside_its_button(ada: Person, settings: Any) -> None:
    settings.NEXUS_ALLOW_PRIVATE_PROVIDERS = "true"
    provider = connect(ada, base_url="http://127.0.0.1:9/v1")
    page = f"{LIST}{provider.id}/test/"

    part = ada.browser.post(page, headers={"hx-request": "true"})
    whole = ada.browser.post(page, follow=True)

    assert "The test failed." in text_of(part)
    assert "<html" not in part.content.decode()
    assert "Primary: " in text_of(whole)
    with Upstream(family="openai") as upstream:
        good = connect(ada, name="Good", base_url=upstream.base_url)
        answer = ada.browser.post(f"{LIST}{good.id}/test/", headers={"hx-request": "true"})
    assert "It answers, and takes the key." in text_of(answer)


def test_a_provider_is_switched_off_and_deleted(ada: Person) -> None:
    provider = connect(ada)
    page = f"{LIST}{provider.id}/"

    off = ada.browser.post(f"{page}switch/", {"enabled": "0"}, follow=True)
    assert "Primary no longer takes traffic." in text_of(off)
    assert "Disabled" in text_of(ada.browser.get(LIST))
    gone = ada.browser.post(f"{page}delete/", follow=True)
    assert "Primary is disconnected." in text_of(gone)
    assert "No provider is connected yet" in text_of(gone)
    assert ada.browser.get(page).status_code == 404
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {
        "provider.created", "provider.updated", "provider.deleted",
    }  # fmt: skip


def test_the_timeline_shows_the_last_day(ada: Person, acme: Tenant) -> None:
    provider = make_provider(acme, "Primary")
    for hours, before, after, reason in (
        (30, "closed", "open", "too long ago"), (29, "open", "closed", "too long ago"),
        (5, "closed", "open", "5 consecutive failures, the last: 503"), (4, "open", "half_open", "the time is over"),
        (3, "half_open", "closed", "2 probes succeeded"),
    ):  # fmt: skip
        CircuitEvent.objects.create(
            id=uuid7(), tenant=acme, provider_id=provider.id, created_at=datetime.now(UTC) - timedelta(hours=hours),
            from_state=before, to_state=after, reason=reason,
        )  # fmt: skip

    page = ada.browser.get(f"{LIST}{provider.id}/").content.decode()

    assert "Opened 1 time in 24 hours" in page
    assert re.findall(r'<g class="band (\w+)">', page) == ["closed", "open", "half_open", "closed"]
    assert "5 consecutive failures, the last: 503" in page
    assert "too long ago" not in page.split("Circuit, last 24 hours")[1]


def test_the_list_tells_how_each_has_answered_lately(ada: Person, acme: Tenant) -> None:
    first, second = make_provider(acme, "First", weight=200), make_provider(acme, "Second")
    make_request(
        acme, minutes_ago=9,
        attempts=[
            {"provider": "openai", "provider_id": str(first.id), "fate": "503", "ms": 10, "kind": "server_error"},
            {"provider": "openai", "provider_id": str(second.id), "fate": "circuit_open", "ms": 0, "circuit": "open"},
            {"provider": "openai", "provider_id": str(first.id), "fate": "200", "ms": 400},
        ],
    )  # fmt: skip
    make_request(acme, minutes_ago=90, attempts=[{"provider": "openai", "provider_id": str(second.id), "fate": "500"}])

    text = text_of(ada.browser.get(LIST))

    assert re.search(r"First OpenAI Closed 200 400 ms 400 ms 400 ms 50.0%", text)
    assert re.search(r"Second OpenAI Closed 100 — — — —", text)


def test_it_costs_the_same_with_one_provider_and_with_twenty(
    ada: Person, acme: Tenant, django_assert_num_queries: Any
) -> None:
    for rows in (1, 19):
        for number in range(rows):
            make_provider(acme, f"p{rows}-{number}")
        with django_assert_num_queries(
            WALL + 7
        ):  # session, user, memberships; providers, events, attempts; the sidebar
            ada.browser.get(LIST)


def test_the_sidebar_says_on_every_page_how_many_circuits_are_open(ada: Person, gus: Person, acme: Tenant) -> None:
    def badge(person: Person, path: str) -> str:
        page = person.browser.get(path).content.decode()
        found = re.search(r'<span>Providers</span><span class="n bad">([^<]+)</span>', page)
        return found[1] if found else ""

    primary, backup = connect(ada), connect(ada, name="Backup")
    assert badge(ada, "/t/acme/keys/") == ""
    for each in (primary, backup):
        ada.browser.post(f"{LIST}{each.id}/circuit/", {"state": "open", "reason": "maintenance"})
    assert [badge(ada, path) for path in ("/t/acme/", "/t/acme/keys/", LIST)] == ["2 open"] * 3
    assert badge(gus, "/t/globex/") == ""  # another tenant's circuits are its own
    ada.browser.post(f"{LIST}{backup.id}/switch/", {"enabled": "0"})
    assert badge(ada, LIST) == "1 open"  # one that is disabled on purpose is no trouble
    ada.browser.post(f"{LIST}{primary.id}/circuit/", {"state": "closed", "reason": "done"})
    assert badge(ada, LIST) == ""


def test_a_page_opens_without_the_badge_while_redis_is_away(ada: Person, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    answer = ada.browser.get("/t/acme/keys/")
    assert answer.status_code == 200
    assert "<span>Providers</span></a>" in answer.content.decode()
