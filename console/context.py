"""What every template may use: the theme, and whether something can be shown in the frame of the console."""

from typing import Any

from django.http import HttpRequest

THEME_COOKIE = "theme"
REFRESH_COOKIE = "refresh"
THEMES = ("light", "dark")  # anything else: the system's
REFRESH_SECONDS = {"0": "Off", "5": "5 s", "30": "30 s", "60": "1 min", "300": "5 min"}


def look(request: HttpRequest) -> dict[str, Any]:
    """Add `theme` (light, dark or empty), and `refresh`, the seconds between two refreshes as text, "0" for none."""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    refresh = request.COOKIES.get(REFRESH_COOKIE, "0")
    return {
        "theme": theme if theme in THEMES else "",
        "refresh": refresh if refresh in REFRESH_SECONDS else "0",
        "refresh_choices": REFRESH_SECONDS,
    }
