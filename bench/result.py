"""What a run of the benchmark finds: the shape of `bench/results/*.json`. Times carry their unit in their name."""

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """What was measured, and on what. `load_before` is the load average of the minute before."""

    measured_at: str
    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    python: str
    packages: dict[str, str]
    commit: str
    load_before: float


class Pace(msgspec.Struct, frozen=True):
    """How often and how long; seconds are of one measurement, doubled for slow targets."""

    rounds: int
    seconds: float
    warm_up_seconds: float


class Feature(msgspec.Struct, frozen=True):
    """Something that a request passes, and whether it did: `on`, or why not."""

    name: str
    state: str


class Memory(msgspec.Struct, frozen=True):
    """Of a whole process tree. `rss` counts a page once for each process that maps it, `pss` shares it out."""

    rss_mb: float
    pss_mb: float


class LoadFigures(msgspec.Struct, frozen=True):
    """What the load generator tells (programs/loadgen.c). `total` counts what was served outside the window too.

    `abandoned` is what had no answer some seconds after the end: the target worked on it, and nobody waited any more.
    """

    connections: int
    stream: bool
    seconds: float
    ok: int
    errors: int
    bad_status: int
    bad_connection: int
    no_done: int
    first_bad_status: int
    rps: float
    mean_us: float
    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int
    max_us: int
    ttfb_p50_us: int
    ttfb_p99_us: int
    events: int
    missed: int
    total: int
    abandoned: int

    @property
    def asked(self) -> int:
        """How many requests the target had to work on."""
        return self.total + self.abandoned


class Measurement(msgspec.Struct, frozen=True):
    """One scenario on one target, once. `cpu_us` is CPU time per request, None for the upstream alone."""

    target: str
    scenario: str
    round: int
    cpu_us: float | None
    drained: bool  # whether the work left to other processes was done before the next measurement
    load: LoadFigures
    note: str = ""


class TargetFacts(msgspec.Struct, frozen=True):
    """What is known of a target beside its measurements. `asked` is how many requests `after` was read after."""

    name: str
    version: str
    start_seconds: float | None
    idle: Memory | None
    after: Memory | None
    asked: int


class Background(msgspec.Struct, frozen=True):
    """What the processes beside the gateway used for its requests, and whether each of these was logged."""

    requests_asked: int
    requests_logged: int
    shipper_cpu_us: float  # per logged request
    postgres_cpu_us: float


class Ingest(msgspec.Struct, frozen=True):
    """The median over some passes. `shipper_cpu_us` is the shipper's own time for a row, PostgreSQL's not in it."""

    rows: int  # in a pass
    passes: list[float]  # rows per second
    rows_per_second: float
    shipper_cpu_us: float


class Translation(msgspec.Struct, frozen=True):
    """Microseconds of CPU time in a family's adapter, and how much of it is more than in OpenAI's."""

    family: str
    plain_us: float  # a request of 1 KB and its answer
    plain_added_us: float
    event_us: float  # one event of a stream
    event_added_us: float


class Answer(msgspec.Struct, frozen=True):
    """One page or query: the median and the slowest of `times`; None where it is not built."""

    name: str
    path: str
    state: str  # measured, or why not
    times: int = 0
    ms: float | None = None
    slowest_ms: float | None = None
    database_ms: float | None = None
    queries: int | None = None


class Dashboards(msgspec.Struct, frozen=True):
    rows: int
    fill_seconds: float
    log_mb: float  # the table with its indexes
    answers: list[Answer]


class Result(msgspec.Struct, frozen=True):
    """One run. A part that was left out is None or empty."""

    machine: Machine
    cores: str
    pace: Pace
    features: list[Feature]
    targets: list[TargetFacts]
    measurements: list[Measurement]
    background: Background | None
    translations: list[Translation]
    ingest: Ingest | None
    dashboards: Dashboards | None
    not_measured: list[Feature]
