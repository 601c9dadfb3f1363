"""The Settings page: the same settings as the API's, by the same service."""

from typing import Any

import pytest

from accounts.models import AuditEvent, Tenant
from tests.conftest import Person

PAGE = "/t/acme/settings/"
FORM = {
    "routing_strategy": "weighted",
    "max_attempts": "2",
    "deadline_s": "60",
    "default_embedding": "",
    "log_content": "on",
}


def test_settings_are_saved_and_logged(ada: Person) -> None:
    answer = ada.browser.post(PAGE, FORM)
    assert (answer.status_code, answer["location"]) == (302, PAGE)
    told = ada.browser.get("/v1/settings").json()
    assert {name: told[name] for name in FORM} == {
        "routing_strategy": "weighted",
        "max_attempts": 2,
        "deadline_s": 60,
        "default_embedding": "",
        "log_content": True,
    }
    event = AuditEvent.objects.for_tenant(ada.tenant).get()
    assert (event.action, event.actor_label) == ("settings.updated", "ada@acme.example")
    assert event.changes["max_attempts"] == [4, 2]
    assert "within a second" in ada.browser.get(PAGE).content.decode()


def test_a_box_that_is_not_ticked_is_off(ada: Person) -> None:
    Tenant.objects.filter(id=ada.tenant.id).update(log_content=True)
    ada.browser.post(PAGE, {name: value for name, value in FORM.items() if name != "log_content"})
    assert not Tenant.objects.get(id=ada.tenant.id).log_content


@pytest.mark.parametrize("wrong", [{"max_attempts": "0"}, {"deadline_s": "many"}, {"routing_strategy": "best"}])
def test_what_cannot_be_is_said_beside_its_field(ada: Person, wrong: dict[str, str]) -> None:
    answer = ada.browser.post(PAGE, {**FORM, **wrong})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.content.decode()
    assert Tenant.objects.get(id=ada.tenant.id).max_attempts == 4


def test_the_webhook_secret_is_set_replaced_and_removed_and_never_shown(ada: Person) -> None:
    secret = "canary-of-the-webhook-secret"
    ada.browser.post(f"{PAGE}gitops-secret/", {"gitops_secret": secret})
    row = Tenant.objects.get(id=ada.tenant.id)
    assert row.gitops_secret_sealed
    page = ada.browser.get(PAGE).content.decode()
    assert "Replace secret" in page
    assert secret not in page
    assert row.gitops_secret_sealed not in page
    assert secret not in str(list(AuditEvent.objects.values()))
    ada.browser.post(f"{PAGE}gitops-secret/", {"remove": "1"})
    assert Tenant.objects.get(id=ada.tenant.id).gitops_secret_sealed == ""
    assert ada.browser.post(f"{PAGE}gitops-secret/", {"gitops_secret": "short"}).status_code == 422


def test_it_says_what_the_installation_does_not_allow(ada: Person, settings: Any) -> None:
    settings.NEXUS_LOG_CONTENT = False
    assert "It has no effect now" in ada.browser.get(PAGE).content.decode()
    settings.NEXUS_LOG_CONTENT = True
    assert "It has no effect now" not in ada.browser.get(PAGE).content.decode()
