"""The roles in which this process may use the database, each a connection of its own.

    default   DATABASE_URL                  the rows of every tenant, no DDL: what commands, tasks and the runtime use
    owner     NEXUS_OWNER_DATABASE_URL      owns the tables: migrations, dropping old partitions
    tenant    NEXUS_TENANT_DATABASE_URL     the rows of one tenant: the requests of console and API (nexus/tenancy.py)

Where one of the other two is not configured, `default` does its work.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections

APP, OWNER, TENANT = DEFAULT_DB_ALIAS, "owner", "tenant"


@contextmanager
def as_owner() -> Iterator[None]:
    """Let all that uses the default connection use the owner's instead, in this thread, until the end."""
    with standing_in(OWNER):
        yield


@contextmanager
def standing_in(alias: str) -> Iterator[None]:
    """Put another role's connection in the place of the default one, in this thread, until the end.

    A connection is chosen by the name `default` everywhere: by querysets, `atomic` and cursors. So all code under this
    works in that role without knowing of it, and cannot mix the two in one transaction.
    """
    if alias not in connections.settings or connections[alias] is connections[APP]:
        yield
        return
    replaced, stand_in = connections[APP], connections[alias]
    connections[APP] = stand_in
    try:
        yield
    finally:
        connections[APP] = replaced
        give_back(alias)


def give_back(alias: str) -> None:
    """Close a connection that nobody is in the middle of using; a pooled one goes back to its pool."""
    if not connections[alias].in_atomic_block:
        connections[alias].close()
