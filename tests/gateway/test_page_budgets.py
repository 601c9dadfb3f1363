"""What a page may weigh when its lists are full: elements, bytes and queries. Times are the benchmark's to measure."""

import gzip
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.audit import Actor, log
from accounts.models import ApiKey, Tenant
from tests.conftest import Person
from tests.database import WALL
from tests.factories import make_key, make_member
from tests.gateway.test_overview import make_provider, make_request
from tests.test_page_access import PAGES

pytestmark = pytest.mark.django_db
ELEMENTS, BYTES, QUERIES = 1_500, 40 * 1024, 15
IN_A_POLL = 3
WHO = 3  # queries: session, person, membership
FULL = 60  # rows, more than any page shows at once


class Counter(HTMLParser):
    """Counts a document's elements. What lies in a template is none until it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self._within = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements += not self._within
        self._within += tag == "template"

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.elements += not self._within

    def handle_endtag(self, tag: str) -> None:
        self._within -= tag == "template"


@pytest.fixture
def full(acme: Tenant, ada: Person) -> list[str]:
    """Fill every list of a tenant with what takes the most elements; return the identifiers of the last request."""
    providers = [make_provider(acme, f"provider {number}") for number in range(8)]
    for number in range(FULL):
        make_key(acme, ada.user, name=f"key {number}")
        log(actor=Actor.system("a test"), action="test.made", target=acme, tenant=acme)
    for number in range(12):
        make_member(acme, f"m{number}@acme.example", "developer")
    key_id = ApiKey.objects.first().id  # type: ignore[union-attr]  # made above
    tried = [
        {"provider": "openai", "provider_id": str(each.id), "fate": fate, "ms": 90}
        for each, fate in zip(providers, ("timeout", "503", "429", "200"), strict=False)
    ]
    for number in range(FULL):
        row = make_request(
            acme, minutes_ago=FULL - number, key_id=key_id, provider_id=providers[2].id, attempts=tried,
            duration_ms=900, input_tokens=1_000, output_tokens=500, simulated=True,
        )  # fmt: skip
    return [str(row.id), str(providers[0].id), str(key_id)]


def addresses(request_id: str, provider_id: str, key_id: str) -> Iterator[str]:
    yield from (path for path, scopes in PAGES.items() if "GET" in scopes and "<" not in path)
    yield from ("requests/?live=1&range=1h", "requests/?range=30d", f"requests/?open={request_id}")
    yield from (f"requests/{request_id}/", f"providers/{provider_id}/", f"keys/{key_id}/")
    yield "requests/?status_class=2xx&provider_id=" + provider_id


def test_no_page_is_heavier_than_its_budget(ada: Person, full: list[str]) -> None:
    for path in addresses(*full):
        ada.browser.get(f"/t/acme/{path}")  # what is made once in a process is made
        with CaptureQueriesContext(connection) as queries:
            answer = ada.browser.get(f"/t/acme/{path}")
        counter = Counter()
        counter.feed(answer.content.decode())
        assert answer.status_code == 200, path
        assert counter.elements < ELEMENTS, (path, counter.elements)
        assert len(gzip.compress(answer.content)) <= BYTES, path
        assert len(queries) <= WALL + QUERIES, (path, len(queries))


def test_no_poll_asks_more_than_its_budget(ada: Person, full: list[str]) -> None:
    request_id, _, key_id = full
    for path, target in (
        ("", "circuits"),
        (f"requests/?live=1&after={request_id}", "rows"),
        (f"keys/{key_id}/first/", "first"),
    ):
        with CaptureQueriesContext(connection) as queries:
            answer = ada.browser.get(f"/t/acme/{path}", headers={"hx-request": "true", "hx-target": target})
        assert answer.status_code in (200, 204, 286), path
        assert len(queries) <= WALL + WHO + IN_A_POLL, (path, len(queries))
