"""A connection to the simulator of every provider family, for tests that hold for all of them alike."""

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
_KEY = {"api_key": "sk-upstream-secret"}
_PARTS: Mapping[str, dict[str, Any]] = {
    "bedrock": {
        "api_key": BEDROCK_SECRET,
        "options": {"region": "us-east-1", "access_key_id": "AKIAIOSFODNN7EXAMPLE"},
    },
}
NAMES = sorted(FAMILIES)


def connect(client: Client, upstream: Upstream, *, models: tuple[str, ...], **fields: Any) -> None:
    """Connect a simulator, whatever its family, as the provider of these public names."""
    served = {model: UPSTREAM_MODELS.get(upstream.family, "gpt-4o") for model in models}
    parts = _PARTS.get(upstream.family, _KEY)
    client.add_provider(
        upstream, name=f"{upstream.family} {models[0]}", family=upstream.family, models=served, **parts, **fields
    )


@contextmanager
def every_family() -> Iterator[tuple[Client, Mapping[str, Upstream]]]:
    """Give a tenant in which each family's name is a model that it alone serves, and the simulators by family."""
    with ExitStack() as running:
        upstreams = {
            family: running.enter_context(Upstream(family=family, api_key=_PARTS.get(family, _KEY)["api_key"]))
            for family in NAMES
        }
        client = make_client()
        for family, upstream in upstreams.items():
            connect(client, upstream, models=(family,))
        yield client, upstreams
