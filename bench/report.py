"""The Markdown report of a run. Pure."""

from collections.abc import Callable, Iterable, Sequence

from bench.medians import DIRECT, Cell, Table, table_of
from bench.result import Answer, Background, Dashboards, Feature, Ingest, Memory, Result, TargetFacts, Translation
from bench.scenario import KINDS

NEXUS = "nexus"
_BUSY = 0.5  # load average of one minute per core

_Show = Callable[[str, str], str]


def markdown(result: Result) -> str:
    """Write the report."""
    parts = [_heading(result), _conditions(result)]
    if result.measurements:
        parts += _gateway_tables(table_of(result.measurements))
    if result.targets:
        parts += ["## Memory and start", _memory_table(result.targets)]
    if result.background is not None:
        parts += ["## Beside the gateway", _background(result.background)]
    if result.translations:
        parts += ["## Translation", _translations(result.translations)]
    if result.ingest is not None:
        parts += ["## Log ingest", _ingest(result.ingest)]
    if result.dashboards is not None:
        parts += ["## Over the request log", _dashboards(result.dashboards)]
    if result.not_measured:
        parts += ["## Not measured", _listed(result.not_measured)]
    return "\n\n".join(parts) + "\n"


def _heading(result: Result) -> str:
    return f"# Benchmark of {result.machine.measured_at[:10]}"


def _conditions(result: Result) -> str:
    machine, pace = result.machine, result.pace
    lines = [
        f"- {machine.cpu}, {machine.cores} cores, {machine.memory_gb:.0f} GB, Linux {machine.kernel}, "
        f"Python {machine.python}",
        "- " + ", ".join(f"{name} {version}" for name, version in machine.packages.items()),
        f"- commit {machine.commit or 'unknown'}, measured {machine.measured_at}",
        f"- {result.cores}",
    ]
    if result.measurements:
        lines += [
            f"- rounds: {pace.rounds}, each measurement {pace.seconds:g} s after {pace.warm_up_seconds:g} s of warming "
            "up (LiteLLM and Portkey: twice as long); every figure is the median of the rounds, errors are their sum",
            "- a request to NEXUS passed: " + "; ".join(f"{one.name}: {one.state}" for one in result.features),
        ]
    if machine.load_before > _BUSY * machine.cores:
        lines.append(
            f"- **The machine was busy with other work** (load average {machine.load_before:g} before the start): "
            "the figures are noisy, and worse than on a quiet machine. Compare within this run only."
        )
    return "\n".join(lines)


# --- the gateway ------------------------------------------------------------------------------------------------------


def _gateway_tables(table: Table) -> list[str]:
    parts = ["## Requests", _kinds(table)]
    parts += _figure(table, "Requests per second", lambda *at: _number(table.cells[at].rps))
    parts += _added(table, "Added time until the answer is whole, p50, ms", "p50_ms")
    parts += _added(table, "Added time until the answer is whole, p99, ms", "p99_ms")
    parts += _figure(table, "Time to the first byte, p50, ms", lambda *at: _number(table.cells[at].ttfb_p50_ms, 2))
    parts += _figure(table, "Time to the first byte, p99, ms", lambda *at: _number(table.cells[at].ttfb_p99_ms, 2))
    parts += _figure(table, "CPU time of the process tree per request, µs", lambda *at: _number(table.cells[at].cpu_us))
    parts += _figure(table, "Errors", lambda *at: _errors(table.cells[at]))
    return parts + _ratios(table)


def _kinds(table: Table) -> str:
    letters = dict.fromkeys(scenario[0] for scenario in table.scenarios)
    said = "; ".join(f"`{letter}` {KINDS[letter]}" for letter in letters)
    return f"A letter for the kind of request and the number of connections: {said}."


def _figure(table: Table, title: str, show: _Show) -> list[str]:
    rows = [[target, *(show(target, scenario) for scenario in table.scenarios)] for target in table.targets]
    return [f"**{title}**", _table(["", *table.scenarios], rows)]


def _added(table: Table, title: str, figure: str) -> list[str]:
    if DIRECT not in table.targets:
        return []
    rows = [
        [target, *(_number(table.added_ms(target, scenario, figure), 2) for scenario in table.scenarios)]
        for target in table.targets
        if target != DIRECT
    ]
    return [f"**{title}**", _table(["", *table.scenarios], rows)]


def _errors(cell: Cell) -> str:
    return f"{cell.errors} (late shipping)" if cell.undrained else str(cell.errors)


def _ratios(table: Table) -> list[str]:
    """Compare NEXUS with everything else that was measured."""
    if NEXUS not in table.targets:
        return []
    others = [target for target in table.targets if target not in (NEXUS, DIRECT)]
    if not others:
        return []
    faster = [
        [f"{NEXUS} / {other}", *(_number(table.ratio(NEXUS, other, name, "rps"), 2) for name in table.scenarios)]
        for other in others
    ]
    dearer = [
        [f"{other} / {NEXUS}", *(_number(table.ratio(other, NEXUS, name, "cpu_us"), 2) for name in table.scenarios)]
        for other in others
    ]
    return [
        "## Against the others",
        f"**Requests per second of {NEXUS} as a multiple of another's**",
        _table(["", *table.scenarios], faster),
        f"**CPU time per request as a multiple of {NEXUS}'s**",
        _table(["", *table.scenarios], dearer),
    ]


def _memory_table(targets: Iterable[TargetFacts]) -> str:
    rows = [
        [
            one.name, one.version, _number(one.start_seconds, 2), _memory(one.idle), _memory(one.after),
            f"{one.asked:,}",
        ]
        for one in targets
        if one.idle is not None
    ]  # fmt: skip
    return _table(["", "version", "start, s", "RSS idle, MB", "RSS after, MB", "requests"], rows)


def _memory(memory: Memory | None) -> str:
    return _number(memory.rss_mb) if memory is not None else "-"


def _translations(translations: Iterable[Translation]) -> str:
    rows = [
        [
            one.family, _number(one.plain_us, 1), _number(one.plain_added_us, 1), _number(one.event_us, 2),
            _number(one.event_added_us, 2),
        ]
        for one in translations
    ]  # fmt: skip
    said = "CPU time in a family's adapter, in µs, and how much of it is more than OpenAI's, whose bytes pass through."
    heads = ["", "request of 1 KB and answer", "more", "event of a stream", "more"]
    return f"{said}\n\n{_table(heads, rows)}"


def _background(background: Background) -> str:
    return "\n".join(
        (
            f"- requests to both doors: {background.requests_asked:,}; rows in the request log: "
            f"{background.requests_logged:,}",
            f"- CPU time per logged request: shipper {background.shipper_cpu_us:.0f} µs, PostgreSQL "
            f"{background.postgres_cpu_us:.0f} µs (not part of the gateway's figures above)",
        )
    )


# --- the log ----------------------------------------------------------------------------------------------------------


def _ingest(ingest: Ingest) -> str:
    passes = ", ".join(_number(rate) for rate in ingest.passes)
    return (
        f"**{_number(ingest.rows_per_second)} rows per second** from sealed spool segments into the request log and "
        f"the daily rollup, one shipper; the median of {len(ingest.passes)} passes of {ingest.rows:,} rows ({passes}). "
        f"The shipper itself uses {ingest.shipper_cpu_us:.0f} µs of CPU time for a row."
    )


def _dashboards(dashboards: Dashboards) -> str:
    rows = [
        [
            answer.name, f"`{answer.path}`", _number(answer.ms, 1), _number(answer.slowest_ms, 1),
            _number(answer.database_ms, 1), _count(answer),
        ]
        for answer in dashboards.answers
    ]  # fmt: skip
    said = (
        f"One tenant with {dashboards.rows:,} requests in a month ({dashboards.log_mb:,.0f} MB with indexes, filled in "
        f"{dashboards.fill_seconds:.0f} s). Each answer is made whole, in one process, with warm caches."
    )
    heads = ["", "read from", "median, ms", "slowest, ms", "of it database, ms", "queries"]
    return f"{said}\n\n{_table(heads, rows)}"


def _count(answer: Answer) -> str:
    return answer.state if answer.queries is None else str(answer.queries)


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _listed(features: Iterable[Feature]) -> str:
    return "\n".join(f"- {one.name}: {one.state}" for one in features)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
