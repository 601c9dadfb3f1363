"""The console's template tags: icons, badges, numbers and times in its words. `{% load ui %}`."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import template
from django.forms import BoundField
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from console import formats, icons
from console.small_charts import Spark, spark_bars, sparkline

register = template.Library()
_LONGEST_STRING = 2_048  # characters of a JSON string that are shown at first

# Word and shape beside the colour: an icon, or a dot that is full, half or hollow.
_BADGES: Mapping[str, tuple[str, str, str, str]] = {  # state: tone, word, dot, icon
    "closed": ("ok", "Closed", "ok", ""),
    "half_open": ("warn", "Half-open", "half", ""),
    "open": ("bad", "Open", "open", ""),
    "queued": ("", "Queued", "", "circle-dashed"),
    "running": ("run", "Running", "", "loader-circle"),
    "succeeded": ("ok", "Succeeded", "", "circle-check"),
    "passed": ("ok", "Passed", "", "circle-check"),
    "failed": ("bad", "Failed", "", "circle-x"),
    "error": ("bad", "Error", "", "circle-alert"),
    "skipped": ("", "Skipped", "", "circle-minus"),
    "draft": ("", "Draft", "", "pencil-line"),
    "published": ("ok", "Published", "", "lock"),
    "enabled": ("ok", "Enabled", "", "circle-check"),
    "disabled": ("", "Disabled", "", "circle-slash"),
    "revoked": ("", "Revoked", "", "ban"),
    "expired": ("warn", "Expired", "", "calendar-x"),
    "block": ("bad", "Block", "", "shield-x"),
    "log": ("", "Log only", "", "scroll-text"),
}


@register.simple_tag
def icon(name: str, size: int = 16, label: str = "", classes: str = "") -> SafeString:
    return icons.icon(name, size=size, label=label, classes=classes)


@register.inclusion_tag("ui/badge.html")
def badge(state: str, word: str = "") -> dict[str, str]:
    """Show a state by colour, shape and word. An unknown one is grey."""
    tone, told, dot, picture = _BADGES.get(state, ("", state.replace("_", " ").capitalize(), "", "circle"))
    return {"tone": tone, "word": word or told, "dot": dot, "icon": picture}


@register.inclusion_tag("ui/badge.html")
def gate_badge(passed: int, total: int) -> dict[str, str]:
    """Show how many cases of the eval gate passed."""
    good = passed == total and total > 0
    return {
        "tone": "ok" if good else "bad",
        "word": f"Gate {passed}/{total}",
        "icon": "shield-check" if good else "shield-x",
    }


@register.simple_tag
def env_badge(name: str) -> SafeString:
    return format_html('<span class="bd env">{}</span>', name)


@register.simple_tag
def status_badge(status: int, word: str = "") -> SafeString:
    """Show an HTTP status. 0: the process died, 499: the client hung up."""
    tone = {1: "", 2: "ok", 3: "ok", 4: "warn", 5: "bad"}.get(status // 100, "bad")
    text = f"{status} {word}".strip()
    return format_html('<span class="bd sq{}">{}</span>', f" {tone}" if tone else "", text)


@register.filter
def compact(value: float | None) -> str:
    return formats.compact(value)


@register.filter
def thousands(value: float | None) -> str:
    return formats.thousands(value)


@register.filter
def milliseconds(value: float | None) -> str:
    return formats.duration(value)


@register.filter
def usd(value: Decimal | float | None, places: int = 2) -> str:
    return formats.usd(value, places)


@register.filter
def percent(value: float | None, places: int = 1) -> str:
    return formats.percent(value, places)


@register.simple_tag
def ago(moment: datetime | None) -> SafeString | str:
    """Show how long ago a moment is; app.js keeps it true. The tooltip has the moment in UTC."""
    if moment is None:
        return formats.UNKNOWN
    told = formats.ago(timezone.localtime(moment), timezone.now())
    return format_html('<time datetime="{}" title="{}" data-ago>{}</time>', _iso(moment), _utc(moment), told)


@register.simple_tag
def clock(moment: datetime | None, style: str = "time") -> SafeString | str:
    """Show a moment in the viewer's zone: "time" (14:20:58), "full" (25 Nov 14:20:58), or "auto", full unless today."""
    if moment is None:
        return formats.UNKNOWN
    local = timezone.localtime(moment)
    brief = style == "time" or (style == "auto" and local.date() == timezone.localdate())
    told = f"{local:%H:%M:%S}" if brief else f"{local.day} {local:%b %H:%M:%S}"
    return format_html('<time datetime="{}" title="{}">{}</time>', _iso(moment), _utc(moment), told)


@register.simple_tag
def zone_name() -> str:
    """Return the name of the viewer's zone."""
    return timezone.get_current_timezone_name()


@register.filter
def code(text: str, language: str = "text") -> SafeString:
    """Colour code by CSS classes. The result has no frame of its own."""
    made: str = highlight(text, get_lexer_by_name(language, stripnl=False), HtmlFormatter(nowrap=True))
    return SafeString(made.rstrip("\n"))


@register.filter
def line_numbers(text: str) -> str:
    """Return the numbers of a text's lines, each on its own."""
    return "\n".join(str(number) for number in range(1, len(text.rstrip("\n").splitlines()) + 1))


@register.filter
def control(field: BoundField) -> SafeString:
    """Render a form's field without its label, as our fields look; Django says what is wrong with it to readers."""
    kind = getattr(field.field.widget, "input_type", "select")
    attributes: dict[str, str | bool] = {"class": {"select": "select", "textarea": "area"}.get(kind, "inp")}
    field.field.widget.attrs.pop("placeholder", None)  # a label says it, and does not go while one types
    return field.as_widget(attrs=attributes)


@register.filter
def kind_of(value: Any) -> str:
    """Return what a JSON value is: object, array, string, number, boolean or null."""
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Sequence):
        return "array"
    if isinstance(value, bool):
        return "boolean"
    return "null" if value is None else "number"


@register.filter
def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def beginning(text: str) -> str:
    """Return as much of a long string as is shown at first."""
    return text[:_LONGEST_STRING]


@register.filter
def is_long(text: str) -> bool:
    return len(text) > _LONGEST_STRING


@register.inclusion_tag("ui/spark.html")
def spark(values: Sequence[float | None], slot: str = "1") -> dict[str, Spark]:
    return {"spark": sparkline(values, slot=slot)}


@register.inclusion_tag("ui/spark.html")
def little_bars(values: Sequence[float], slot: str = "5") -> dict[str, Spark]:
    return {"spark": spark_bars(values, slot=slot)}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
