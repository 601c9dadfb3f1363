"""The console role as the tests run it: a fast password hasher, no connection pool, mail kept in memory."""

from nexus.settings.console import *  # noqa: F403  (Django's idiom: a role is the base plus what differs)
from nexus.settings.console import DATABASES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
CELERY_BROKER_URL = "redis+socket:///nonexistent/valkey.sock"  # a test that needs the broker starts its own worker
DATABASES["default"]["OPTIONS"].pop("pool")  # pooled connections would keep the test database from being dropped
DATABASES["default"]["TEST"] = {"MIRROR": "owner"}  # the owner makes the test database, and the migrations in it
# What a test writes is not committed, so requests in its process can only see it on the test's own connection: there
# they take the tenant's role for as long (nexus/tenancy.py). The tests with server processes have all connections.
DATABASES.pop("tenant", None)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
