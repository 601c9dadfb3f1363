"""The Audit log page: filters in the address, pages by place, a row's detail, a file for spreadsheets."""

import csv
import io
from typing import Any

import pytest

from accounts.audit import Actor, log
from accounts.models import AuditEvent, Tenant
from tests.conftest import Person

PAGE = "/t/acme/audit/"


def write(tenant: Tenant, action: str, *, label: str = "root", changes: Any = None) -> AuditEvent:
    log(actor=Actor.system(label), action=action, target=tenant, tenant=tenant, changes=changes)
    row: AuditEvent = AuditEvent.objects.for_tenant(tenant).latest("created_at", "id")
    return row


def actions(answer: Any) -> list[str]:
    return [row.action for row in answer.context["rows"]]


def test_rows_come_newest_first_in_pages(ada: Person) -> None:
    for number in range(120):
        write(ada.tenant, f"test.n{number}")
    seen: list[str] = []
    query = ""
    for _ in range(3):
        answer = ada.browser.get(PAGE + query)
        seen += actions(answer)
        query = answer.context["next_url"]
    assert seen == [f"test.n{number}" for number in reversed(range(120))]
    assert query == ""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("area=key", ["key.created"]),
        ("actor=COMMAND", ["user.signed_in"]),
        ("target=acme", ["user.signed_in", "key.created"]),
        ("target=nothing", []),
        ("area=k", []),
        ("from=2020-01-01&to=2020-02-01", []),
    ],
)
def test_filters_live_in_the_address(ada: Person, query: str, expected: list[str]) -> None:
    write(ada.tenant, "key.created")
    write(ada.tenant, "user.signed_in", label="manage.py command")
    assert actions(ada.browser.get(f"{PAGE}?{query}")) == expected


def test_a_row_opens_in_the_drawer_and_as_a_page(ada: Person) -> None:
    row = write(ada.tenant, "key.updated", changes={"name": ["old <b>", "new"], "rpm": [None, 5]})
    page = ada.browser.get(f"{PAGE}{row.id}/").content.decode()
    assert "<del>old &lt;b&gt;</del>" in page
    assert "<ins>5</ins>" in page
    drawer = ada.browser.get(f"{PAGE}{row.id}/", headers={"hx-request": "true", "hx-target": "drawer"})
    assert "<html" not in drawer.content.decode()
    assert "key.updated" in drawer.content.decode()
    assert "<del>old" in ada.browser.get(f"{PAGE}?open={row.id}").content.decode()
    assert ada.browser.get(f"{PAGE}?open=nonsense").status_code == 200


def test_a_row_of_another_tenant_is_not_there(ada: Person, gus: Person) -> None:
    row = write(gus.tenant, "key.created")
    assert ada.browser.get(f"{PAGE}{row.id}/").status_code == 404
    assert ada.browser.get(f"{PAGE}?open={row.id}").status_code == 404
    assert actions(ada.browser.get(PAGE)) == []


def test_the_file_runs_nothing_in_a_spreadsheet(ada: Person) -> None:
    write(ada.tenant, "key.created", label='=HYPERLINK("http://evil.example")')
    answer = ada.browser.get(f"{PAGE}?format=csv&area=key")
    assert answer["content-disposition"] == 'attachment; filename="audit.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert rows[0]["actor"] == """'=HYPERLINK("http://evil.example")"""
    assert rows[0]["action"] == "key.created"
    assert len(rows) == 1


def test_a_cursor_of_ones_own_making_is_refused(ada: Person) -> None:
    assert ada.browser.get(f"{PAGE}?cursor=x").status_code == 400


def test_a_page_asks_the_same_of_the_database_for_one_row_and_for_fifty(
    ada: Person, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        write(ada.tenant, f"test.n{number}")
    ada.browser.get(PAGE)
    with django_assert_max_num_queries(10):  # session, person, transaction, wall, membership, rows
        ada.browser.get(PAGE)
