"""The operators' admin of providers: it writes through the services, and shows no key."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client as Browser

from accounts.models import AuditEvent, Tenant, User
from gateway.models import CircuitEvent, ModelRoute, Provider
from nexus.encryption import Cipher
from nexus.ids import time_of, uuid7

pytestmark = pytest.mark.django_db
KEY = "sk-canary-5f2b81c7"
ADD = "/admin/gateway/provider/add/"


@pytest.fixture
def operator(db: None) -> Browser:
    browser = Browser()
    browser.force_login(User.objects.create_superuser(email="root@nexus.example", password="x"))
    return browser


def form(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    return {
        "tenant": str(tenant.id),
        "family": "openai",
        "name": "OpenAI",
        "base_url": "https://llm.example.com/v1",
        "api_key": KEY,
        "weight": "100",
        "enabled": "on",
        "timeout_s": "60",
        "models": '{"gpt-4o": "gpt-4o"}',
        "options": "{}",
        "routes-TOTAL_FORMS": "0",
        "routes-INITIAL_FORMS": "0",
        **fields,
    }


def add(operator: Browser, tenant: Tenant, **fields: Any) -> Provider:
    response = operator.post(ADD, form(tenant, **fields))
    assert response.status_code == 302, response.content
    provider: Provider = Provider.objects.get()
    return provider


def test_an_operator_adds_a_provider_with_a_sealed_key(operator: Browser, acme: Tenant) -> None:
    provider = add(operator, acme)

    cipher = Cipher(settings.NEXUS_ENCRYPTION_KEYS)
    assert cipher.open(provider.api_key_sealed, context=f"provider:{provider.id}") == KEY
    assert ModelRoute.objects.get(provider=provider).public_name == "gpt-4o"
    event = AuditEvent.objects.get(action="provider.created")
    assert (event.tenant_id, event.actor_label) == (acme.id, "root@nexus.example")


def test_no_page_of_the_admin_shows_the_key(operator: Browser, acme: Tenant) -> None:
    provider = add(operator, acme)

    for path in ("/admin/gateway/provider/", f"/admin/gateway/provider/{provider.id}/change/"):
        page = operator.get(path).content.decode()
        assert KEY not in page
        assert provider.api_key_sealed not in page


def test_a_change_without_a_key_keeps_the_stored_one(operator: Browser, acme: Tenant) -> None:
    provider = add(operator, acme)

    operator.post(f"/admin/gateway/provider/{provider.id}/change/", form(acme, api_key="", weight="7"))

    changed = Provider.objects.get()
    assert (changed.weight, changed.api_key_sealed) == (7, provider.api_key_sealed)
    assert AuditEvent.objects.get(action="provider.updated").changes == {"weight": [100, 7]}


def test_a_new_address_wipes_the_key_here_too(operator: Browser, acme: Tenant) -> None:
    provider = add(operator, acme)
    path = f"/admin/gateway/provider/{provider.id}/change/"

    page = operator.post(path, form(acme, api_key="", base_url="https://elsewhere.example.com"), follow=True)

    assert Provider.objects.get().api_key_sealed == ""
    assert "The API key was deleted" in page.content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "ftp://x"}, "must begin with http"),
        ({"family": "nonsense"}, "The family is unknown"),
        ({"models": "{}"}, "This field is required"),
        ({"options": '{"region": "eu"}'}, "has no such option"),
        ({"api_key": "two words"}, "printable ASCII"),
    ],
)
def test_the_rules_stand_beside_the_fields(operator: Browser, acme: Tenant, fields: dict[str, str], words: str) -> None:
    response = operator.post(ADD, form(acme, **fields))

    assert response.status_code == 200
    assert words in response.content.decode()
    assert not Provider.objects.exists()


def test_a_deletion_is_audited(operator: Browser, acme: Tenant) -> None:
    provider = add(operator, acme)

    operator.post(f"/admin/gateway/provider/{provider.id}/delete/", {"post": "yes"})

    assert not Provider.objects.exists()
    assert AuditEvent.objects.filter(action="provider.deleted", tenant=acme).count() == 1


def test_circuit_events_are_read_only(operator: Browser, acme: Tenant) -> None:
    identifier = uuid7()
    CircuitEvent.objects.create(
        id=identifier, tenant=acme, provider_id=uuid7(), created_at=time_of(identifier), from_state="closed",
        to_state="open", reason="five failures",
    )  # fmt: skip

    assert "five failures" in operator.get("/admin/gateway/circuitevent/").content.decode()
    assert operator.post(f"/admin/gateway/circuitevent/{identifier}/change/", {"reason": "x"}).status_code == 403
    assert operator.get("/admin/gateway/circuitevent/add/").status_code == 403
