"""The shipper: every record in the database exactly once, and a rollup that equals the log, whatever is killed."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from accounts.models import Tenant
from gateway.models import CircuitEvent, RequestLog
from gateway.plane import connection_parameters, shipper_of
from gateway.records import Attempt, CircuitChanged, RouteFacts
from gateway.shipper import Shipper
from gateway.spool import Spool
from nexus import partitions
from nexus.ids import time_of, uuid7, uuid7_at
from tests.database import database_urls
from tests.gateway.conftest import Client
from tests.gateway.records import COST, ROUTE, finished, started
from tests.gateway.totals import log_totals, rollup_totals

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, owner="host-1-1")
    made.open()
    yield made
    made.close()


@pytest.fixture
def shipper(committed: None, tmp_path: Path) -> Shipper:
    return shipper_of(tmp_path)


def sealed(spool: Spool) -> Path:
    wait([spool._next])  # type: ignore[list-item]  # an open spool has one
    sealing = spool.rotate()
    assert sealing is not None
    return sealing.result()


def rows(tenant: Tenant) -> list[RequestLog]:
    return list(RequestLog.objects.for_tenant(tenant).order_by("created_at", "id"))


def agree(tenant: Tenant) -> bool:
    totals = log_totals([tenant.id])
    return bool(totals) and totals == rollup_totals([tenant.id])


def test_a_record_becomes_a_row_with_its_columns(
    client: Client, spool: Spool, shipper: Shipper, tmp_path: Path
) -> None:
    id_ = uuid7()
    attempt = Attempt("openai", str(uuid7()), "200", 12)
    spool.end(
        finished(
            client.tenant.id, str(id_), key_id=str(client.key_id), attempts=[attempt], latency_ms=12,
            overhead_ms=0.125, streamed=True,
        )
    )  # fmt: skip
    sealed(spool)
    assert shipper.ship() == 1
    (row,) = rows(client.tenant)
    assert (row.id, row.created_at, row.key_id) == (id_, time_of(id_), client.key_id)
    assert row.attempts == [{"provider": "openai", "provider_id": attempt.provider_id, "fate": "200", "ms": 12}]
    assert (row.provider, str(row.provider_id), row.upstream_model) == ("openai", ROUTE.provider_id, "gpt-4o-2024")
    assert row.price == {"input": "2.5", "output": "10"}
    assert (row.status, row.streamed, row.latency_ms) == (200, True, 12)
    assert (row.cost_usd, row.overhead_ms) == (Decimal(COST), Decimal("0.125"))
    assert agree(client.tenant)
    assert not list(tmp_path.glob("*.sealed"))


@pytest.mark.parametrize(
    "text", [r"\N", r"\.", "a\tb", "a\nb", "\n\\.\n", "\r\n", "\\", r"\t\x41", '"', "", "NULL", "ü\u2028\x7f\x01"]
)
def test_every_text_arrives_as_it_was(client: Client, spool: Spool, shipper: Shipper, text: str) -> None:
    """What has a meaning in COPY's text format is no more than text in a value, in a column and inside JSON."""
    route = RouteFacts(provider=text, provider_id=str(uuid7()), upstream_model=text, price={text: text})
    event = {"kind": text, text: [text]}
    attempt = Attempt(text, str(uuid7()), text, 1)
    record = finished(
        client.tenant.id, route=route, model=text, error_class=text, error_code=text, prompt_version=text,
        endpoint=text, policy_events=[event], attempts=[attempt], cost_usd="0",
    )  # fmt: skip
    spool.end(record)
    sealed(spool)
    assert shipper.ship() == 1
    (row,) = rows(client.tenant)
    texts = (row.provider, row.upstream_model, row.model, row.error_class, row.error_code, row.prompt_version)
    assert (*texts, row.endpoint) == (text,) * 7
    assert (row.price, row.policy_events) == ({text: text}, [event])
    assert (row.attempts[0]["provider"], row.attempts[0]["fate"]) == (text, text)


def test_shipping_again_what_was_committed_changes_nothing(
    client: Client, spool: Spool, shipper: Shipper, tmp_path: Path
) -> None:
    """A shipper that dies between the commit and the deletion leaves segments that are in the database already."""
    for _ in range(3):
        spool.end(finished(client.tenant.id))
    segment = sealed(spool)
    copy = tmp_path / "copy"
    shutil.copy(segment, copy)
    assert shipper.ship() == 3
    for _ in range(2):
        shutil.copy(copy, segment)
        shipper.ship()
    assert len(rows(client.tenant)) == 3
    assert agree(client.tenant)


def test_what_a_dead_process_never_finished_becomes_a_row_that_says_so(
    client: Client, spool: Spool, shipper: Shipper, tmp_path: Path
) -> None:
    tenant = client.tenant.id
    done, open_, spanning = (str(uuid7()) for _ in range(3))
    for id_ in (done, open_, spanning):
        spool.begin(started(tenant, id_))
    spool.end(finished(tenant, done))
    sealed(spool)
    assert shipper.ship() == 1  # the owner lives: what is in flight is no row yet
    spool.end(finished(tenant, spanning))
    spool.close()
    shipper.ship()
    found = {str(row.id): row for row in rows(client.tenant)}
    assert {id_: row.status for id_, row in found.items()} == {done: 200, spanning: 200, open_: 0}
    aborted = found[open_]
    assert (aborted.error_class, aborted.unpriced, aborted.usage_estimated) == ("aborted", True, True)
    assert (aborted.input_tokens, aborted.cost_usd) == (7, None)
    assert agree(client.tenant)
    assert [path.name for path in tmp_path.iterdir()] == ["shipper.lock"]


def test_a_row_the_database_cannot_hold_is_set_aside_and_keeps_nobody_back(
    client: Client, spool: Spool, shipper: Shipper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = finished(client.tenant.id, input_tokens=2**40)
    for record in (finished(client.tenant.id), bad, finished(client.tenant.id)):
        spool.end(record)
    sealed(spool)
    shipper.ship()
    assert len(rows(client.tenant)) == 2
    assert agree(client.tenant)
    (kept,) = (tmp_path / "rejected").glob("*.jsonl")
    assert json.loads(kept.read_text())["id"] == bad.id
    assert [getattr(record, "request_id", None) for record in caplog.records] == [bad.id]


def test_a_row_of_a_day_without_partition_gets_one(client: Client, spool: Spool, shipper: Shipper) -> None:
    """After an outage of days the rows go where they belong."""
    then = datetime.now(UTC) - timedelta(days=40)
    id_ = uuid7_at(int(then.timestamp() * 1000))
    spool.end(finished(client.tenant.id, str(id_)))
    sealed(spool)
    shipper.ship()
    (row,) = rows(client.tenant)
    assert row.created_at == time_of(id_)
    assert partitions.partition_name("request_log", then.date()) in partitions.existing("request_log")


@pytest.mark.parametrize("days", [-4000, 4000])
def test_a_clock_that_is_years_off_loses_nothing_and_counts_nothing_twice(
    client: Client, spool: Spool, shipper: Shipper, tmp_path: Path, days: int
) -> None:
    moment = datetime.now(UTC) + timedelta(days=days)
    id_ = uuid7_at(int(moment.timestamp() * 1000))
    spool.end(finished(client.tenant.id, str(id_)))
    spool.end(finished(client.tenant.id))
    segment = sealed(spool)
    copy = tmp_path / "copy"
    shutil.copy(segment, copy)
    shipper.ship()
    shutil.copy(copy, segment)
    shipper.ship()
    found = rows(client.tenant)
    assert len(found) == 2
    assert id_ in {row.id for row in found}
    assert all(abs((row.created_at - datetime.now(UTC)).days) <= 91 for row in found)
    assert agree(client.tenant)


def test_a_circuits_change_is_shipped_once(client: Client, spool: Spool, shipper: Shipper) -> None:
    provider = uuid7()
    at_ms = int(time.time() * 1000)
    event = CircuitChanged(
        id=str(uuid7_at(at_ms)), tenant=str(client.tenant.id), provider_id=str(provider), at_ms=at_ms,
        from_state="closed", to_state="open", reason="5 consecutive failures",
    )  # fmt: skip
    nobodys = CircuitChanged(
        id=str(uuid7()), tenant=str(uuid7()), provider_id=str(provider), at_ms=at_ms, from_state="closed",
        to_state="open", reason="its tenant is gone",
    )  # fmt: skip
    for record in (event, event, nobodys):
        spool.note(record)
    sealed(spool)
    shipper.ship()
    (row,) = CircuitEvent.objects.filter(provider_id=provider)
    assert (str(row.id), row.to_state, row.reason) == (event.id, "open", "5 consecutive failures")


def test_the_last_use_of_a_key_is_noted(client: Client, spool: Spool, shipper: Shipper) -> None:
    id_ = uuid7()
    spool.end(finished(client.tenant.id, str(id_), key_id=str(client.key_id)))
    sealed(spool)
    shipper.ship()
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_used_at FROM accounts_apikey WHERE id = %s", [client.key_id])
        assert cursor.fetchone() == (time_of(id_),)


def test_an_outage_of_the_database_is_waited_for(
    client: Client, spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = {**connection_parameters(), "host": str(tmp_path / "nowhere"), "port": 1}
    shipper = Shipper(tmp_path, away, make_partitions=lambda _days: None, retention_days=90)
    spool.end(finished(client.tenant.id))
    sealed(spool)
    with pytest.raises(psycopg.OperationalError):
        shipper.ship()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            shipper._parameters = connection_parameters()

    shipper.run(until=lambda: bool(rows(client.tenant)), pause=pause)
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert caplog.text.count("records wait in the spool") == 1
    assert agree(client.tenant)


# --- kills at random

WRITER = """
import random, sys, time
from pathlib import Path
from gateway.spool import Spool
from tests.gateway.records import finished, started
folder, tenant, seed = sys.argv[1:]
dice = random.Random(int(seed))
spool = Spool(Path(folder))
spool.open()
open_, last = [], time.monotonic()
while True:
    record = started(tenant)
    spool.begin(record)
    print("+" + record.id, flush=True)
    open_.append(record.id)
    if len(open_) > 20:
        id_ = open_.pop(dice.randrange(len(open_)))
        spool.end(finished(tenant, id_, cost_usd=f"0.{dice.randrange(10**9):09d}"))
        print("-" + id_, flush=True)
    if time.monotonic() - last > 0.02:
        spool.rotate()
        last = time.monotonic()
    time.sleep(0.0002)
"""


@contextmanager
def child(code: str, *arguments: str, output: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "nexus.settings.test", "PYTHONPATH": str(ROOT)}
    environment |= database_urls(connection.settings_dict["NAME"])
    stdout = output.open("ab") if output else None
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=stdout, env=environment)
    try:
        yield process
    finally:
        if stdout is not None:
            stdout.close()
        process.kill()
        process.wait()


SHIPPER = """
import django; django.setup()
import sys
from pathlib import Path
from gateway.plane import shipper_of
shipper_of(Path(sys.argv[1])).run(until=lambda: False, pause=lambda _: None)
"""


def test_kills_of_writers_and_shippers_lose_nothing_and_count_nothing_twice(client: Client, tmp_path: Path) -> None:
    """What a writer has told its client is in the database once; what it never finished is there as such."""
    folder, logs = tmp_path / "spool", list[Path]()
    began = time.monotonic()
    folder.mkdir()

    def over() -> bool:
        """Twelve seconds are enough where there is a processor for it; on a crowded machine it takes a little more."""
        spent = time.monotonic() - began
        return spent > 60 or (spent > 12 and sum(log.stat().st_size for log in logs if log.exists()) > 37 * 3000)

    def write_and_die() -> None:
        dice = random.Random(7)
        while not over():
            log = tmp_path / f"writer-{uuid7()}.log"
            logs.append(log)
            with child(WRITER, str(folder), str(client.tenant.id), str(len(logs)), output=log):
                while not log.exists() or not log.stat().st_size:
                    time.sleep(0.01)
                time.sleep(dice.uniform(0.1, 0.8))

    def ship_and_die() -> None:
        dice = random.Random(8)
        while not over():
            with child(SHIPPER, str(folder)):
                time.sleep(dice.uniform(1.0, 2.0))

    with ThreadPoolExecutor(3) as pool:
        for work in [pool.submit(write_and_die), pool.submit(write_and_die), pool.submit(ship_and_die)]:
            work.result()
    shipper_of(folder).ship()
    told = [line for log in logs for line in log.read_text().splitlines() if len(line) == 37]
    begun = {UUID(line[1:]) for line in told if line[0] == "+"}
    ended = {UUID(line[1:]) for line in told if line[0] == "-"}
    assert len(ended) > 1000
    found = {row.id: row.status for row in rows(client.tenant)}
    assert len(found) == RequestLog.objects.for_tenant(client.tenant).count()
    assert begun <= set(found)
    assert {found[id_] for id_ in ended} == {200}
    # A writer killed between its append and its word to us may have finished one more than it told.
    assert sum(status == 200 for status in found.values()) - len(ended) <= len(logs)
    assert agree(client.tenant)
    assert [path.name for path in folder.iterdir()] == ["shipper.lock"]
