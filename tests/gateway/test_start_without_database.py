"""A runtime that starts while PostgreSQL is away serves from the disk, says so, and goes on by itself afterwards."""

import time
from collections.abc import Iterator

import httpx
import pytest

from accounts.models import ApiKey, ConfigRevision
from tests.gateway.outages import BODY, Ground, a_client, check, ground, until_it_says
from tests.stack import eventually
from tests.upstream import Upstream

pytestmark = pytest.mark.timeout(300)  # the first test also makes the servers and migrates them


@pytest.fixture(scope="module")
def own(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[Ground]:
    with django_db_blocker.unblock(), ground() as made:  # type: ignore[attr-defined]
        yield made


def ask(url: str, key: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"}, timeout=10)


def test_it_serves_without_postgresql_and_goes_on_when_it_is_back(own: Ground, upstream: Upstream) -> None:
    client = a_client(upstream)
    stack = own.stack("without")
    shipper = stack.run("ship")
    revision = ConfigRevision.objects.values_list("revision", flat=True).get()
    path = stack.folder / "snapshot.jsonl"
    eventually(lambda: path.exists() and f'"revision":{revision}' in path.read_text(), what="the file")
    own.kill("postgres")
    before = time.monotonic()
    server = stack.serve("all")
    assert time.monotonic() - before < 20  # the start of Python included, on a slow machine
    answer = ask(server.base_url, client.key)
    assert answer.status_code == 200, answer.text
    assert upstream.stats()["requests"] == 1
    assert ask(server.base_url, "nxk_" + "x" * 43).status_code == 401
    told = check(server.base_url, "configuration")
    assert told["ok"] is True
    assert told["revision"] == revision
    assert "from the disk, known to be true until 20" in told["detail"]
    assert check(server.base_url, "database")["ok"] is False
    assert "known to be true" in check(server.base_url, "snapshot_file")["detail"]

    own.start("postgres")
    until_it_says(server.base_url, "database", ok=True)
    assert "from the database" in check(server.base_url, "configuration")["detail"]
    assert shipper.running
    client.row(answer.headers["x-request-id"])
    ApiKey.objects.filter(id=client.key_id).delete()
    eventually(lambda: ask(server.base_url, client.key).status_code == 401, what="the revocation")
    assert 'source="from the disk' in stack.logs()
    stack.stop()


def test_a_damaged_file_is_refused_and_the_runtime_waits_for_postgresql(own: Ground, upstream: Upstream) -> None:
    client = a_client(upstream)
    stack = own.stack("damaged")
    stack.folder.joinpath("snapshot.jsonl").write_text('{"format":"nexus-snapshot"}\nnonsense\n')
    own.kill("postgres")
    try:
        server = stack.start_unready("all")
        answer = ask(server.base_url, client.key)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "SERVICE_STARTING"
        told = check(server.base_url, "snapshot_file")
        assert told["ok"] is False
        assert "a start without PostgreSQL would not serve" in told["detail"]
        assert "The configuration on the disk is not used" in stack.logs()
    finally:
        own.start("postgres")
    eventually(lambda: ask(server.base_url, client.key).status_code == 200, what="the configuration")
    stack.stop()
