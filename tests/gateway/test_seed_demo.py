"""The demo: made once, kept as it is found, and consistent with itself. It is committed, as the shipper's rows are."""

import json
import stat
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db.models import Count, Sum
from django.test import Client as Browser

from accounts.keys import hash_key
from accounts.models import ApiKey, AuditEvent, Membership, Role, Tenant, User
from accounts.rbac import ROLE_SCOPES
from billing.models import TenantDailySpend
from gateway.models import CircuitEvent, ModelRoute, Provider, RequestLog
from nexus.database_roles import as_owner
from nexus.encryption import Cipher

URLS = ("http://127.0.0.1:18001", "http://127.0.0.1:18002")


@pytest.fixture
def folder(committed: None, tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A data folder of its own, and no demo left behind for another test."""
    settings.NEXUS_DATA_DIR = tmp_path
    yield tmp_path
    tenant = Tenant.objects.filter(slug="demo").first()
    if tenant is not None:
        with as_owner():  # the processes may add to the log, and no more
            RequestLog.objects.for_tenant(tenant).delete()
            TenantDailySpend.objects.for_tenant(tenant).delete()
        tenant.delete()
        User.objects.filter(email="demo@nexus.local").delete()


def seed(*urls: str) -> dict[str, str]:
    out = StringIO()
    call_command("seed_demo", simulators=list(urls or URLS), json=True, stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    made: dict[str, str] = json.loads(lines[0])
    return made


def test_the_first_run_makes_all_that_a_visitor_needs(folder: Path) -> None:
    made = seed()

    tenant = Tenant.objects.get(slug="demo")
    assert tenant.is_demo
    assert (made["tenant"], made["email"]) == ("demo", "demo@nexus.local")
    browser = Browser()
    assert browser.login(username=made["email"], password=made["password"])
    assert Membership.objects.get(tenant=tenant).role == Role.ADMIN
    key = ApiKey.objects.get(key_hash=hash_key(made["api_key"]))
    assert set(key.scopes) == ROLE_SCOPES["admin"]
    assert json.loads((folder / "demo.json").read_text()) == made
    assert stat.S_IMODE((folder / "demo.json").stat().st_mode) == 0o600
    page = browser.get("/t/demo/").content.decode()
    assert page.count("simulated</span>") == 2 + 8
    assert "Simulated OpenAI" in page


def test_the_providers_are_simulated_and_one_stands_in_for_the_other(folder: Path) -> None:
    seed()

    first, second = Provider.objects.for_tenant(Tenant.objects.get(slug="demo")).order_by("-weight")
    assert (first.name, first.family, first.base_url) == ("Simulated OpenAI", "openai", f"{URLS[0]}/v1")
    assert (second.name, second.family, second.base_url) == ("Simulated backup", "openai_compatible", f"{URLS[1]}/v1")
    assert first.simulated
    assert second.simulated
    served = [
        set(ModelRoute.objects.filter(provider=each).values_list("public_name", flat=True)) for each in (first, second)
    ]
    assert served == [{"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"}] * 2
    assert ModelRoute.objects.get(provider=second, public_name="gpt-4o").upstream_name == "backup-large"


def test_a_second_run_changes_nothing(folder: Path) -> None:
    made = seed()
    tenant = Tenant.objects.get(slug="demo")
    rows, audit = RequestLog.objects.for_tenant(tenant).count(), AuditEvent.objects.for_tenant(tenant).count()

    assert seed() == made
    assert RequestLog.objects.for_tenant(tenant).count() == rows
    assert AuditEvent.objects.for_tenant(tenant).count() == audit
    assert ApiKey.objects.for_tenant(tenant).count() == 1


def test_simulators_that_moved_are_found_again_and_their_key_is_kept(folder: Path) -> None:
    seed()
    seed("http://127.0.0.1:18003", "http://127.0.0.1:18004/v1")

    for provider, port in zip(
        Provider.objects.filter(tenant__slug="demo").order_by("-weight"), (18003, 18004), strict=True
    ):
        assert provider.base_url == f"http://127.0.0.1:{port}/v1"
        cipher = Cipher(django_settings.NEXUS_ENCRYPTION_KEYS)
        assert cipher.open(provider.api_key_sealed, context=f"provider:{provider.id}")


def test_what_the_visitor_changed_stays_changed(folder: Path) -> None:
    seed()
    Provider.objects.filter(name="Simulated OpenAI").update(weight=7, enabled=False)

    seed()

    provider = Provider.objects.get(name="Simulated OpenAI")
    assert (provider.weight, provider.enabled) == (7, False)


def test_a_revoked_key_or_a_lost_file_is_made_good(folder: Path) -> None:
    first = seed()
    ApiKey.objects.filter(key_hash=hash_key(first["api_key"])).update(revoked_at="2026-01-01T00:00:00Z")
    second = seed()
    (folder / "demo.json").unlink()
    third = seed()

    assert second["password"] == first["password"]
    assert len({first["api_key"], second["api_key"], third["api_key"]}) == 3
    assert Browser().login(username=third["email"], password=third["password"])
    assert json.loads((folder / "demo.json").read_text()) == third


def test_the_rollup_agrees_with_the_history(folder: Path) -> None:
    seed()
    tenant = Tenant.objects.get(slug="demo")

    rows = RequestLog.objects.for_tenant(tenant)
    sums = {"cost": Sum("cost_usd"), "sent": Sum("input_tokens"), "got": Sum("output_tokens")}
    told = rows.aggregate(requests=Count("id"), **sums)
    rolled = TenantDailySpend.objects.for_tenant(tenant).aggregate(
        requests=Sum("requests"), cost=Sum("cost_usd"), sent=Sum("input_tokens"), got=Sum("output_tokens")
    )
    assert rolled == told
    assert told["requests"] == 200
    assert told["cost"] > Decimal("0.001")


def test_the_history_tells_of_a_day_with_an_incident(folder: Path) -> None:
    seed()
    tenant = Tenant.objects.get(slug="demo")
    rows = list(RequestLog.objects.for_tenant(tenant).order_by("created_at"))

    assert all(row.simulated for row in rows)
    assert 24 * 3600 > (rows[-1].created_at - rows[0].created_at).total_seconds() > 3600 * 12
    fates = [[attempt["fate"] for attempt in row.attempts] for row in rows]
    assert fates.count(["503", "200"]) >= 5
    assert fates.count(["circuit_open", "200"]) == 4
    assert {row.status for row in rows} >= {200, 400}
    assert any(row.unpriced for row in rows)
    events = CircuitEvent.objects.for_tenant(tenant).order_by("created_at").values_list("from_state", "to_state")
    assert list(events) == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


def test_an_address_that_is_none_ends_in_a_sentence(folder: Path) -> None:
    with pytest.raises(CommandError, match="must begin with http"):
        seed("ftp://127.0.0.1", URLS[1])
    assert not Tenant.objects.filter(slug="demo").exists()
