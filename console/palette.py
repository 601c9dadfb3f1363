"""What the command palette finds. Areas register sources of their own: prompts, requests by id, keys by prefix.

A source is asked with who looks and what they typed, and answers with a handful of items of that tenant alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

PER_GROUP = 8
LONGEST = 100  # characters of a search that are looked at


@dataclass(frozen=True, slots=True)
class Item:
    """A place to go, or with `action` something that the browser does: "theme", "help", "refresh"."""

    label: str
    url: str = ""
    icon: str = "arrow-right"
    hint: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The items of one group."""

    name: str
    items: tuple[Item, ...]


type Source = Callable[[Any, str], Iterable[Item]]  # the request of a member (accounts.pages), and the text
_SOURCES: dict[str, Source] = {}


def register(group: str, source: Source) -> None:
    """Add a group. Groups come in the order in which they were registered."""
    if group in _SOURCES:
        raise ValueError(f"the palette has a group {group!r} already")
    _SOURCES[group] = source


def search(request: Any, text: str) -> Iterator[Found]:
    """Yield the groups that have something for the text; for no text, what they offer unasked."""
    wanted = text.strip()[:LONGEST]
    for name, source in _SOURCES.items():
        items = tuple(source(request, wanted))[:PER_GROUP]
        if items:
            yield Found(name, items)


def matches(label: str, text: str) -> bool:
    """Tell whether every word of the text begins a word of the label, or is inside it when it is longer than two."""
    lowered = label.lower()
    words = lowered.split()
    return all(
        any(word.startswith(part) for word in words) or (len(part) > 2 and part in lowered)
        for part in text.lower().split()
    )
