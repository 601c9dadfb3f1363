"""Sample values for the UI kit: every component in every state, and the overview as it is meant to look."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import sin
from typing import Any

from console import charts, small_charts
from console.charts import Frame, Marker, Series
from console.differences import difference
from console.formats import duration
from console.navigation import NavBadge
from console.palette import Found, Item
from console.shell import NavGroup, NavItem, Shell, Workspace
from console.time_range import PRESETS, TimeRange

PAGES = ("components", "overview")
_END = datetime(2026, 11, 24, 14, 20, tzinfo=UTC)
_OPENED = _END - timedelta(minutes=23)

_ACME = Workspace("Acme Robotics", "acme", "admin", "/ui-kit/")
_GROUPS: Mapping[str, tuple[tuple[str, str, NavBadge | None], ...]] = {
    "": (("Overview", "layout-dashboard", None),),
    "Gateway": (
        ("Requests", "scroll-text", None),
        ("Providers", "route", NavBadge("1 open", "bad")),
        ("API keys", "key-round", None),
    ),
    "Build": (
        ("Prompts", "file-text", None),
        ("Evals", "flask-conical", None),
        ("GitOps runs", "git-branch", NavBadge("1", "run")),
    ),
    "Govern": (
        ("Policies", "shield-check", None),
        ("Spend", "wallet", NavBadge("74%")),
        ("Members", "users", None),
    ),
    "Observe": (
        ("Metrics", "chart-line", None),
        ("Incidents", "siren", NavBadge("1")),
        ("Audit log", "history", None),
    ),
}


def context(name: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return what a page of the kit shows."""
    span = TimeRange(_END - timedelta(hours=6), _END, preset="6h")
    return {
        "shell": _shell(name),
        "range": span,
        "range_label": span.label(),
        "presets": PRESETS,
        "environment": query.get("env", ""),
        "environments": ("dev", "staging", "prod"),
        "traffic": _traffic(),
        "latency": _latency(),
        "histogram": _histogram(),
        "empty_chart": charts.stacked_bars(
            _frame(), [Series("OpenAI", [0] * 72)], title="Requests", summary="Nothing in this time range"
        ),
        "sparks": _sparks(),
        "states": _states(),
        "heat": _heat(),
        "score_parts": _score_parts(),
        "diff": difference(_OLD, _NEW),
        "json": _JSON,
        "code": _CODE,
        "found": (Found("Pages", (Item("Overview", "/ui-kit/overview/", "layout-dashboard", "g o"),)),),
        "requests": _REQUESTS,
        "circuits": _CIRCUITS,
        "releases": _RELEASES,
        "moment": _END,
        "badges": ("closed", "half_open", "open", "queued", "running", "succeeded", "failed", "skipped", "draft",
                   "published", "disabled", "revoked", "expired", "block", "log"),
    }  # fmt: skip


def _shell(name: str) -> Shell:
    here = "Overview" if name == "overview" else ""
    groups = []
    for group, entries in _GROUPS.items():
        items = (
            NavItem(label, icon, "/ui-kit/overview/" if label == "Overview" else "/ui-kit/", label == here, "", badge)
            for label, icon, badge in entries
        )
        groups.append(NavGroup(group, tuple(items)))
    globex = Workspace("Globex", "globex", "viewer", "/ui-kit/")
    return Shell(_ACME, (_ACME, globex), "Mara Köhler", "mara@acme.example", tuple(groups), "/ui-kit/")


def _frame(**more: Any) -> Frame:
    step = timedelta(minutes=5)
    return Frame([_END - step * (72 - number) for number in range(72)], step, whole=True, **more)


def _wave(base: float, height: float, at: int, phase: float = 0.0) -> float:
    slow = sin(at / 72 * 5.2 + phase) + 0.35 * sin(at / 3.1 + phase * 3) * 0.4
    return max(base + height * slow + 0.06 * base * sin(at * 12.9898 + phase * 78.233), 0.0)


def _traffic() -> charts.Chart:
    cut = 67
    openai = [round(_wave(1100, 260, at)) if at < cut else (430 if at == cut else 0) for at in range(72)]
    anthropic = [round(_wave(520, 90, at, 0.3)) + (520 if at >= cut else 0) for at in range(72)]
    mistral = [round(_wave(240, 60, at, 0.8)) + (300 if at >= cut else 0) for at in range(72)]
    groq = [round(_wave(130, 24, at, 1.4)) for at in range(72)]
    others = [round(_wave(70, 14, at, 2.2)) for at in range(72)]
    series = [
        Series("OpenAI", openai, 1), Series("Anthropic", anthropic, 2), Series("Mistral", mistral, 3),
        Series("Groq", groq, 4), Series("2 others", others, 5),
    ]  # fmt: skip
    summary = "OpenAI falls to zero at 13:57 and Anthropic and Mistral take over; the total does not drop"
    return charts.stacked_bars(
        _frame(markers=[Marker(_OPENED, "13:57 circuit opened")]), series, title="Traffic by provider", summary=summary
    )


def _latency() -> charts.Chart:
    frame = _frame(show=duration, axis=duration)
    series = [
        Series("p50", [_wave(420, 40, at) for at in range(72)], 2),
        Series("p95", [_wave(1500, 180, at, 0.6) if not 30 < at < 36 else None for at in range(72)], 1),
        Series("p99", [_wave(2300, 300, at, 1.1) for at in range(72)], 3),
    ]
    return charts.lines(frame, series, title="Latency", summary="p95 between 1.3 and 1.7 s, unknown for half an hour")


def _histogram() -> charts.Chart:
    frame = _frame(height=56, links=[f"?range=6h&bucket={number}" for number in range(72)])
    good = Series("Answered", [round(_wave(1800, 400, at)) for at in range(72)], 1)
    failed = Series("Failed", [round(_wave(20, 30, at, 2)) for at in range(72)], "bad")
    return charts.histogram(frame, [good, failed], title="Requests", summary="Between 1,300 and 2,300 in five minutes")


def _sparks() -> dict[str, small_charts.Spark]:
    return {
        "requests": small_charts.sparkline([_wave(1100, 260, at) for at in range(36)]),
        "failed": small_charts.spark_bars([2, 1, 3, 2, 1, 2, 4, 2, 1, 3, 2, 1, 2, 3, 24, 17, 9, 6]),
        "latency": small_charts.sparkline([_wave(1500, 180, at, 0.6) for at in range(34)], slot="warn"),
    }


def _states() -> small_charts.Strip:
    changes = [
        (_END - timedelta(hours=30), "closed"),
        (_OPENED, "open"),
        (_OPENED + timedelta(minutes=11), "half_open"),
        (_OPENED + timedelta(minutes=15), "closed"),
    ]
    return small_charts.state_strip(
        changes, since=_END - timedelta(hours=2), until=_END, summary="Closed but for 15 minutes from 13:57"
    )


def _heat() -> small_charts.Strip:
    values = [round(max(_wave(20, 24, at), 0)) for at in range(48)]
    labels = [f"{at // 2:02}:{at % 2 * 30:02}: {value} errors" for at, value in enumerate(values)]
    return small_charts.heat_strip(values, labels, summary="Most errors around 06:00")


def _score_parts() -> list[dict[str, Any]]:
    parts = (
        ("Availability", 99, "ok"),
        ("Latency", 55, "warn"),
        ("Policy", 98, "ok"),
        ("Evals", 92, "ok"),
        ("Deploys", 88, "ok"),
    )
    return [
        {"label": label, "value": value, "tone": tone, "x": number * 11, "rest": 100 - value}
        for number, (label, value, tone) in enumerate(parts)
    ]  # fmt: skip


_OLD = "You answer for {{company}}. Ticket: {{ticket | no ticket provided}}\nRefunds are possible within 30 days."
_NEW = (
    "You answer for {{company}}. Ticket: {{ticket | no ticket provided}}\n"
    "Refunds are possible within {{refund_days | 30}} days of delivery.\n"
    "Answer as JSON with the keys category and reply."
)
_JSON = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Where is my parcel?"}],
    "stream": True,
    "temperature": 0.2,
    "user": None,
}
_CODE = """from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1")
answer = client.chat.completions.create(
    model="gpt-4o",
    messages=[{"role": "user", "content": "Hello"}],
)

# The provider that answered is in the response's headers.
print(answer.choices[0].message.content)
"""
_REQUESTS = (
    ("14:20:58", "gpt-4o", "openai", "anthropic", 200, "487 ms", 16, "1,204 / 318", "$0.0062", "nxk_7f3a…"),
    ("14:20:57", "claude-sonnet-4-5", "", "anthropic", 200, "1.91 s", 62, "3,880 / 742", "$0.0228", "nxk_7f3a…"),
    ("14:20:57", "support/triage@2.4.0", "", "anthropic", 200, "1.12 s", 37, "912 / 204", "$0.0058", "nxk_b21c…"),
    ("14:20:55", "gpt-4o-mini", "openai", "mistral", 200, "344 ms", 11, "402 / 96", "$0.0002", "nxk_e90d…"),
    ("14:20:54", "gpt-4o", "", "", 403, "3 ms", 0, "—", "—", "nxk_44aa…"),
    ("14:20:54", "mistral-large-latest", "", "mistral", 200, "806 ms", 27, "1,020 / 410", "$0.0045", "nxk_7f3a…"),
    ("14:20:52", "gpt-4o", "openai", "anthropic", 200, "2.64 s", 86, "8,112 / 1,290", "$0.0437", "nxk_b21c…"),
)
_CIRCUITS = (
    ("OpenAI", "open", "open", "probe in 00:18", "—", "0% now"),
    ("Anthropic", "closed", "ok", "0.1% errors", "1.62 s", "58% now"),
    ("Mistral", "closed", "ok", "0.0% errors", "0.98 s", "27% now"),
    ("Groq", "half_open", "half", "1 of 2 probes passed", "0.41 s", "8% now"),
    ("Azure OpenAI", "closed", "ok", "0.2% errors", "1.71 s", "4% now"),
)
_RELEASES = (
    ("run", "loader-circle", "support/triage", "2.4.0", "prod", "verify · step 3 of 3", "just now"),
    ("ok", "circle-check", "billing/summary", "1.9.2", "staging", "gate 42/42 · Ines R.", "38 min"),
    ("bad", "circle-x", "sales/outreach", "3.0.0", "prod", "validate failed: not published", "2 h"),
    ("ok", "rotate-ccw", "support/triage", "2.3.2", "prod", "rolled back · Mara K.", "5 h"),
    ("ok", "circle-check", "support/triage", "2.3.3", "dev", "deployed · Mara K.", "6 h"),
)
