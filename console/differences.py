"""Two texts side by side: which lines changed, and which words within them. Pure, by difflib."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

WORDS_UP_TO = 64 * 1024  # characters of both texts together, above which lines are compared and words are not
CONTEXT = 3  # lines around a change
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a unified diff: sign "+", "-" or " "; "…" stands for lines left out."""

    sign: str
    old: int | None
    new: int | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    lines: tuple[Line, ...]
    added: int
    removed: int


def difference(old: str, new: str, *, context: int = CONTEXT) -> Difference:
    """Return what it takes to come from one text to the other."""
    before, after = old.splitlines(), new.splitlines()
    by_word = len(old) + len(new) <= WORDS_UP_TO
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    lines: list[Line] = []
    for number, group in enumerate(matcher.get_grouped_opcodes(context)):
        if number:
            lines.append(Line("…", None, None, ()))
        for tag, a, b, c, d in group:
            if tag == "equal":
                lines += (
                    Line(" ", a + index + 1, c + index + 1, (Piece(text),)) for index, text in enumerate(before[a:b])
                )
            else:
                lines += _changed(before[a:b], after[c:d], a, c, by_word=by_word)
    return Difference(tuple(lines), sum(line.sign == "+" for line in lines), sum(line.sign == "-" for line in lines))


def _changed(old: Sequence[str], new: Sequence[str], a: int, c: int, *, by_word: bool) -> Iterator[Line]:
    marked = [_words(*pair) for pair in zip(old, new, strict=False)] if by_word else []
    for index, text in enumerate(old):
        pieces = marked[index][0] if index < len(marked) else (Piece(text, changed=bool(new)),)
        yield Line("-", a + index + 1, None, pieces)
    for index, text in enumerate(new):
        pieces = marked[index][1] if index < len(marked) else (Piece(text, changed=bool(old)),)
        yield Line("+", None, c + index + 1, pieces)


def _words(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    before, after = _WORD.findall(old), _WORD.findall(new)
    left: list[Piece] = []
    right: list[Piece] = []
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if a < b:
            left.append(Piece("".join(before[a:b]), changed=tag != "equal"))
        if c < d:
            right.append(Piece("".join(after[c:d]), changed=tag != "equal"))
    return tuple(left), tuple(right)
