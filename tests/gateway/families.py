"""A connection to the simulator of every provider family, for tests that hold for all of them alike."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from gateway.providers.registry import FAMILIES
from tests.gateway.conftest import Client, make_client
from tests.upstream import Upstream

BEDROCK_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # of the vendor's documentation
UPSTREAM_MODELS: Mapping[str, str] = {
    "anthropic": "claude-sonnet-4-6",
    "bedrock": "anthropic.claude-sonnet-4-20250514-v1:0",
    "cohere": "command-a-03-2025",
    "gemini": "gemini-2.5-flash",
    "mistral": "mistral-small-latest",
}
_PARTS: Mapping[str, dict[str, Any]] = {
    "bedrock": {"options": {"region": "us-east-1", "access_key_id": "AKIAIOSFODNN7EXAMPLE"}},
}
NAMES = sorted(FAMILIES)
KEYS: Mapping[str, str] = {
    family: BEDROCK_SECRET if family == "bedrock" else f"sk-of-{family}-0123456789" for family in NAMES
}


def connect(client: Client, upstream: Upstream, *, models: Mapping[str, str], **fields: Any) -> None:
    """Connect a simulator, whatever its family, as the provider of these models (public name -> its own)."""
    family = upstream.family
    client.add_provider(
        upstream,
        name=f"{family} {secrets.token_hex(4)}",
        family=family,
        api_key=KEYS[family],
        models=dict(models),
        **_PARTS.get(family, {}),
        **fields,
    )


@contextmanager
def simulators() -> Iterator[Mapping[str, Upstream]]:
    """Run a simulator of every family, each of which requires its key."""
    with ExitStack() as running:
        yield {family: running.enter_context(Upstream(family=family, api_key=KEYS[family])) for family in NAMES}


@contextmanager
def every_family() -> Iterator[Client]:
    """Give a tenant in which each family's name is a model that it alone serves."""
    with simulators() as upstreams:
        client = make_client()
        for family, upstream in upstreams.items():
            connect(client, upstream, models={family: UPSTREAM_MODELS.get(family, "gpt-4o")})
        yield client
