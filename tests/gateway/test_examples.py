"""Commands that people copy ask what the endpoint takes."""

import json

import pytest
from django.test import RequestFactory

from accounts.models import Tenant
from gateway.examples import curl
from gateway.schema import Endpoint, parse


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_an_example_is_a_request_of_its_endpoint(endpoint: Endpoint) -> None:
    command = curl(RequestFactory().get("/"), Tenant(), model="m's", endpoint=endpoint.value)
    assert f"/v1/{endpoint.value} " in command
    body = command.partition("-d '")[2].removesuffix("'").replace("'\\''", "'")
    assert parse(endpoint, body.encode()).model == "m's"
    assert ("max_tokens" in json.loads(body)) is (endpoint is Endpoint.MESSAGES)
