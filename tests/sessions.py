"""Signed in without the form, for tests of what comes after it: the form has tests of its own."""

from django.conf import settings
from django.test import Client
from playwright.sync_api import Page

from accounts.models import User


def give_session(page: Page, url: str, user: User) -> None:
    """Let a browser's page be somebody's who has signed in to the server at this address."""
    client = Client()
    client.force_login(user)
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": url}])
