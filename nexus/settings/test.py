"""The console role as the tests run it: a fast password hasher, no connection pool, mail kept in memory."""

from nexus.settings.console import *  # noqa: F403  (Django's idiom: a role is the base plus what differs)
from nexus.settings.console import DATABASES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
CELERY_BROKER_URL = "redis+socket:///nonexistent/valkey.sock"  # a test that needs the broker starts its own worker
DATABASES["default"]["OPTIONS"].pop("pool")  # pooled connections would keep the test database from being dropped
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
