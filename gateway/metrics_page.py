"""`GET /metrics`: the numbers of all processes of this machine, in Prometheus' text format.

For operators: with NEXUS_METRICS_TOKEN set whoever sends it may read, without it only a program on this machine that
asks directly. A request that came through a proxy is never local, whatever address it has.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from gateway.circuit import Status
from gateway.meter_files import Process, Publisher, Totals
from gateway.meters import (
    DURATION_SECONDS,
    FIRST_CONTENT_SECONDS,
    OVERHEAD_SECONDS,
    Numbers,
    Spread,
    Tally,
    Traffic,
    TrafficKey,
)
from gateway.snapshot import Snapshot
from nexus.errors import Forbidden, NexusError

logger = logging.getLogger(__name__)
METRICS_PATH = "/metrics"
_FORWARDED = frozenset(
    (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
)
_SEVERITY = (Status.CLOSED, Status.HALF_OPEN, Status.OPEN)


class MetricsRefused(Forbidden):
    """Whoever asks is no operator, as far as can be told."""


class MetricsTokenWrong(NexusError):
    code = "METRICS_TOKEN_WRONG"
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "Send the operator's NEXUS_METRICS_TOKEN as `Authorization: Bearer …`.",
            headers={"www-authenticate": "Bearer"},
        )


class MetricsUnreadable(NexusError):
    code = "METRICS_UNREADABLE"
    status = 503


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """Makes the page. `snapshot` gives the configuration that names the providers."""

    publisher: Publisher
    spool_folder: Path
    snapshot: Callable[[], Snapshot]
    token: str
    by_tenant: bool

    async def render(self, headers: Iterable[tuple[bytes, bytes]], client: str | None) -> tuple[str, bytes]:
        """Return the content type and the page. Raises MetricsRefused, MetricsTokenWrong, MetricsUnreadable."""
        self._admit(list(headers), client)
        try:
            totals = await self.publisher.totals()
        except OSError as error:
            raise MetricsUnreadable(f"The numbers cannot be read: {error.strerror}.") from error
        return CONTENT_TYPE_PLAIN_0_0_4, await asyncio.to_thread(self._text, totals)

    def _admit(self, headers: list[tuple[bytes, bytes]], client: str | None) -> None:
        if not self.token:
            if not _is_loopback(client) or any(name in _FORWARDED for name, _ in headers):
                raise MetricsRefused("Without NEXUS_METRICS_TOKEN, metrics are for programs on this machine alone.")
            return
        scheme, _, given = next((value for name, value in headers if name == b"authorization"), b"").partition(b" ")
        # Digests, so that the comparison takes the same time for tokens of any length.
        right = hmac.compare_digest(sha256(given.strip()).digest(), sha256(self.token.encode()).digest())
        if scheme.lower() != b"bearer" or not right:
            raise MetricsTokenWrong

    def _text(self, totals: Totals) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        families = [
            *_traffic(totals.numbers.traffic, self.by_tenant),
            *_counts(totals.numbers, self.by_tenant),
            *_spreads(totals.numbers),
            *_spool(self.spool_folder),
            *_processes(totals.living),
            _circuits(self.snapshot(), totals.living, self.by_tenant),
        ]
        registry.register(_Families(families))
        return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _is_loopback(client: str | None) -> bool:
    try:
        address = ip_address(client or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _labelled(by_tenant: bool, *names: str) -> list[str]:
    return ["tenant", *names] if by_tenant else list(names)


def _traffic(traffic: Mapping[TrafficKey, Traffic], by_tenant: bool) -> Iterator[Metric]:
    names = _labelled(by_tenant, "endpoint", "family", "provider", "model")
    requests = CounterMetricFamily("nexus_requests", "Requests answered.", labels=[*names, "status"])
    tokens = CounterMetricFamily(
        "nexus_tokens", "Tokens; input includes cached, output reasoning.", labels=[*names, "kind"]
    )
    cost = CounterMetricFamily("nexus_cost_usd", "What they cost, as far as prices are known.", labels=names)
    unpriced = CounterMetricFamily("nexus_unpriced_requests", "Requests whose model has no known price.", labels=names)
    for (labels, status), each in _by_labels(traffic, by_tenant).items():
        requests.add_metric([*labels, status], each.requests)
    for (labels, _), each in _by_labels(traffic, by_tenant, merge_status=True).items():
        for kind in ("input", "output", "cached", "reasoning"):
            if number := getattr(each, f"{kind}_tokens"):
                tokens.add_metric([*labels, kind], number)
        if each.cost_nano_usd:
            cost.add_metric(labels, each.cost_nano_usd / 1_000_000_000)
        if each.unpriced:
            unpriced.add_metric(labels, each.unpriced)
    yield from (requests, tokens, cost, unpriced)


def _by_labels(
    traffic: Mapping[TrafficKey, Traffic], by_tenant: bool, *, merge_status: bool = False
) -> dict[tuple[tuple[str, ...], str], Traffic]:
    """Return the traffic by what is shown: tenants that were told apart are added up once the setting is off again."""
    found: dict[tuple[tuple[str, ...], str], Traffic] = {}
    for (tenant, *labels, status), each in traffic.items():
        shown = (tenant, *labels) if by_tenant else tuple(labels)
        found.setdefault((shown, "" if merge_status else status), Traffic()).add(each)
    return found


def _counts(numbers: Numbers, by_tenant: bool) -> Iterator[Metric]:
    errors = CounterMetricFamily(
        "nexus_request_errors", "Requests that failed, by error code.", labels=["endpoint", "code"]
    )
    for place, tally in numbers.errors.items():
        errors.add_metric(place, tally.count)
    attempts = CounterMetricFamily(
        "nexus_attempts",
        "Candidates considered, by what became of them.",
        labels=_labelled(by_tenant, "family", "provider", "fate"),
    )
    shown: dict[tuple[str, ...], Tally] = {}
    for (tenant, *names), tally in numbers.attempts.items():
        shown.setdefault((tenant, *names) if by_tenant else tuple(names), Tally()).add(tally)
    for labels, tally in shown.items():
        attempts.add_metric(labels, tally.count)
    changes = CounterMetricFamily("nexus_circuit_changes", "Transitions of circuits, by the new state.", labels=["to"])
    for state, tally in numbers.circuit_changes.items():
        changes.add_metric([state], tally.count)
    replays = CounterMetricFamily(
        "nexus_replayed_answers", "Answers given again for an idempotency key.", labels=["endpoint"]
    )
    for endpoint, tally in numbers.replays.items():
        replays.add_metric([endpoint], tally.count)
    dropped = CounterMetricFamily(
        "nexus_spool_dropped_records", "Request records lost: the disk was full.", value=numbers.dropped_records
    )
    refusals = CounterMetricFamily(
        "nexus_limit_refusals", "Requests over a limit of their key.", labels=_labelled(by_tenant, "limit")
    )
    refused: dict[tuple[str, ...], Tally] = {}
    for (tenant, limit), tally in numbers.refusals.items():
        refused.setdefault((tenant, limit) if by_tenant else (limit,), Tally()).add(tally)
    for labels, tally in refused.items():
        refusals.add_metric(labels, tally.count)
    yield from (errors, attempts, changes, replays, dropped, refusals)


def _spreads(numbers: Numbers) -> Iterator[Metric]:
    place = ["endpoint", "family"]
    overheads = {(endpoint,): spread for endpoint, spread in numbers.overheads.items()}
    yield _histogram(
        "nexus_request_duration_seconds", "From request to end of answer.", place, DURATION_SECONDS, numbers.durations
    )
    yield _histogram(
        "nexus_time_to_first_content_seconds",
        "From request to first content.",
        place,
        FIRST_CONTENT_SECONDS,
        numbers.first_contents,
    )
    yield _histogram(
        "nexus_overhead_seconds", "What the gateway itself took of it.", place[:1], OVERHEAD_SECONDS, overheads
    )


def _histogram(
    name: str,
    help_text: str,
    labels: list[str],
    bounds: tuple[float, ...],
    spreads: Mapping[tuple[str, str], Spread] | Mapping[tuple[str], Spread],
) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for key, spread in spreads.items():
        reached = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, bounds), "+Inf"), spread.counts, strict=True):
            reached += count
            buckets.append((bound, reached))
        family.add_metric(key, buckets, spread.total)
    return family


def _spool(folder: Path) -> Iterator[Metric]:
    """Tell what waits to be shipped. Files that vanish meanwhile have been shipped."""
    sizes, ages = [], []
    now = time.time()
    for path in folder.glob("*.sealed"):  # one that is still open has its full size from the start and tells nothing
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        sizes.append(found.st_size)
        ages.append(max(0.0, now - found.st_mtime))
    yield _gauge("nexus_spool_pending_bytes", "Request records that are ready and have not been shipped.", sum(sizes))
    yield _gauge("nexus_spool_pending_segments", "Files of such records.", len(sizes))
    yield _gauge("nexus_spool_oldest_seconds", "Age of the oldest of these files; 0: none.", max(ages, default=0.0))


def _processes(living: tuple[Process, ...]) -> Iterator[Metric]:
    conditions = [process.condition for process in living]
    yield _gauge("nexus_processes", "Runtime processes on this machine.", len(living))
    yield _gauge("nexus_requests_in_flight", "Requests under way.", sum(each.in_flight for each in conditions))
    yield _gauge(
        "nexus_config_revision", "The oldest configuration in force.", min(each.revision for each in conditions)
    )
    ages = [each.revision_age_seconds for each in conditions if each.revision_age_seconds is not None]
    if len(ages) == len(conditions):
        yield _gauge(
            "nexus_config_age_seconds",
            "Since the last process knew its configuration to be the current one.",
            max(ages),
        )
    backends = GaugeMetricFamily(
        "nexus_breaker_processes", "Processes by where they keep circuits; local: Redis is away.", labels=["backend"]
    )
    for backend in ("redis", "local"):
        backends.add_metric([backend], sum(each.breaker_backend == backend for each in conditions))
    yield backends
    limits = GaugeMetricFamily(
        "nexus_limits_processes", "Processes by where they count limits; local: Redis or PostgreSQL is away.",
        labels=["backend"],
    )  # fmt: skip
    for backend, shared in (("shared", True), ("local", False)):
        limits.add_metric([backend], sum(each.limits_shared is shared for each in conditions))
    yield limits
    yield from _figures(living)


def _figures(living: tuple[Process, ...]) -> Iterator[Metric]:
    started = GaugeMetricFamily("nexus_process_start_time_seconds", "Start, in Unix seconds.", labels=["pid"])
    cpu = CounterMetricFamily("nexus_process_cpu_seconds", "CPU time, user and system.", labels=["pid"])
    memory = GaugeMetricFamily("nexus_process_resident_memory_bytes", "Resident memory.", labels=["pid"])
    files = GaugeMetricFamily("nexus_process_open_fds", "Open file descriptors.", labels=["pid"])
    for process in living:
        pid, figures = [str(process.figures.pid)], process.figures
        started.add_metric(pid, process.condition.started_at)
        cpu.add_metric(pid, figures.cpu_seconds)
        if figures.resident_bytes is not None:
            memory.add_metric(pid, figures.resident_bytes)
        if figures.open_files is not None:
            files.add_metric(pid, figures.open_files)
    yield from (started, cpu, memory, files)


def _circuits(snapshot: Snapshot, living: tuple[Process, ...], by_tenant: bool) -> Metric:
    """Tell the state of every enabled provider's circuit: the worst that any process knows of it."""
    family = GaugeMetricFamily(
        "nexus_circuit_state",
        "0 closed, 1 half-open, 2 open.",
        labels=_labelled(by_tenant, "family", "provider", "provider_id"),
    )
    providers = {
        route.provider_id: (*((tenant.slug,) if by_tenant else ()), route.family, route.name, str(route.provider_id))
        for tenant in snapshot.tenants.values()
        for routes in tenant.routes.values()
        for route in routes.candidates
    }
    for provider_id, labels in providers.items():
        states = [process.condition.circuits.get(str(provider_id), Status.CLOSED) for process in living]
        family.add_metric(labels, max((_SEVERITY.index(Status(state)) for state in states), default=0))
    return family


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)
