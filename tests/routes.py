"""Every view of the installation by its path, for tests that let none slip through."""

from collections.abc import Callable, Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


def every_view(under: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield path patterns, such as `v1/keys/<uuid:key_id>`, that begin with `under`, and their views."""

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        for each in patterns:
            here = prefix + str(each.pattern)
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, here)
            else:
                yield here, each.callback

    return ((path, view) for path, view in walk(get_resolver().url_patterns, "") if path.startswith(under))
