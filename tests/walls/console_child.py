"""A console in miniature for tests of its connections: requests in a process that has all three roles.

    python -m tests.walls.console_child KEY EMAIL

The views of the settings and of the overview are replaced by ones that forget every filter, or fail after a write.
What they saw is written as one line of JSON.
"""

import json
import sys
from typing import Any
from unittest.mock import patch

import django

django.setup()

from django.db import connection, connections  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from accounts.keys import hash_key  # noqa: E402
from accounts.models import ApiKey, Tenant, User  # noqa: E402
from gateway.models import Provider  # noqa: E402
from nexus.errors import NotFound  # noqa: E402
from nexus.tenancy import every_tenant  # noqa: E402


def sight() -> dict[str, Any]:
    """Return who the database takes us for, and whose rows it shows without any filter."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user, current_user, pg_backend_pid()")
        session_user, current_user, backend = cursor.fetchone()
    return {
        "session_user": session_user,
        "current_user": current_user,
        "backend": backend,
        "tenants_of_keys": sorted({str(id_) for id_ in ApiKey.objects.values_list("tenant_id", flat=True)}),
        "tenants": sorted(map(str, Tenant.objects.values_list("id", flat=True))),
    }


def forgetful(_: Tenant) -> dict[str, Any]:
    seen = sight()
    with every_tenant():
        seen["outside"] = sight()
    seen["inside_again"] = sight()
    return seen


def failing(tenant: Tenant) -> dict[str, Any]:
    Provider.objects.create(tenant=tenant, name="undone", family="openai", base_url="http://127.0.0.1:9/v1")
    raise NotFound("after the write")


def by_key(key: str) -> dict[str, Any]:
    client = Client(headers={"authorization": f"Bearer {key}"})
    with patch("accounts.api.settings_json", forgetful):
        result: dict[str, Any] = client.get("/v1/settings").json()
    mine = ApiKey.objects.filter(key_hash=hash_key(key))
    mine.update(last_used_at=None)
    with patch("accounts.api.settings_json", failing):
        result["failed"] = client.get("/v1/settings").status_code
    result["undone"] = not Provider.objects.filter(name="undone").exists()
    result["noted"] = mine.get().last_used_at is not None
    return result


def by_session(email: str) -> dict[str, Any]:
    client = Client()
    client.force_login(User.objects.get(email=email))
    seen: dict[str, Any] = {}
    with patch("gateway.views._page", lambda *_: seen.update(sight()) or {}):
        assert client.get("/", follow=True).status_code == 200
    return seen


def main(key: str, email: str) -> None:
    setup_test_environment()
    result: dict[str, Any] = {"key": by_key(key), "session": by_session(email), "after": sight()}
    result["open"] = [alias for alias in connections if connections[alias].connection is not None]
    sys.stdout.write(json.dumps(result))
    connections.close_all()
    for alias in connections:
        connections[alias].close_pool()  # type: ignore[attr-defined]  # the PostgreSQL backend's


if __name__ == "__main__":
    main(*sys.argv[1:])
