"""The figures and the chart of Overview, made of sums. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from uuid import UUID

from console.charts import Chart, Frame, Marker, Series, keep_largest, lines, stacked_bars
from console.formats import compact, duration, thousands, usd
from console.small_charts import Spark, spark_bars, sparkline
from console.time_range import TimeRange
from gateway.traffic import Sums, Traffic

MEASURES: Mapping[str, str] = {"requests": "Requests", "tokens": "Tokens", "cost": "Cost", "p95": "p95"}
_SPARKS = 36  # points


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of the strip, as ui/stat.html takes it."""

    title: str
    value: str
    unit: str = ""
    delta: str = ""
    tone: str = ""
    note: str = ""
    url: str = ""
    spark: Spark | None = None


def figures(seen: Traffic, span: TimeRange, *, whole_range: bool, before: int | None, list_url: str) -> list[Figure]:
    """Return the figures of a range. `before` is how many requests the range before it had, None if that is unknown.

    Without `whole_range` there were more requests than are counted, so that their number is told as a part.
    """
    whole = seen.whole
    ordered = [seen.buckets.get(each, Sums()) for each in span.buckets]
    value, _, unit = duration(whole.p95_ms).partition(" ")
    failed = f"{100 * whole.failed / whole.requests:.2f}" if whole.requests else "—"
    return [
        Figure(
            "Requests", compact(whole.requests), "" if whole_range else "+", url=list_url,
            **(_change(whole.requests, before) if whole_range else {"note": "more than are counted here"}),
            spark=sparkline(_thinned(ordered, lambda sums: sums.requests)),
        ),
        Figure(
            "Failed for clients", failed, "%" if whole.requests else "",
            thousands(whole.absorbed), "ok" if whole.absorbed else "muted", "absorbed by failover",
            url=f"{list_url}&status_class=5xx", spark=spark_bars(_thinned(ordered, lambda sums: sums.failed)),
        ),
        Figure(
            "p95 latency", value, unit, note="of whole answers", url=list_url,
            spark=sparkline([sums.p95_ms for sums in ordered], slot="warn"),
        ),
        Figure(
            "Tokens", compact(whole.tokens), note=f"for {usd(whole.cost_usd)}", url=list_url,
            spark=sparkline(_thinned(ordered, lambda sums: sums.tokens), slot=2),
        ),
    ]  # fmt: skip


def chart(
    seen: Traffic, span: TimeRange, names: Mapping[str, str], measure: str, *, markers: Sequence[Marker], zone: tzinfo
) -> Chart:
    """Return the traffic by provider in one of MEASURES."""
    series = [
        Series(_name(provider_id, names), [_value(buckets.get(each), measure) for each in span.buckets])
        for provider_id, buckets in seen.providers.items()
    ]
    title = f"{MEASURES[measure]} by provider"
    show: Callable[[float], str] = {"cost": lambda value: usd(value, 4), "p95": duration}.get(measure, thousands)
    axes: Mapping[str, Callable[[float], str]] = {"cost": usd, "p95": duration}
    frame = Frame(
        span.buckets, span.bucket, zone=zone, markers=markers, show=show, axis=axes.get(measure, compact),
        whole=measure in ("requests", "tokens"),
    )  # fmt: skip
    if measure == "p95":
        kept = sorted(series, key=lambda each: each.name)[:5]
        drawn = [Series(each.name, each.values, slot) for slot, each in enumerate(kept, start=1)]
        return lines(frame, drawn, title=title, summary="p95 of whole answers, by the provider that gave them")
    return stacked_bars(frame, keep_largest(series), title=title, summary=_summary(series, measure))


def _summary(series: Sequence[Series], measure: str) -> str:
    ranked = sorted(((sum(value or 0 for value in each.values), each.name) for each in series), reverse=True)
    whole = sum(total for total, _ in ranked)
    if not whole:
        return "Nothing in this time range"
    total, name = ranked[0]
    told = usd(whole) if measure == "cost" else thousands(whole)
    return f"{told} in all, {100 * total / whole:.0f}% of it from {name}"


def _name(provider_id: UUID | None, names: Mapping[str, str]) -> str:
    return (
        "No provider asked" if provider_id is None else names.get(str(provider_id), f"Deleted …{str(provider_id)[-4:]}")
    )


def _value(sums: Sums | None, measure: str) -> float | None:
    if measure == "p95":
        return None if sums is None else sums.p95_ms
    if sums is None:
        return 0
    if measure == "cost":
        return float(sums.cost_usd)
    return sums.tokens if measure == "tokens" else sums.requests


def _change(now: int, before: int | None) -> dict[str, Any]:
    if before is None:
        return {"note": "in this time range"}
    if now > 10 * before:
        return {"note": f"{thousands(before)} in the time before"}
    share = 100 * (now - before) / before
    return {"delta": f"{share:+.1f}%", "tone": "muted", "note": "vs the time before"}


def _thinned(ordered: Sequence[Sums], value: Callable[[Sums], int]) -> list[int]:
    """Return as many sums as a sparkline has room for."""
    step = -(-len(ordered) // _SPARKS)
    return [sum(map(value, ordered[start : start + step])) for start in range(0, len(ordered), step)]
