"""The runtime role: the data plane. No sessions, and its requests are answered before Django's handler."""

from nexus.settings.base import *  # noqa: F403  (Django's idiom: a role is the base plus what differs)

ROOT_URLCONF = "nexus.urls.runtime"
ASGI_APPLICATION = "nexus.asgi.runtime"
MIDDLEWARE = ["allauth.account.middleware.AccountMiddleware"]  # django-allauth refuses to start without it
