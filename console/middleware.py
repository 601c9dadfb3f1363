"""What every page of the console shares: the viewer's time zone, and messages that reach htmx as toasts."""

from collections.abc import Awaitable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib.messages import get_messages
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django_htmx.http import trigger_client_event

from nexus.middleware import Middleware

ZONE_COOKIE = "tz"  # written by app.js
TOAST_EVENT = "toast"
_MOVES_ON = ("HX-Redirect", "HX-Refresh", "HX-Location", "Location")  # the next page shows the messages


class ViewerZoneMiddleware(Middleware):
    """Shows times in the zone of the viewer's browser, UTC until it is known."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        zone = zone_of(request.COOKIES.get(ZONE_COOKIE, ""))
        if self.is_async:
            return self._later(request, zone)
        with timezone.override(zone):
            response: HttpResponseBase = self.get_response(request)
        return response

    async def _later(self, request: HttpRequest, zone: ZoneInfo | None) -> HttpResponseBase:
        with timezone.override(zone):
            response: HttpResponseBase = await self.get_response(request)
        return response


class ToastMiddleware(Middleware):
    """Turns `django.contrib.messages` into an HX-Trigger header where the answer is a fragment.

    So a view says `messages.success(…)` once, for both its shapes.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._later(request)
        return _with_toasts(request, self.get_response(request))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        return _with_toasts(request, await self.get_response(request))


def zone_of(name: str) -> ZoneInfo | None:
    """Return a time zone by its name; None for no name and for one that is not known here."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # of a cookie: any text, a folder's name too
        return None


def _with_toasts(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    htmx = getattr(request, "htmx", None)
    if not htmx or htmx.boosted or any(name in response.headers for name in _MOVES_ON):
        return response
    stored = getattr(request, "_messages", None)
    if stored is None or not stored.added_new:  # older ones wait for a full page: looking would cost a query
        return response
    items = [{"text": str(each), "tone": each.level_tag} for each in get_messages(request)]
    return trigger_client_event(response, TOAST_EVENT, {"items": items})
