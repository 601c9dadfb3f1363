"""The frame of the console for whoever is signed in: a context processor that costs nothing where no template asks."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from accounts.auth import known_memberships, memberships_of
from accounts.models import Membership, Role, User
from accounts.rbac import ROLE_SCOPES
from console import navigation
from console.navigation import Entry
from console.shell import NavGroup, NavItem, Shell, Workspace


class Frameless:
    """Instead of a Shell, for strangers and for users without a tenant."""

    layout = "frameless.html"

    def __bool__(self) -> bool:
        return False


def shell(request: HttpRequest) -> dict[str, Any]:
    """Add `shell`: a console.shell.Shell, or a falsy Frameless. Both have the `layout` that a page extends."""
    return {"shell": SimpleLazyObject(lambda: shell_of(request))}


def shell_of(request: HttpRequest) -> Shell | Frameless:
    """Return the frame. One query where the request has not asked for memberships before, and the entries' badges.

    On the page of a failure (`request.failing`) nothing is asked of the database, which may be the cause.
    """
    failing = getattr(request, "failing", False)
    if failing and known_memberships(request) is None:
        return Frameless()
    user = getattr(request, "user", None)
    membership: Membership | None = getattr(request, "membership", None)
    if not isinstance(user, User) or not membership:
        return Frameless()
    tenant = membership.tenant
    return Shell(
        tenant=_workspace(membership),
        workspaces=tuple(_workspace(each) for each in memberships_of(request, user)),
        person=user.name or user.email,
        email=user.email,
        groups=tuple(_groups(request, membership, badges=not failing)),
        palette_url=reverse("palette", args=[tenant.slug]),
        is_demo=tenant.is_demo,
        read_only=membership.role == Role.VIEWER,
    )


def _workspace(membership: Membership) -> Workspace:
    tenant = membership.tenant
    return Workspace(tenant.name, tenant.slug, membership.role, reverse("overview", args=[tenant.slug]))


def _groups(request: HttpRequest, membership: Membership, *, badges: bool) -> Iterator[NavGroup]:
    slug = membership.tenant.slug
    visible = [
        (group, [(entry, reverse(entry.url_name, args=[slug])) for entry in entries])
        for group, entries in navigation.groups(ROLE_SCOPES[membership.role])
    ]
    here = _current(request.path, [url for _, entries in visible for _, url in entries])
    for group, entries in visible:
        items = tuple(_item(entry, url, here, membership if badges else None) for entry, url in entries)
        yield NavGroup(group, items)


def _item(entry: Entry, url: str, here: str, membership: Membership | None) -> NavItem:
    badge = entry.badge(membership.tenant) if entry.badge and membership else None
    return NavItem(entry.label, entry.icon, url, current=url == here, key=entry.key, badge=badge)


def _current(path: str, urls: list[str]) -> str:
    """Return the longest of the URLs under which the path lies; the shortest, the overview, only by itself."""
    root = min(urls, key=len, default="")
    return max((url for url in urls if path == url or (url != root and path.startswith(url))), key=len, default="")
