"""The way into the console, and the command palette."""

from collections.abc import Iterator

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.auth import ANY_SCOPE, current_membership
from accounts.models import User
from accounts.pages import TenantRequest, tenant_page
from accounts.shell import shell_of
from console import palette
from console.palette import Item
from console.shell import Shell
from nexus.errors import Forbidden
from nexus.htmx import fragment, page


@require_safe
@never_cache
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Go to the tenant in which the session works, or say that there is none."""
    assert isinstance(request.user, User)
    membership = current_membership(request, request.user)
    if membership is None:
        return render(request, "accounts/no_tenant.html", {"email": request.user.email})
    return redirect("overview", membership.tenant.slug)


@never_cache
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """Send operators to the one sign-in there is, and tell who is signed in and none of them so."""
    if isinstance(request.user, User) and request.user.is_staff:
        return redirect("admin:index")
    if isinstance(request.user, User):
        raise Forbidden("The admin is for operators of this installation.")
    return redirect_to_login(request.GET.get("next") or "/admin/")


@tenant_page({"GET": ANY_SCOPE})
def palette_search(request: TenantRequest) -> HttpResponse:
    """Show what the palette finds: as options for its dialog, as a page of links without JavaScript."""
    text = request.GET.get("q", "")
    partial = fragment(request, "palette-results")
    context = {"found": list(palette.search(request, text)), "text": text.strip(), "listbox": bool(partial)}
    return page(request, "accounts/palette.html", context, partial=partial)


def pages(request: TenantRequest, text: str) -> Iterator[Item]:
    """Find pages of the sidebar, as far as the role has them."""
    shell = shell_of(request)
    assert isinstance(shell, Shell)
    for group in shell.groups:
        for item in group.items:
            if palette.matches(f"{item.label} {group.name}", text):
                yield Item(item.label, item.url, item.icon, hint=f"g {item.key}" if item.key else group.name)


def tenants(request: TenantRequest, text: str) -> Iterator[Item]:
    """Find the other tenants of the person."""
    shell = shell_of(request)
    assert isinstance(shell, Shell)
    for each in shell.workspaces:
        if each != shell.tenant and palette.matches(f"{each.name} {each.slug} tenant", text):
            yield Item(f"Switch to {each.name}", each.url, "building-2", hint=each.role)


def actions(request: TenantRequest, text: str) -> Iterator[Item]:
    """Find what the browser itself does."""
    for item in (
        Item("Switch theme", icon="sun-moon", hint="t", action="theme"),
        Item("Refresh", icon="refresh-cw", hint="r", action="refresh"),
        Item("Keyboard shortcuts", icon="keyboard", hint="?", action="help"),
    ):
        if palette.matches(item.label, text):
            yield item
