"""Icons, badges, the registry of pages, the palette's matching, the tags of templates."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.template import Context, Template
from django.utils import timezone

from console import navigation, palette
from console.icons import UnknownIcon, icon
from console.middleware import zone_of
from console.navigation import Entry

ROOT = Path(__file__).resolve().parents[2]


def rendered(source: str, **values: object) -> str:
    return Template("{% load ui %}" + source).render(Context(values))


def test_an_icon_is_hidden_from_readers_unless_it_stands_alone() -> None:
    assert 'aria-hidden="true"' in icon("git-branch")
    assert 'role="img" aria-label="Copy &lt;it&gt;"' in icon("copy", label="Copy <it>")
    assert icon("git-branch", size=12).startswith('<svg class="i" width="12" height="12"')


def test_an_icon_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(UnknownIcon):
        icon("no-such-icon")


def test_every_icon_that_a_template_names_exists() -> None:
    named = {
        name
        for path in (ROOT / "templates").rglob("*.html")
        for name in re.findall(r"""{% icon "([^"]+)"|picture="([^"]+)\"""", path.read_text())
    }
    names = {first or second for first, second in named}
    assert len(names) > 30
    for name in names:
        icon(name)


def test_a_state_is_a_word_and_a_shape_beside_its_colour() -> None:
    assert 'class="dot half"' in rendered('{% badge "half_open" %}')
    assert "Half-open" in rendered('{% badge "half_open" %}')
    assert "Not seen before" in rendered('{% badge "not_seen_before" %}')
    assert "Gate 40/42" in rendered("{% gate_badge 40 42 %}")
    assert 'class="bd bad"' in rendered("{% gate_badge 0 0 %}")  # no case is no pass
    assert '<span class="bd sq bad">0</span>' in rendered("{% status_badge 0 %}")


def test_times_are_in_the_viewers_zone_with_utc_in_the_tooltip() -> None:
    moment = datetime(2026, 11, 24, 14, 20, 58, tzinfo=UTC)
    with timezone.override(zone_of("Asia/Kolkata")):
        told = rendered("{% clock moment %}", moment=moment)
    assert told == '<time datetime="2026-11-24T14:20:58.000Z" title="2026-11-24 14:20:58 UTC">19:50:58</time>'
    assert rendered("{% clock nothing %}|{% ago nothing %}", nothing=None) == "—|—"


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../../etc/passwd", "Europe", "\x00"])
def test_a_zone_that_is_none_is_nobodys(name: str) -> None:
    assert zone_of(name) is None


def test_code_and_json_are_escaped() -> None:
    assert "<b>" not in rendered('{{ text|code:"json" }}', text='"<b>"')
    tree = rendered('{% include "ui/json_tree.html" with value=value depth="" %}', value={"<i>": ["<i>"]})
    assert "<i>" not in tree
    assert tree.count("&lt;i&gt;") == 2


# --- the registry -----------------------------------------------------------------------------------------------------


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigation, "_ENTRIES", {})
    navigation.register(
        Entry("keys", "API keys", "key-round", group="Gateway", scope="keys:read", order=30, key="k"),
        Entry("overview", "Overview", "layout-dashboard"),
        Entry("requests", "Requests", "scroll-text", group="Gateway", order=10),
    )


def labels(*scopes: str) -> list[tuple[str, list[str]]]:
    return [(group, [each.label for each in found]) for group, found in navigation.groups(scopes)]


def test_nobody_sees_an_entry_whose_scope_they_lack(entries: None) -> None:
    assert labels() == [("", ["Overview"]), ("Gateway", ["Requests"])]
    assert labels("keys:read") == [("", ["Overview"]), ("Gateway", ["Requests", "API keys"])]


@pytest.mark.parametrize(
    "entry",
    [
        Entry("x", "X", "x", group="Elsewhere"),
        Entry("keys", "Keys again", "x"),
        Entry("x", "X", "x", key="k"),
    ],
)
def test_a_group_that_is_none_and_a_name_or_key_that_is_taken_are_refused(entries: None, entry: Entry) -> None:
    with pytest.raises(ValueError, match=r"there is no group|already"):
        navigation.register(entry)


def test_a_group_of_the_palette_is_registered_once() -> None:
    with pytest.raises(ValueError, match="already"):
        palette.register("Pages", lambda request, text: [])


@pytest.mark.parametrize(
    ("text", "found"), [("", True), ("api", True), ("key a", True), ("ey", False), ("eys", True), ("keyz", False)]
)
def test_words_are_found_by_their_beginnings(text: str, found: bool) -> None:
    assert palette.matches("API keys", text) is found
