"""The theme without JavaScript, and the UI kit: every component on pages of their own, for people and for tests."""

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from console import ui_kit
from console.context import THEME_COOKIE, THEMES

COOKIE_SECONDS = 365 * 24 * 3600


@require_POST
def choose_theme(request: HttpRequest) -> HttpResponse:
    """Keep the theme in a cookie, which the server reads: no page flashes in the wrong one."""
    back = request.POST.get("next", "/")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        back = "/"
    response = HttpResponseRedirect(back, status=303)
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=COOKIE_SECONDS, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    return response


@require_safe
def kit(request: HttpRequest, name: str = "components") -> HttpResponse:
    """Show a page of the UI kit. Only in development: elsewhere there is no such address."""
    if not settings.DEBUG or name not in (*ui_kit.PAGES, "toast", "failure"):
        raise Http404
    if name == "toast":
        messages.success(request, "Key “CI pipeline” is revoked.")
        return HttpResponse(status=204)
    if name == "failure":
        messages.error(request, "Key “CI pipeline” could not be revoked.")
        return HttpResponseRedirect(reverse("ui-kit"))
    return render(request, f"ui_kit/{name}.html", ui_kit.context(name, request.GET))
