"""Whether a chain of audit rows is whole. Pure.

Each row's hash covers its content, its place and the hash of the row before, so a row that was changed, taken, added or
moved gives itself away, also when the owner of the tables did it with all triggers off. Who rewrites every hash from
there to the end, and the head, is found by a head that was written down elsewhere: see `Anchors`.

The database computes the same hashes when rows are written (accounts/migrations/0006_audit_chain.py). Here they are
computed anew, from the columns as text: a function in the database could be made to lie.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

FORMAT = "nexus audit 1"
START = "0" * 64  # the hash before the first row
# A row is chained when the transaction that wrote it ends, which no request, task or command of ours keeps this long;
# nor do the clocks of our machines, or the database's before and after it moved to another one, differ by as much.
LONGEST_TRANSACTION = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Link:
    """A row's place in its chain, and its content as the database's text; None where the row is gone."""

    place: int
    event_id: str
    chained_at: datetime
    chained_at_text: str
    previous_hash: str
    hash: str
    content: tuple[str | None, ...] | None
    created_at: datetime | None = None
    said: str = ""  # what the row says, in short

    def digest(self) -> str:
        """Return what the hash must be."""
        parts = (FORMAT, self.previous_hash, str(self.place), self.chained_at_text, *(self.content or ()))
        return sha256(",".join("-" if part is None else _measured(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one row, or between two."""

    place: int
    event_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends."""

    length: int = 0
    hash: str = START


def _measured(part: str) -> str:
    return f"{len(part.encode())}:{part}"


def examine(links: Iterable[Link], *, head: Head, anchor: Head | None = None) -> Iterator[Finding]:
    """Yield what is wrong with a chain, whose links come in the order of their places. One fault is told once.

    `head` is what the database says of the end, `anchor` what was written down of an earlier end.
    """
    before = Head()
    latest: datetime | None = None
    anchored = anchor is None or anchor.length == 0
    for link in links:
        yield from _between(before, link)
        yield from _within(link)
        if latest is not None and latest - link.chained_at > LONGEST_TRANSACTION:
            what = f"is dated before the rows that it follows, to {link.chained_at:%Y-%m-%d %H:%M:%S} UTC: {link.said}"
            yield Finding(link.place, link.event_id, what)
        latest = max(filter(None, (latest, link.chained_at)))
        if anchor is not None and link.place == anchor.length:
            anchored = True
            if link.hash != anchor.hash:
                what = f"is not the row that was written down: its hash was {anchor.hash}"
                yield Finding(link.place, link.event_id, what)
        before = Head(link.place, link.hash)
    if before != head:
        what = f"should be the last, and the chain ends with row {before.length}: the end was taken or added to"
        yield Finding(head.length, "", what)
    if not anchored and anchor is not None:
        yield Finding(anchor.length, "", f"was written down with the hash {anchor.hash}, and is gone")


def _between(before: Head, link: Link) -> Iterator[Finding]:
    if link.place != before.length + 1:
        what = f"follows row {before.length} at once: what was between them was taken from the chain"
        yield Finding(link.place, link.event_id, what)
    elif link.previous_hash != before.hash:
        yield Finding(link.place, link.event_id, "does not follow the row before it: one of the two was added or moved")


def _within(link: Link) -> Iterator[Finding]:
    if link.content is None:
        yield Finding(link.place, link.event_id, "is gone from the log")
        return
    if link.digest() != link.hash:
        yield Finding(link.place, link.event_id, f"was changed or moved: {link.said}")
    if link.created_at is not None and abs(link.chained_at - link.created_at) > LONGEST_TRANSACTION:
        what = f"was written at {link.chained_at:%Y-%m-%d %H:%M:%S} UTC under another date: {link.said}"
        yield Finding(link.place, link.event_id, what)


@dataclass(frozen=True, slots=True)
class Anchors:
    """Ends of chains as they were once, a line each, kept where whoever rules the database does not."""

    heads: Mapping[str, Head]  # by the chain's id

    @classmethod
    def parse(cls, text: str) -> "Anchors":
        """Read the file's lines, "<chain> <length> <hash>". Raises ValueError."""
        heads = {}
        for line in text.splitlines():
            chain, length, digest = line.split()
            heads[chain] = Head(int(length), digest)
        return cls(heads)

    def text(self) -> str:
        return "".join(f"{chain} {head.length} {head.hash}\n" for chain, head in sorted(self.heads.items()))
