"""Log ingest: how many requests a second the shipper takes from the spool to the database, rollup included."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from django.conf import settings
from django.db.models import Sum

from accounts.models import Tenant
from bench.programs import CannotMeasure
from bench.records import made_up
from bench.result import Ingest
from billing.models import TenantDailySpend
from gateway.models import RequestLog
from gateway.plane import shipper_of
from gateway.records import Finished, Started
from gateway.spool import Spool

_PASSES = 3
_REQUESTS_PER_SEGMENT = 1000  # what a process at 4,000 requests a second seals in its quarter of a second
_POLL_SECONDS = 0.001
_LONGEST_SEALING_SECONDS = 30.0


def main(arguments: list[str]) -> Ingest:
    """Measure with as many rows a pass as the first argument says, for the tenant that the second names."""
    rows, tenant = int(arguments[0]), Tenant.objects.get(slug=arguments[1])
    timed = [_one_pass(tenant, rows) for _ in range(_PASSES)]
    rates = [round(rows / seconds, 1) for seconds, _ in timed]
    cpu_us = median(cpu for _, cpu in timed) / rows * 1e6
    return Ingest(rows=rows, passes=rates, rows_per_second=median(rates), shipper_cpu_us=round(cpu_us, 1))


def _one_pass(tenant: Tenant, rows: int) -> tuple[float, float]:
    """Ship a spool of so many requests. Returns seconds and CPU seconds. Raises CannotMeasure if a row is missing."""
    before = _counted(tenant)
    with TemporaryDirectory(dir=settings.NEXUS_DATA_DIR, prefix="ingest-") as name:
        spool = _filled_spool(Path(name), made_up(tenant.id, rows))
        try:
            shipper = shipper_of(Path(name))
            began, cpu_began = time.perf_counter(), time.process_time()
            shipper.ship()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        finally:
            spool.close()
    after = _counted(tenant)
    if (after[0] - before[0], after[1] - before[1]) != (rows, rows):
        raise CannotMeasure(f"{rows} rows were shipped; the log and the rollup went from {before} to {after}.")
    return seconds, cpu


def _filled_spool(folder: Path, records: Iterator[tuple[Started, Finished]]) -> Spool:
    """Write requests as a runtime process does: a record at the begin, one at the end, sealed segment by segment."""
    spool = Spool(folder)
    spool.open()
    while part := list(islice(records, _REQUESTS_PER_SEGMENT)):
        for started, finished in part:
            spool.begin(started)
            spool.end(finished)
        _seal(spool)
    return spool


def _seal(spool: Spool) -> None:
    """Seal what was written, as soon as the disk has made the next segment."""
    deadline = time.monotonic() + _LONGEST_SEALING_SECONDS
    while (sealing := spool.rotate()) is None:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"The disk of {settings.NEXUS_DATA_DIR} makes no segment of the spool.")
        time.sleep(_POLL_SECONDS)
    sealing.result()


def _counted(tenant: Tenant) -> tuple[int, int]:
    """Return how many requests the log has, and how many the rollup."""
    rollup = TenantDailySpend.objects.for_tenant(tenant).aggregate(requests=Sum("requests"))["requests"]
    return RequestLog.objects.for_tenant(tenant).count(), rollup or 0
