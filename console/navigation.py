"""What the sidebar and the palette lead to. Each area registers its pages when its app is ready.

    register(Entry("requests", "Requests", "scroll-text", group="Gateway", scope="analytics:read", order=10, key="r"))

Nobody sees an entry whose scope they lack. Places in a group, by `order`: Overview 0; Gateway: Requests 10, Providers
20, API keys 30; Build: Prompts 10, Agents 20, Evals 30, GitOps runs 40; Govern: Policies 10, Spend 20, Members 30,
Settings 40; Observe: Metrics 10, Incidents 20, Audit log 30.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

GROUPS = ("", "Gateway", "Build", "Govern", "Observe")  # the first one has no heading


@dataclass(frozen=True, slots=True)
class NavBadge:
    """A short remark beside an entry: "1 open". `tone`: "", "bad", or "run" for something that is going on."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the sidebar. `url_name` takes the tenant's slug alone; `key` goes there after a `g`."""

    url_name: str
    label: str
    icon: str
    group: str = ""
    scope: str = ""  # empty: every member
    order: int = 0
    key: str = ""
    badge: Callable[[Any], NavBadge | None] | None = None  # of the tenant; asked once for every full page, so cheap


_ENTRIES: dict[str, Entry] = {}


def register(*entries: Entry) -> None:
    """Add pages to the sidebar. Raises ValueError for an unknown group, and for a name or key that is taken."""
    for entry in entries:
        if entry.group not in GROUPS:
            raise ValueError(f"{entry.label}: there is no group {entry.group!r}")
        for other in _ENTRIES.values():
            if other.url_name == entry.url_name or (entry.key and entry.key == other.key):
                raise ValueError(f"{entry.label}: {other.label} has this name or key already")
        _ENTRIES[entry.url_name] = entry


def groups(scopes: Collection[str]) -> Iterator[tuple[str, list[Entry]]]:
    """Yield the groups that are not empty for somebody with these scopes, in order."""
    for group in GROUPS:
        entries = [
            each for each in _ENTRIES.values() if each.group == group and (not each.scope or each.scope in scopes)
        ]
        if entries:
            yield group, sorted(entries, key=lambda each: (each.order, each.label))
