"""Anthropic's SDK in front of the gateway: Claude behind it natively, every other family by translation."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic

from tests.gateway.conftest import Client, Servers, in_force, make_client
from tests.upstream import Upstream

ASK: Any = [{"role": "user", "content": "Hello there"}]
ECHO = "[simulated] You said: Hello there"
WEATHER: Any = {
    "name": "weather",
    "description": "Now.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
BOTH = pytest.mark.parametrize("model", ["claude", "gpt"])


@pytest.fixture(scope="module")
def claude() -> Iterator[Upstream]:
    with Upstream("anthropic", api_key="sk-ant-secret") as running:
        yield running


@pytest.fixture(scope="module")
def gpt() -> Iterator[Upstream]:
    with Upstream("openai") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(servers: Servers, claude: Upstream, gpt: Upstream) -> Client:
    """A tenant with `claude` and `gpt` each behind its own family, and `both`, for which Claude is asked first."""
    client = make_client()
    key = {"family": "anthropic", "api_key": "sk-ant-secret"}
    client.add_provider(claude, name="claude", models={"claude": "claude-sonnet-4-6"}, **key)
    client.add_provider(gpt, name="gpt", models={"gpt": "gpt-4o"})
    client.add_provider(claude, name="first", models={"both": "claude-sonnet-4-6"}, **key)
    client.add_provider(gpt, name="second", weight=50, models={"both": "gpt-4o"})
    in_force(*servers.running)
    return client


@pytest.fixture
def sdk(servers: Servers, tenant: Client, claude: Upstream, gpt: Upstream) -> Anthropic:
    claude.reset()
    gpt.reset()
    return Anthropic(base_url=servers.door.base_url, api_key=tenant.key, max_retries=0)


def ask(sdk: Anthropic, **options: Any) -> Any:
    return sdk.messages.create(**{"max_tokens": 1000, "messages": ASK, **options})


def streamed(sdk: Anthropic, **options: Any) -> Any:
    with sdk.messages.stream(**{"max_tokens": 1000, "messages": ASK, **options}) as stream:
        return stream.get_final_message()


@BOTH
def test_a_message_is_answered_plain_and_streamed_alike(sdk: Anthropic, tenant: Client, model: str) -> None:
    raw = sdk.messages.with_raw_response.create(model=model, max_tokens=1000, messages=ASK, system="Be brief.")
    plain: Any = raw.parse()
    final = streamed(sdk, model=model, system="Be brief.")
    for message in (plain, final):
        assert (message.content[0].text, message.stop_reason, message.role) == (ECHO, "end_turn", "assistant")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (6, 9)
    row = tenant.row(raw.headers["x-request-id"])
    assert (row.endpoint, row.status, row.input_tokens, row.output_tokens) == ("messages", 200, 6, 9)
    assert row.provider == ("anthropic" if model == "claude" else "openai")


@BOTH
def test_the_events_are_those_of_anthropic(sdk: Anthropic, model: str) -> None:
    events = list(sdk.messages.create(model=model, max_tokens=1000, messages=ASK, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@BOTH
def test_a_tool_loop_goes_round(sdk: Anthropic, model: str) -> None:
    options: Any = {"model": model, "tools": [WEATHER]}
    for first in (ask(sdk, **options), streamed(sdk, **options)):
        assert first.stop_reason == "tool_use"
        (call,) = first.content
        assert (call.name, call.input) == ("weather", {"city": "simulated city"})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "18 degrees"}]}
        history = [*ASK, first.to_param(), {"role": "user", "content": [result]}]
        assert ask(sdk, **options, messages=history).content[0].text == "[simulated] The tool answered: 18 degrees"


@BOTH
def test_images_schemas_limits_and_stops_reach_the_model(sdk: Anthropic, model: str) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content = [image, {"type": "text", "text": "What?"}]
    assert (
        "image/png, 8 bytes" in ask(sdk, model=model, messages=[{"role": "user", "content": content}]).content[0].text
    )
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
    config: Any = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads(ask(sdk, model=model, output_config=config).content[0].text) == {"name": "simulated name"}
    assert ask(sdk, model=model, max_tokens=5).stop_reason == "max_tokens"
    assert ask(sdk, model=model, stop_sequences=["there"]).content[0].text == "[simulated] You said: Hello "
    assert ask(sdk, model=model, tools=[WEATHER], tool_choice={"type": "none"}).content[0].text == ECHO


def test_claude_gets_the_request_as_it_was_sent(sdk: Anthropic, claude: Upstream) -> None:
    thinking: Any = {"type": "adaptive"}
    for _ in range(2):  # the second time the connection knows the head
        answer = ask(sdk, model="claude", thinking=thinking, extra_headers={"anthropic-beta": "one-beta"})
        assert answer.content[0].type == "thinking"
        assert answer.content[0].signature
    sent = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "messages": ASK, "thinking": thinking}
    for asked in claude.log():
        assert asked["body"] == sent
        assert asked["headers"]["anthropic-version"] == "2026-10-21"
        assert asked["headers"]["anthropic-beta"] == "one-beta"
        assert "authorization" not in asked["headers"]
    history = [*ASK, answer.to_param(), *ASK]
    assert ask(sdk, model="claude", thinking=thinking, messages=history).content[-1].text == ECHO


def test_another_family_gets_what_it_understands(sdk: Anthropic, gpt: Upstream) -> None:
    ask(
        sdk,
        model="gpt",
        metadata={"user_id": "u1"},
        service_tier="auto",
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    body = gpt.log()[0]["body"]
    assert body["max_completion_tokens"] == 1000
    assert (body["user"], body["tool_choice"], body["parallel_tool_calls"]) == ("u1", "required", False)
    assert body["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]
    assert "service_tier" not in body


def test_thoughts_without_a_signature_do_not_go_back_to_claude(sdk: Anthropic, claude: Upstream) -> None:
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    history: Any = [*ASK, {"role": "assistant", "content": [unsigned, {"type": "text", "text": "Well."}]}, *ASK]
    assert ask(sdk, model="claude", messages=history).content[0].text == ECHO
    assert "Hm." not in json.dumps(claude.log()[0]["body"])


def test_what_only_claude_understands_goes_to_claude_alone(sdk: Anthropic, claude: Upstream) -> None:
    content = [{"type": "search_result", "source": "s", "title": "t", "content": []}]
    messages: Any = [{"role": "user", "content": content}]
    with pytest.raises(anthropic.BadRequestError, match="cannot be translated"):
        ask(sdk, model="gpt", messages=messages)
    with pytest.raises(anthropic.BadRequestError, match="Input tag 'search_result'"):
        ask(sdk, model="claude", messages=messages)
    assert len(claude.log()) == 1


@pytest.mark.parametrize("fault", ["status=529", "error_first", "cut@4", "insufficient_quota"])
def test_another_family_takes_over_from_claude(sdk: Anthropic, claude: Upstream, fault: str) -> None:
    assert ask(sdk, model="both").content[0].text == ECHO
    claude.script(fault)
    raw = sdk.messages.with_raw_response.create(model="both", max_tokens=100, messages=ASK, stream=True)
    events = list(raw.parse())
    assert raw.headers["x-nexus-provider"] == "openai"
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"


@BOTH
def test_a_stream_that_breaks_off_ends_with_an_error_event(
    sdk: Anthropic, claude: Upstream, gpt: Upstream, model: str
) -> None:
    (claude if model == "claude" else gpt).script("no_done")
    seen: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        seen.extend(event.type for event in sdk.messages.create(model=model, max_tokens=99, messages=ASK, stream=True))
    assert raised.value.type == "api_error"
    assert raised.value.body["error"]["code"] == "STREAM_INTERRUPTED"  # type: ignore[index]
    assert "message_stop" not in seen


def test_errors_raise_the_sdks_own_exceptions(servers: Servers, sdk: Anthropic, tenant: Client) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(sdk, model="nobody")
    assert missing.value.type == "not_found_error"
    assert missing.value.body["error"]["code"] == "MODEL_NOT_FOUND"  # type: ignore[index]
    assert missing.value.request_id == missing.value.response.headers["x-request-id"]
    stranger = Anthropic(base_url=servers.door.base_url, api_key="nxk_wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        ask(stranger, model="claude")
    assert unknown.value.type == "authentication_error"
    with pytest.raises(anthropic.BadRequestError) as empty:
        ask(sdk, model="gpt", messages=[])
    assert empty.value.type == "invalid_request_error"


def test_the_key_may_come_as_x_api_key(servers: Servers, tenant: Client) -> None:
    body = {"model": "gpt", "max_tokens": 9, "messages": ASK}
    for server in (servers.door, servers.twin):
        answer = httpx.post(f"{server.base_url}/v1/messages", json=body, headers={"x-api-key": tenant.key}, timeout=30)
        assert answer.status_code == 200
        listed = httpx.get(f"{server.base_url}/v1/models", headers={"x-api-key": tenant.key}, timeout=30)
        assert listed.status_code == 200
        wrong = {"x-api-key": tenant.key, "authorization": "Bearer wrong"}
        assert httpx.post(f"{server.base_url}/v1/messages", json=body, headers=wrong, timeout=30).status_code == 401


def test_tokens_are_counted_about_without_asking_a_provider(sdk: Anthropic, claude: Upstream, gpt: Upstream) -> None:
    counted = sdk.messages.count_tokens(model="claude", messages=ASK, system="x" * 4000)
    assert 1000 <= counted.input_tokens <= 1100
    assert claude.log() == gpt.log() == []
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.count_tokens(model="nobody", messages=ASK)
