"""One view, one URL, two shapes: a whole page, or the fragment of it that htmx swaps in."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

STOP_POLLING = (
    286  # htmx 2 ends `every …` on it; the final fragment has no trigger either, for those who do not know it
)


def fragment(request: HttpRequest, *names: str) -> str:
    """Return which of the named partials htmx wants; empty for a whole page.

    A partial, its element's id and its `hx-target` have one name. The first is meant where the target is another.
    """
    htmx: Any = getattr(request, "htmx", None)
    if not htmx or htmx.boosted or htmx.history_restore_request:
        return ""
    return htmx.target if htmx.target in names else names[0]


def page(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, partial: str = "", status: int = 200
) -> HttpResponse:
    """Render a template, or one partial of it. The address is the same for both, which caches are told."""
    name = f"{template}#{partial}" if partial else template
    response = render(request, name, dict(context), status=status)
    patch_vary_headers(response, ["HX-Request", "HX-Boosted", "HX-Target"])
    return response
