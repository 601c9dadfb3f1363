"""A preset behind the gateway: requests that fit the vendor, and another candidate for those that cannot."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.gateway import journeys
from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream


@pytest.fixture(scope="module")
def vendor() -> Iterator[Upstream]:
    with Upstream("openai_compatible") as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, vendor: Upstream, other: Upstream) -> Client:
    client = make_client()
    rows = (("deepseek", ("deep", "either"), False), ("groq", ("dropping",), True))
    for preset, models, drops in rows:
        options = {"preset": preset, "drop_unsupported": drops}
        served = dict.fromkeys(models, "upstream-model")
        client.add_provider(vendor, name=preset, family="openai_compatible", models=served, options=options)
    client.add_provider(other, name="openai", weight=1, models={"either": "gpt-4o"})
    in_force(servers.door)
    return client


@pytest.fixture
def sdk(tenant: Client, servers: Servers) -> OpenAI:
    return OpenAI(base_url=f"{servers.door.base_url}/v1", api_key=tenant.key, max_retries=0)


def test_a_client_asks_plainly_and_streamed_and_has_a_tool_called(sdk: OpenAI) -> None:
    journeys.asks_plainly_and_streamed(sdk, "deep", family="openai_compatible")
    journeys.has_a_tool_called(sdk, "deep")


def test_the_vendor_gets_what_it_knows(sdk: OpenAI, vendor: Upstream) -> None:
    messages: Any = [{"role": "developer", "content": "Be brief."}, *journeys.ASK]
    sdk.chat.completions.create(model="deep", messages=messages, max_completion_tokens=50)
    body = vendor.log()[-1]["body"]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["max_tokens"] == 50
    assert "max_completion_tokens" not in body


def test_what_the_vendor_cannot_do_is_refused_dropped_or_done_by_another(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="deep", messages=journeys.ASK, n=2)
    assert raised.value.param == "n"
    dropping = sdk.chat.completions.with_raw_response.create(model="dropping", messages=journeys.ASK, n=2)
    assert dropping.headers["x-nexus-dropped-params"] == "n"
    assert len(dropping.parse().choices) == 1
    elsewhere = sdk.chat.completions.with_raw_response.create(model="either", messages=journeys.ASK, n=2)
    assert (elsewhere.headers["x-nexus-provider"], len(elsewhere.parse().choices)) == ("openai", 2)
