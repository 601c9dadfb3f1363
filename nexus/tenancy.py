"""The second wall between tenants: what a request asks of the database concerns one tenant, or nothing.

The first wall is the code, whose every query begins with `for_tenant`. The second is PostgreSQL's: a request works in a
role for which each table shows the rows of the tenant in `nexus.tenant` and none while that is unset, so that a filter
that was forgotten finds nothing instead of everything. The setting lasts for one transaction, which is what makes it
safe behind a pooler, and so every request of console and API is one transaction: it commits when the answer is good and
is undone when it is an error.

The role is not one to be left by SQL: the connection logged in as it. Whoever gets a statement of theirs into a request
can still set `nexus.tenant` to another tenant's id, which is random and shown nowhere, and cannot list the ids.

Work for all tenants is not behind the wall: commands, tasks, the runtime, the operators' admin, signing in. Those use
the default connection as it is. docs/architecture.md has the reasons.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any
from uuid import UUID

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern

from nexus.database_roles import APP, TENANT, give_back, standing_in


@dataclass(slots=True)
class _Asker:
    """On whose behalf the database is asked."""

    app: BaseDatabaseWrapper  # the connection that sees every tenant, set aside
    person: UUID | None
    tenant: UUID | None = None
    told: bool = False  # whether there is a transaction, which has been told all this


_asker: ContextVar[_Asker | None] = ContextVar("asker", default=None)


def walled(patterns: Sequence[URLPattern]) -> list[URLPattern]:
    """Return URL patterns whose views work behind the wall."""
    return [URLPattern(each.pattern, _behind_wall(each.callback), each.default_args, each.name) for each in patterns]


def _behind_wall(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    if iscoroutinefunction(view):
        raise ImproperlyConfigured(f"{view} is asynchronous: a transaction belongs to one thread, so it has no wall.")
    as_one = getattr(getattr(view, "view_class", view), "in_one_transaction", True)

    @wraps(view)
    def walled_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # Who is signed in is settled before: sessions are no tenant's, and no request's business.
        with wall(_signed_in(request)):
            if not as_one:
                return view(request, *args, **kwargs)
            with told():
                response = _rendered(view(request, *args, **kwargs))
                if response.status_code >= 400:
                    transaction.set_rollback(True)
                return response

    walled_view.is_walled = True  # type: ignore[attr-defined]  # for the test that no view is forgotten
    return walled_view


def _signed_in(request: HttpRequest) -> UUID | None:
    user = getattr(request, "user", None)
    return user.pk if user is not None and user.is_authenticated else None


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    """Render what would otherwise be rendered, and ask the database, after the view."""
    render = getattr(response, "render", None)
    return render() if callable(render) else response


@contextmanager
def wall(person: UUID | None = None) -> Iterator[None]:
    """Work behind the wall: without rows until `enter` says whose. A person sees what they are a member of."""
    app = connections[APP]
    token = _asker.set(_Asker(app, person))
    try:
        if _has_connection():
            give_back(APP)  # who waits for the one pool holds nothing of the other, or all could wait for each other
        with standing_in(TENANT):
            yield
    finally:
        _asker.reset(token)


def enter(tenant: UUID) -> None:
    """Say whose rows are meant from now on. Without a wall every tenant's are seen, and this says nothing."""
    asker = _asker.get()
    if asker is None:
        return
    asker.tenant = tenant
    if asker.told:
        _tell({"nexus.tenant": str(tenant)})


def enter_by(question: str, *parameters: str) -> None:
    """Say it by what a function of the database answers, whose SQL is given; NULL means nobody's."""
    asker = _asker.get()
    if asker is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT set_config('nexus.tenant', coalesce(({question})::text, ''), true)",
            parameters,
        )
        found = cursor.fetchone()[0]
    asker.tenant = UUID(found) if found else None


@contextmanager
def told() -> Iterator[None]:
    """A transaction that knows who asks; nothing new within one, and nothing at all without a wall.

    For a view that takes its time between two looks at the database, and says so by `in_one_transaction = False`.
    """
    asker = _asker.get()
    if asker is None or asker.told:
        yield
        return
    within = connection.in_atomic_block  # only where the wall has no connection of its own
    with transaction.atomic():
        asker.told = True
        try:
            _tell(_identity(asker))
            yield
        finally:
            asker.told = False
        if within and not connection.needs_rollback:
            _tell(dict.fromkeys(_identity(asker), ""))


@contextmanager
def of_tenant(tenant: UUID) -> Iterator[None]:
    """A transaction behind the wall for one tenant, where a request's own has ended: after its commit, in a stream."""
    if _asker.get() is None:
        with wall(), of_tenant(tenant):
            yield
        return
    with told():
        enter(tenant)
        yield


@contextmanager
def every_tenant() -> Iterator[None]:
    """Leave the wall for a moment, for what is no tenant's. Commits by itself, not with the request."""
    asker = _asker.get()
    if asker is None:
        yield
        return
    token = _asker.set(None)
    try:
        if _has_connection():
            walled_off, connections[APP] = connections[APP], asker.app
            try:
                yield
            finally:
                give_back(APP)
                connections[APP] = walled_off
        else:
            with transaction.atomic():
                _tell({"role": ""} if asker.told else {})
                yield
            _tell(_identity(asker) if asker.told else {})
    finally:
        _asker.reset(token)


def _has_connection() -> bool:
    return TENANT in connections.settings


def _identity(asker: _Asker) -> dict[str, str]:
    told = {"nexus.person": str(asker.person or ""), "nexus.tenant": str(asker.tenant or "")}
    if not _has_connection() and settings.DATABASE_TENANT_ROLE:
        told["role"] = settings.DATABASE_TENANT_ROLE
    return told


def _tell(values: dict[str, str]) -> None:
    """Set what lasts for this transaction. An empty role is the one that logged in."""
    if not values:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT " + ", ".join(["set_config(%s, %s, true)"] * len(values)),
            [part for name, value in values.items() for part in (name, value or ("none" if name == "role" else ""))],
        )
