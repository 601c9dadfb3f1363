"""The API asked at random, by its own document: whatever is sent, it does not fail, and answers as it says.

Schemathesis makes requests that the document allows and requests that it does not. They go to a running server, with a
key that may do everything in a tenant of its own; what the document allows is about objects that exist.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from accounts.models import ApiKey, Membership, Role, User
from nexus.openapi import document
from tests.factories import make_key
from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream

EXAMPLES = 2  # of each operation; more find more, and take longer
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
]
schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def tenant(servers: Servers) -> Iterator[tuple[Client, dict[str, Any]]]:
    """A tenant with everything in it, and the ids of objects that exist."""
    with Upstream(family="openai_compatible") as upstream:
        client = make_client()
        provider = client.add_provider(upstream, name="primary", family="openai_compatible")
        in_force(servers.door, servers.twin)
        member = Membership.objects.create(
            tenant=client.tenant,
            user=User.objects.create(email=f"dev@{client.tenant.slug}.example"),
            role=Role.DEVELOPER,
        )
        make_key(client.tenant, client.user, name="other")
        key = ApiKey.objects.get(tenant=client.tenant, name="other")
        ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
        answer = httpx.post(f"{servers.door.base_url}/v1/chat/completions", json=ask, headers=client.headers)
        yield (
            client,
            {
                "provider_id": str(provider.id),
                "member_id": str(member.id),
                "key_id": str(key.id),
                "request_id": str(client.row(answer.headers["x-request-id"]).id),
                "model": "gpt-4o",
            },
        )


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_the_api_is_as_its_document_says(
    case: schemathesis.Case[Any], servers: Servers, tenant: tuple[Client, dict[str, Any]]
) -> None:
    client, known = tenant
    if case.meta is not None and case.meta.generation.mode.is_positive:
        case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
    answer = case.call(base_url=servers.door.base_url, headers=client.headers, timeout=30)
    streamed = answer.headers.get("content-type", [""])[0].startswith("text/event-stream")
    # It takes the schema of a stream for that of each event; test_openapi_answers.py holds the events to theirs.
    without = [openapi_checks.response_schema_conformance] if streamed else []
    case.validate_response(answer, checks=[each for each in CHECKS if each not in without], headers=client.headers)
