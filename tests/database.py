"""The test database as each role sees it, by connections of their own, outside of Django."""

import os
from typing import Any, Literal

import psycopg
from django.db import connection
from environ import Env

Role = Literal["app", "owner", "tenant", "administrator"]
_SETTINGS: dict[Role, str] = {
    "app": "DATABASE_URL",
    "owner": "NEXUS_OWNER_DATABASE_URL",
    "tenant": "NEXUS_TENANT_DATABASE_URL",
    "administrator": "NEXUS_TEST_ADMINISTRATOR_URL",  # a superuser, where the server has one for us
}
_PARAMETERS = {"user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT", "dbname": "NAME"}
DATABASE_URLS = (_SETTINGS["app"], _SETTINGS["owner"], _SETTINGS["tenant"])

# What the wall between tenants adds to a request in the tests' own process: a savepoint, who asks and for which tenant,
# the savepoint's release, and the way back to the test's own role.
WALL = 5


def database_urls(name: str) -> dict[str, str]:
    """Return the settings that lead to a database of the tests', by each of its roles."""
    return {setting: f"{os.environ[setting].rpartition('/')[0]}/{name}" for setting in DATABASE_URLS}


def connect(role: Role) -> "psycopg.Connection[Any]":
    """Connect to the test database in a role, in autocommit."""
    return connect_to(os.environ[_SETTINGS[role]], dbname=connection.settings_dict["NAME"])


def connect_to(url: str, **parameters: Any) -> "psycopg.Connection[Any]":
    """Connect by a URL as the settings take it, whose path may begin with a socket's directory."""
    parsed = Env.db_url_config(url)
    named = {name: parsed[key] for name, key in _PARAMETERS.items() if parsed[key]}
    return psycopg.connect(**{**named, **parameters}, autocommit=True)
