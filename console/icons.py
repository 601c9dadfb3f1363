"""Lucide icons as inline SVG, so that they take the colour of their text and need no request of their own.

The package keeps its 1,700 icons in a zip; each is read once per process.
"""

from functools import cache
from importlib.resources import files
from xml.etree import ElementTree
from zipfile import ZipFile

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

_SVG = "{http://www.w3.org/2000/svg}"


class UnknownIcon(LookupError):
    """A template asks for an icon that Lucide does not have: a mistake of the template's, seen by its first test."""


def icon(name: str, *, size: int = 16, label: str = "", classes: str = "") -> SafeString:
    """Return an icon. Without a label it is hidden from readers: a word stands beside it."""
    told = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="i{}" width="{}" height="{}" viewBox="0 0 24 24" fill="none" stroke="currentColor"'
        ' stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" {}>{}</svg>',
        f" {classes}" if classes else "",
        size,
        size,
        told,
        _shapes(name),
    )


@cache
def _shapes(name: str) -> SafeString:
    with files("lucide").joinpath("lucide.zip").open("rb") as packed, ZipFile(packed) as archive:
        try:
            source = archive.read(f"{name}.svg")
        except KeyError:
            raise UnknownIcon(name) from None
    shapes = []
    for node in ElementTree.fromstring(source):  # noqa: S314  (from a package that is pinned by its hash)
        node.tag = node.tag.removeprefix(_SVG)
        node.tail = None
        shapes.append(ElementTree.tostring(node, encoding="unicode"))
    return mark_safe("".join(shapes))  # noqa: S308  (the same)
