"""The audit log as its verification reads it: chains, their links and what is in no chain."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from accounts.audit_chain import Head, Link

NIL = UUID(int=0)  # the chain of what concerns no tenant
_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
# In the order of audit_digest in accounts/migrations/0006_audit_chain.py.
CONTENT = {
    "id": "e.id::text",
    "tenant_id": "e.tenant_id::text",
    "created_at": _TIME.format("e.created_at"),
    "actor_kind": "e.actor_kind",
    "actor_id": "e.actor_id::text",
    "actor_label": "e.actor_label",
    "action": "e.action",
    "target_kind": "e.target_kind",
    "target_id": "e.target_id",
    "target_label": "e.target_label",
    "changes": "e.changes::text",
    "ip": "e.ip::text",
    "request_id": "e.request_id::text",
}
_LINKS = (
    f"SELECT l.place, l.event_id::text, l.chained_at, {_TIME.format('l.chained_at')}, l.previous_hash, l.hash, "  # noqa: S608
    f"e.id IS NOT NULL, e.created_at, {', '.join(CONTENT.values())} "
    "FROM accounts_auditlink l LEFT JOIN accounts_auditevent e ON e.id = l.event_id "
    "WHERE l.{whose} ORDER BY l.place, l.event_id"
)
_UNCHAINED = """
SELECT e.id::text, e.created_at, e.action, e.actor_label FROM accounts_auditevent e
LEFT JOIN accounts_auditlink l ON l.event_id = e.id AND l.{whose}
WHERE e.{whose} AND l.event_id IS NULL ORDER BY e.created_at, e.id
"""
_CHAINS = """
SELECT chain, coalesce(t.slug, ''), coalesce(h.length, 0), coalesce(h.hash, repeat('0', 64))
FROM (SELECT id AS chain FROM accounts_audithead
      UNION SELECT coalesce(tenant_id, %(nil)s) FROM accounts_auditlink
      UNION SELECT coalesce(tenant_id, %(nil)s) FROM accounts_auditevent) AS chains
LEFT JOIN accounts_audithead h ON h.id = chain LEFT JOIN accounts_tenant t ON t.id = chain
ORDER BY chain
"""
_PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Chain:
    """A tenant's rows, or the installation's. `slug` is "" for a tenant that is gone."""

    id: UUID
    slug: str
    head: Head

    @property
    def name(self) -> str:
        return "the installation" if self.id == NIL else self.slug or f"{self.id} (deleted)"

    @property
    def tenant_id(self) -> UUID | None:
        return None if self.id == NIL else self.id


@contextmanager
def one_moment() -> Iterator[None]:
    """Read all of it as of one moment: rows come in all the time."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def chains() -> list[Chain]:
    """Return every chain there is or should be. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAINS, {"nil": NIL})
        return [Chain(id_, slug, Head(length, digest)) for id_, slug, length, digest in cursor.fetchall()]


def links(chain: Chain) -> Iterator[Link]:
    """Yield a chain's links in order, from one query, a page in memory at a time."""
    return map(_link, _rows(_LINKS, chain))


def unchained(chain: Chain) -> Iterator[tuple[str, str]]:
    """Yield the rows that are in no chain, or in another tenant's: id and what each says. As `links` reads."""
    for id_, created_at, action, actor in _rows(_UNCHAINED, chain):
        yield id_, _said(created_at, action, actor)


def _rows(query: str, chain: Chain) -> Iterator[tuple[Any, ...]]:
    # No "IS NOT DISTINCT FROM": no index answers that, and every chain would be looked for in the whole log.
    whose = "tenant_id IS NULL" if chain.tenant_id is None else "tenant_id = %(tenant)s"
    with connection.connection.cursor(name="audit_rows") as cursor:
        cursor.itersize = _PAGE
        cursor.execute(query.format(whose=whose), {"tenant": chain.tenant_id})
        yield from cursor


def _link(row: tuple[Any, ...]) -> Link:
    place, event_id, chained_at, chained_at_text, previous_hash, digest, present, created_at, *content = row
    if not present:
        return Link(place, event_id, chained_at, chained_at_text, previous_hash, digest, None)
    named = dict(zip(CONTENT, content, strict=True))
    return Link(
        *(place, event_id, chained_at, chained_at_text, previous_hash, digest, tuple(content), created_at),
        said=_said(created_at, named["action"], named["actor_label"]),
    )


def _said(created_at: Any, action: str, actor: str) -> str:
    return f"{action} by {actor} at {created_at:%Y-%m-%d %H:%M:%S} UTC"
