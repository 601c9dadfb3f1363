"""Moves the spool's records to PostgreSQL, each exactly once in its effect.

A batch is copied into a stage; what is new goes into the request log, and exactly that is added to the daily rollup,
in one transaction. A row's key is deterministic, so a batch that is shipped again, after a crash between commit and
deletion, changes nothing. Segments are deleted after the commit.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from gateway.log_rows import COLUMNS, STAGED, LogRow, row_of
from gateway.records import CircuitChanged, Finished, Started, encode
from gateway.spool_reader import Claim, Harvest, alone, claims, harvest_of
from nexus.partitions import DAYS_AHEAD

logger = logging.getLogger(__name__)
BATCH_ROWS = 5000
IDLE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0

_LIST = ", ".join(COLUMNS)
_COPY = f"COPY stage ({', '.join(STAGED)}) FROM STDIN"
_STAGE = """
CREATE TEMP TABLE IF NOT EXISTS stage
    (LIKE request_log INCLUDING DEFAULTS, use_month date, use_process text) ON COMMIT DELETE ROWS
"""
# Rows are locked in the same order by every shipper, so that two of them never wait for each other.
_SHIP = f"""
WITH new AS (
    INSERT INTO request_log ({_LIST}) SELECT {_LIST} FROM stage
    ON CONFLICT (id, created_at) DO NOTHING
    RETURNING id, created_at, tenant_id, (created_at AT TIME ZONE 'UTC')::date AS day, provider, model, input_tokens,
              output_tokens, cost_usd, unpriced
), used AS (
    INSERT INTO key_monthly_use (key_id, month, process, tenant_id, requests)
    SELECT stage.key_id, stage.use_month, stage.use_process, stage.tenant_id, count(*)
    FROM stage JOIN new USING (id, created_at)
    WHERE stage.use_month IS NOT NULL AND stage.key_id IS NOT NULL
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3
    ON CONFLICT (key_id, month, process) DO UPDATE SET requests = key_monthly_use.requests + EXCLUDED.requests
)
INSERT INTO tenant_daily_spend
    (tenant_id, day, provider, model, requests, unpriced_requests, input_tokens, output_tokens, cost_usd)
SELECT tenant_id, day, coalesce(provider, ''), coalesce(model, ''), count(*), count(*) FILTER (WHERE unpriced),
       coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cost_usd), 0)
FROM new GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (tenant_id, day, provider, model) DO UPDATE SET
    requests = tenant_daily_spend.requests + EXCLUDED.requests,
    unpriced_requests = tenant_daily_spend.unpriced_requests + EXCLUDED.unpriced_requests,
    input_tokens = tenant_daily_spend.input_tokens + EXCLUDED.input_tokens,
    output_tokens = tenant_daily_spend.output_tokens + EXCLUDED.output_tokens,
    cost_usd = tenant_daily_spend.cost_usd + EXCLUDED.cost_usd
"""  # noqa: S608  (column names of our own)
# A row that was moved to another day has a key that depends on when it was moved: only its id tells it again.
_FORGET_KNOWN = "DELETE FROM stage USING request_log WHERE request_log.id = stage.id"
_LAST_USED = """
UPDATE accounts_apikey SET last_used_at = used.at
FROM (SELECT key_id, max(created_at) AS at FROM stage WHERE key_id IS NOT NULL GROUP BY 1) AS used
WHERE accounts_apikey.id = used.key_id AND (last_used_at IS NULL OR last_used_at < used.at)
"""
# A process has ended and all its records are in the log: what it used counts without its name, what it had leased and
# did not use is free again.
_END_LEASES = """
WITH its AS (DELETE FROM key_monthly_use WHERE process = %s RETURNING key_id, month, tenant_id, requests)
INSERT INTO key_monthly_use (key_id, month, process, tenant_id, requests)
SELECT key_id, month, '', tenant_id, requests FROM its ORDER BY 1, 2
ON CONFLICT (key_id, month, process) DO UPDATE SET requests = key_monthly_use.requests + EXCLUDED.requests
"""
_CIRCUIT = """
INSERT INTO gateway_circuitevent (id, tenant_id, provider_id, created_at, from_state, to_state, reason)
SELECT %s, %s, %s, %s, %s, %s, %s WHERE EXISTS (SELECT 1 FROM accounts_tenant WHERE id = %s)
ON CONFLICT (id) DO NOTHING
"""


class Shipper:
    """Ships one folder. `make_partitions` is called with the days of rows that have none.

    Rows older than `retention_days`, or further ahead than partitions are made, come from a wrong clock or an outage
    beyond measure: they are kept, in the first or last of these days.
    """

    def __init__(
        self,
        folder: Path,
        connection: Mapping[str, Any],
        *,
        make_partitions: Callable[[Iterable[date]], object],
        retention_days: int,
    ) -> None:
        self._folder = folder
        self._parameters = dict(connection)
        self._make_partitions = make_partitions
        self._retention_days = retention_days
        self._connection: psycopg.Connection[Any] | None = None
        self._problem: str | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def run(self, *, until: Callable[[], bool], pause: Callable[[float], object] = time.sleep) -> None:
        """Ship until told to stop. A database that is away is waited for; nothing is lost meanwhile."""
        wait = IDLE_SECONDS
        while not until():
            try:
                shipped = self.ship()
            except psycopg.OperationalError as error:
                self._disconnect()
                if self._problem is None:
                    logger.warning(
                        "PostgreSQL does not answer: records wait in the spool.", extra={"error": type(error).__name__}
                    )
                self._problem = type(error).__name__
                wait = min(wait * 2, LONGEST_PAUSE_SECONDS)
            else:
                if self._problem is not None:
                    logger.info("PostgreSQL answers again; the spool is being shipped.")
                self._problem, wait = None, IDLE_SECONDS
                if shipped:
                    continue
            pause(wait)
        self._disconnect()

    def ship(self) -> int:
        """Ship all there is now; return the number of records. Raises psycopg.OperationalError without a database."""
        shipped = 0
        with alone(self._folder) as mine:
            if mine:
                for claim in claims(self._folder):
                    shipped += self._ship_claim(claim)
        return shipped

    def _ship_claim(self, claim: Claim) -> int:
        """Ship segment by segment, so that memory does not grow with what an outage left behind."""
        shipped = 0
        unfinished: dict[str, Started] = {}
        for segment in claim.segments:
            harvest = harvest_of(segment)
            shipped += self._ship_rows([row_of(record, claim.owner) for record in harvest.finished.values()])
            for event in harvest.circuits:
                self._ship_circuit(event)
            self._set_aside(harvest)
            if claim.owner_is_dead:
                unfinished |= harvest.started
                for id_ in harvest.finished:
                    unfinished.pop(id_, None)
            else:
                segment.unlink()
        if claim.owner_is_dead:
            shipped += self._ship_rows([row_of(_aborted(record), claim.owner) for record in unfinished.values()])
            self._connected().execute(_END_LEASES, (claim.owner,))
            claim.remove(self._folder)
        return shipped

    def _ship_rows(self, rows: list[LogRow]) -> int:
        for batch in _batches(rows, BATCH_ROWS):
            self._ship_batch(batch)
        return len(rows)

    def _ship_batch(self, rows: list[LogRow]) -> None:
        try:
            self._insert(rows)
        except psycopg.errors.CheckViolation:
            self._insert_with_partitions(rows)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            self._insert_one_by_one(rows, error)

    def _insert(self, rows: list[LogRow], *, moved: bool = False) -> None:
        connection = self._connected()
        with connection.transaction():
            connection.execute(_STAGE)
            with connection.cursor().copy(_COPY) as copy:
                copy.write(b"".join([row.line() for row in rows]))
            if moved:
                connection.execute(_FORGET_KNOWN)
            connection.execute(_SHIP)
            connection.execute(_LAST_USED)

    def _insert_with_partitions(self, rows: list[LogRow]) -> None:
        """No partition takes the day of some row: make it, within the days that the log is kept for."""
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = today - timedelta(days=self._retention_days)
        last = today + timedelta(days=DAYS_AHEAD + 1, milliseconds=-1)
        kept = [replace(row, created_at=min(max(row.created_at, first), last)) for row in rows]
        self._make_partitions({row.created_at.date() for row in kept})
        self._insert(kept, moved=kept != rows)

    def _insert_one_by_one(self, rows: list[LogRow], error: psycopg.Error) -> None:
        """A row that the database cannot hold must not keep the others back: it is set aside, and said so."""
        if len(rows) == 1:
            logger.error(
                "A record that the database cannot hold is set aside in the spool's folder `rejected`.",
                extra={"request_id": rows[0].record.id, "error": str(error)},
            )
            self._write_rejected(encode(rows[0].record))
            return
        for row in rows:
            self._ship_batch([row])

    def _ship_circuit(self, event: CircuitChanged) -> None:
        moment = datetime.fromtimestamp(event.at_ms / 1000, UTC)
        states = (event.from_state, event.to_state, event.reason[:200])
        self._connected().execute(_CIRCUIT, (event.id, event.tenant, event.provider_id, moment, *states, event.tenant))

    def _set_aside(self, harvest: Harvest) -> None:
        for line in harvest.rejected:
            logger.error("A record that cannot be read is set aside in the spool's folder `rejected`.")
            self._write_rejected(line)

    def _write_rejected(self, line: bytes) -> None:
        folder = self._folder / "rejected"
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / f"{datetime.now(UTC):%Y%m%d}.jsonl").open("ab") as file:
            file.write(line + b"\n")

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(**self._parameters, autocommit=True, connect_timeout=5)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _batches[Item](items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _aborted(record: Started) -> Finished:
    """Return the row of a request whose process died: its cost is not known, so it is shown as an open question."""
    return Finished(
        id=record.id,
        tenant=record.tenant,
        key_id=record.key,
        endpoint=record.endpoint,
        streamed=record.streamed,
        model=record.model,
        status=0,
        error_class="aborted",
        retryable=True,
        input_tokens=record.input_estimate,
        usage_estimated=True,
        unpriced=True,
        month=record.month,
        leased=record.leased,
    )
