"""Anthropic's own SDK takes the simulator for the real thing."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from pydantic import BaseModel, Field

from tests.upstream import Upstream

MODEL = "claude-sonnet-4-6"
NEWEST = "claude-opus-5-5"
MANUAL = "claude-haiku-4-5"
ASK: Any = [{"role": "user", "content": "Hello there"}]
ECHO = "[simulated] You said: Hello there"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
OLD_VERSION = {"anthropic-version": "2023-06-01"}


def tool(name: str, **properties: Any) -> Any:
    return {
        "name": name,
        "input_schema": {"type": "object", "properties": properties, "required": list(properties)},
    }


WEATHER = tool("weather", city={"type": "string"}, days={"type": "integer", "minimum": 2})
TIME = tool("time", zone={"enum": ["UTC", "CET"]})


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with Upstream("anthropic") as running:
        yield running


@pytest.fixture
def sdk(server: Upstream) -> Anthropic:
    return Anthropic(base_url=server.base_url, api_key="sk-ant-test", max_retries=0)


def ask(sdk: Anthropic, **options: Any) -> Any:
    return sdk.messages.create(**{"model": MODEL, "max_tokens": 1000, "messages": ASK, **options})


def streamed(sdk: Anthropic, **options: Any) -> tuple[list[Any], Any]:
    """Return the raw events of a stream, and the message that the SDK makes of another one."""
    asked = {"model": MODEL, "max_tokens": 1000, "messages": ASK, **options}
    with sdk.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    return list(sdk.messages.create(**asked, stream=True)), final


def test_a_plain_answer_echoes_and_says_that_it_is_simulated(sdk: Anthropic) -> None:
    raw = sdk.messages.with_raw_response.create(model=MODEL, max_tokens=1000, messages=ASK)
    answer = raw.parse()
    assert answer.content[0].type == "text"
    assert answer.content[0].text == ECHO
    assert (answer.stop_reason, answer.role, answer.model) == ("end_turn", "assistant", MODEL)
    assert answer.id.startswith("msg_")
    assert raw.headers["x-nexus-simulated"] == "anthropic"
    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "3999"


def test_usage_is_a_fourth_of_the_bytes(sdk: Anthropic) -> None:
    usage = ask(sdk, system="Be brief.").usage
    assert (usage.input_tokens, usage.output_tokens) == (3 + 3, 9)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (0, 0)


def test_a_stream_is_start_blocks_delta_stop(sdk: Anthropic) -> None:
    events, final = streamed(sdk)
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].message.content == []
    assert (events[0].message.usage.input_tokens, events[0].message.usage.output_tokens) == (3, 1)
    assert [event.delta.text for event in events[2:7]] == ["[simulated] ", "You ", "said: ", "Hello ", "there"]
    assert events[-2].delta.stop_reason == "end_turn"
    assert (final.content[0].text, final.usage.output_tokens) == (ECHO, 9)


def test_a_ping_comes_behind_the_first_block_start(server: Upstream) -> None:
    body = {"model": MODEL, "max_tokens": 10, "messages": ASK, "stream": True}
    headers = {"x-api-key": "sk", **OLD_VERSION}
    said = httpx.post(f"{server.base_url}/v1/messages", json=body, headers=headers).text
    names = [line.removeprefix("event: ") for line in said.splitlines() if line.startswith("event: ")]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-1] == "message_stop"


def test_a_tool_call_is_the_same_plain_and_streamed(sdk: Anthropic) -> None:
    plain = ask(sdk, tools=[WEATHER])
    assert plain.stop_reason == "tool_use"
    (call,) = plain.content
    assert (call.type, call.name, call.input) == ("tool_use", "weather", {"city": "simulated city", "days": 2})
    assert call.id.startswith("toolu_")
    events, final = streamed(sdk, tools=[WEATHER])
    assert (final.content[0].name, final.content[0].input) == (call.name, call.input)
    pieces = [event.delta.partial_json for event in events if event.type == "content_block_delta"]
    assert len(pieces) > 2
    assert json.loads("".join(pieces)) == call.input
    assert events[1].content_block.input == {}


def test_a_call_without_arguments_streams_none(sdk: Anthropic) -> None:
    events, final = streamed(sdk, tools=[tool("refresh")])
    assert not [event for event in events if event.type == "content_block_delta"]
    assert final.content[0].input == {}


def test_two_tools_are_called_in_parallel_if_the_user_says_so(sdk: Anthropic) -> None:
    both: Any = [{"role": "user", "content": "Do both in parallel."}]
    _, final = streamed(sdk, messages=both, tools=[WEATHER, TIME])
    assert [call.name for call in final.content] == ["weather", "time"]
    assert final.content[0].id != final.content[1].id
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(ask(sdk, messages=both, tools=[WEATHER, TIME], tool_choice=choice).content) == 1


def test_tool_choice_names_any_and_none(sdk: Anthropic) -> None:
    named = ask(sdk, tools=[WEATHER, TIME], tool_choice={"type": "tool", "name": "time"})
    assert named.content[0].name == "time"
    assert ask(sdk, tools=[WEATHER], tool_choice={"type": "any"}).stop_reason == "tool_use"
    assert ask(sdk, tools=[WEATHER], tool_choice={"type": "none"}).content[0].text == ECHO


def test_a_tools_result_is_quoted(sdk: Anthropic) -> None:
    first = ask(sdk, tools=[WEATHER])
    result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "18 degrees"}
    history: Any = [*ASK, first.to_param(), {"role": "user", "content": [result]}]
    answer = ask(sdk, messages=history, tools=[WEATHER])
    assert answer.content[0].text == "[simulated] The tool answered: 18 degrees"


def test_an_image_is_mentioned_and_counted(sdk: Anthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    answer = ask(sdk, messages=[{"role": "user", "content": [image, {"type": "text", "text": "What?"}]}])
    assert answer.content[0].text == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    assert answer.usage.input_tokens == 2 + 85
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    answer = ask(sdk, messages=[{"role": "user", "content": [linked, {"type": "text", "text": "What?"}]}])
    assert "https://example.com/cat.png" in answer.content[0].text


class Person(BaseModel):
    name: str
    age: int = Field(ge=1)
    friends: list["Person"]


def test_a_json_schema_is_kept(sdk: Anthropic) -> None:
    answer = sdk.messages.parse(model=MODEL, max_tokens=1000, messages=ASK, output_format=Person)
    person = answer.parsed_output
    assert person is not None
    assert person.name == "simulated name"
    assert person.friends


def test_max_tokens_cuts_plain_and_streamed_alike(sdk: Anthropic) -> None:
    plain = ask(sdk, max_tokens=5)
    _, final = streamed(sdk, max_tokens=5)
    for answer in (plain, final):
        assert (answer.content[0].text, answer.stop_reason) == ("[simulated] You said", "max_tokens")
        assert answer.usage.output_tokens == 5


def test_a_stop_sequence_stops_and_is_named(sdk: Anthropic) -> None:
    answer = ask(sdk, stop_sequences=["never", "there"])
    assert answer.content[0].text == "[simulated] You said: Hello "
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "there")
    assert ask(sdk, stop_sequences=["never"]).stop_reason == "end_turn"


@pytest.mark.parametrize("model", [MODEL, NEWEST])
def test_thinking_is_signed_and_counted(sdk: Anthropic, model: str) -> None:
    options = {"model": model, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    plain = ask(sdk, **options)
    events, final = streamed(sdk, **options)
    for answer in (plain, final):
        thought, text = answer.content
        assert thought.type == "thinking"
        assert thought.thinking.startswith("[simulated]")
        assert thought.signature
        assert text.text == ECHO
        assert answer.usage.output_tokens == 32 + 9
        assert answer.usage.output_tokens_details.thinking_tokens == 32
    deltas = [event.delta.type for event in events if event.type == "content_block_delta" and event.index == 0]
    assert deltas[0] == "thinking_delta"
    assert deltas[-1] == "signature_delta"


def test_omitted_thinking_has_a_signature_alone_and_redacted_thinking_its_data(sdk: Anthropic) -> None:
    omitted = ask(sdk, thinking={"type": "adaptive", "display": "omitted"}).content[0]
    assert omitted.thinking == ""
    assert omitted.signature
    secret = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E"
    redacted = ask(sdk, thinking={"type": "adaptive"}, messages=[{"role": "user", "content": secret}])
    assert [block.type for block in redacted.content] == ["thinking", "redacted_thinking", "text"]
    history = [*ASK, redacted.to_param(), *ASK]
    assert ask(sdk, thinking={"type": "adaptive"}, messages=history).content[-1].text == ECHO


def test_a_tool_loop_goes_on_with_its_thoughts_and_not_without(sdk: Anthropic) -> None:
    options: Any = {
        "model": MANUAL,
        "max_tokens": 4000,
        "tools": [WEATHER],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    first = ask(sdk, **options)
    thought, call = first.content
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18"}]}
    answer = ask(sdk, **options, messages=[*ASK, first.to_param(), result])
    assert answer.content[-1].text == "[simulated] The tool answered: 18"
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking` or `redacted_thinking`"):
        ask(sdk, **options, messages=[*ASK, {"role": "assistant", "content": [call]}, result])
    changed = thought.model_copy(update={"thinking": "something else"})
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        ask(sdk, **options, messages=[*ASK, {"role": "assistant", "content": [changed, call]}, result])


def test_a_refusal_is_an_answer_without_content(sdk: Anthropic) -> None:
    messages = [{"role": "user", "content": "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1FAEFB6177B4672D"}]
    events, final = streamed(sdk, messages=messages)
    assert (final.content, final.stop_reason) == ([], "refusal")
    assert events[-2].delta.stop_details.type == "refusal"


def test_a_marked_prompt_is_written_to_the_cache_and_then_read(sdk: Anthropic) -> None:
    system = [{"type": "text", "text": "x" * 8000, "cache_control": {"type": "ephemeral"}}]
    usages = [ask(sdk, system=system, max_tokens=1).usage for _ in range(2)]
    assert [usage.cache_creation_input_tokens for usage in usages] == [2000, 0]
    assert [usage.cache_read_input_tokens for usage in usages] == [0, 2000]
    assert [usage.input_tokens for usage in usages] == [3, 3]


def test_tokens_are_counted_without_an_answer(sdk: Anthropic) -> None:
    counted = sdk.messages.count_tokens(model=MODEL, messages=ASK, system="Be brief.")
    assert counted.input_tokens == 6


def test_models_are_listed_in_pages_and_looked_up(sdk: Anthropic) -> None:
    names = [model.id for model in sdk.models.list(limit=5)]
    assert len(names) > 10
    assert len(set(names)) == len(names)
    assert sdk.models.retrieve(NEWEST).display_name == "Claude Opus 5.5 (simulated)"
    with pytest.raises(anthropic.NotFoundError):
        sdk.models.retrieve("claude-missing")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, "max_tokens: must be greater than or equal to 1"),
        ({"model": MANUAL, "max_tokens": 64_001, "stream": True}, "64001 > 64000"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "assistant", "content": "x"}, *ASK]}, 'first message must use the "user" role'),
        ({"messages": [{"role": "user", "content": ""}]}, "text content blocks must be non-empty"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "non-whitespace text"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "Input tag 'video' found"),
        ({"messages": [*ASK, {"role": "assistant", "content": "Well"}]}, "does not support assistant message prefill"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: Input should be 'user', 'assistant'"),
        ({"extra_body": {"mystery": 1}}, "mystery: Extra inputs are not permitted"),
        ({"extra_body": {"temperature": 1}}, "temperature: Extra inputs are not permitted"),
        ({"extra_headers": OLD_VERSION, "extra_body": {"temperature": 1.5}}, "temperature: range: 0..1"),
        ({"extra_headers": OLD_VERSION, "extra_body": {"temperature": 0.5, "top_p": 0.5}}, "cannot both be specified"),
        (
            {"model": NEWEST, "extra_headers": OLD_VERSION, "extra_body": {"temperature": 0.5}},
            "`temperature` is deprecated for this model",
        ),
        ({"extra_headers": {"anthropic-version": "2020-01-01"}}, '"2020-01-01" is not a valid version'),
        ({"stop_sequences": [" "]}, "each stop sequence must contain non-whitespace"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.0.custom.name: String should match"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
        ({"tool_choice": {"type": "any"}}, "may only be specified while providing `tools`"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}},
            "Thinking may not be enabled when tool_choice forces tool use",
        ),
        ({"model": NEWEST, "thinking": {"type": "enabled", "budget_tokens": 1024}}, "is not supported for this model"),
        ({"model": MANUAL, "thinking": {"type": "adaptive"}}, "adaptive thinking is not supported on this model"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
        ({"model": MANUAL, "output_config": {"effort": "low"}}, "does not support the effort parameter"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "'additionalProperties' must be explicitly set to false",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}}},
            "For 'integer' type, properties minimum are not supported",
        ),
    ],
)
def test_a_request_it_refuses(sdk: Anthropic, options: dict[str, Any], said: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask(sdk, **options)
    assert raised.value.type == "invalid_request_error"
    assert said in str(raised.value.api_message)


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "18"}
TEXT = {"type": "text", "text": "And?"}


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ([*ASK, CALL, *ASK], "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1"),
        ([*ASK, CALL, {"role": "user", "content": [TEXT, RESULT]}], "without `tool_result` blocks immediately after"),
        ([*ASK, {"role": "user", "content": [RESULT]}], "unexpected `tool_use_id` found in `tool_result` blocks"),
        (
            [*ASK, {"role": "assistant", "content": [{**CALL["content"][0], "id": "call:1"}]}],  # type: ignore[dict-item]
            "String should match pattern",
        ),
    ],
)
def test_tool_turns_are_checked(sdk: Anthropic, behind: Any, said: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=said):
        ask(sdk, messages=behind, tools=[WEATHER])


def test_documents_and_citations_are_refused_where_the_newest_version_refuses_them(sdk: Anthropic) -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Facts."}}
    history: Any = [*ASK, {"role": "assistant", "content": [document]}, *ASK]
    with pytest.raises(anthropic.BadRequestError, match="not permitted in assistant messages"):
        ask(sdk, messages=history)
    assert ask(sdk, messages=history, extra_headers=OLD_VERSION).content[0].text == ECHO


@pytest.mark.parametrize(
    ("fault", "exception", "kind"),
    [
        ("status=400", anthropic.BadRequestError, "invalid_request_error"),
        ("status=401", anthropic.AuthenticationError, "authentication_error"),
        ("status=402", anthropic.PaymentRequiredError, "billing_error"),
        ("status=403", anthropic.PermissionDeniedError, "permission_error"),
        ("status=404", anthropic.NotFoundError, "not_found_error"),
        ("status=408", anthropic.RequestTimeoutError, "timeout_error"),
        ("status=413", anthropic.ContentTooLargeError, "request_too_large"),
        ("status=429;retry_after=2", anthropic.RateLimitError, "rate_limit_error"),
        ("insufficient_quota", anthropic.RateLimitError, "rate_limit_error"),
        ("status=500", anthropic.InternalServerError, "api_error"),
        ("status=504", anthropic.GatewayTimeoutError, "timeout_error"),
        ("status=529", anthropic.OverloadedError, "overloaded_error"),
        ("html502", anthropic.InternalServerError, None),
    ],
)
def test_each_failure_raises_its_exception(
    sdk: Anthropic, fault: str, exception: type[anthropic.APIStatusError], kind: str | None
) -> None:
    with pytest.raises(exception) as raised:
        ask(sdk, model=f"{MODEL}!{fault}")
    assert raised.value.type == kind
    assert raised.value.error_code == ("enforced_spend_limit_reached" if fault == "insufficient_quota" else None)


@pytest.mark.parametrize("fault", ["reset", "cut@0", "reset@2"])
def test_a_broken_connection_is_one(sdk: Anthropic, fault: str) -> None:
    with pytest.raises(anthropic.APIConnectionError):
        ask(sdk, model=f"{MODEL}!{fault}")


@pytest.mark.parametrize(("fault", "before"), [("error_first", 0), ("error@4", 2)])
def test_an_error_event_raises_after_what_came_before(sdk: Anthropic, fault: str, before: int) -> None:
    stream = sdk.messages.create(model=f"{MODEL}!{fault}", max_tokens=9, messages=ASK, stream=True)
    assert len([next(stream) for _ in range(before)]) == before
    with pytest.raises(anthropic.APIStatusError) as raised:
        next(stream)
    assert (raised.value.type, raised.value.response.status_code) == ("overloaded_error", 200)


@pytest.mark.parametrize("fault", ["crlf", "comments", "split", "unknown_event"])
def test_harmless_faults_leave_the_text_alone(sdk: Anthropic, fault: str) -> None:
    with sdk.messages.stream(model=f"{MODEL}!{fault}", max_tokens=100, messages=ASK) as stream:
        assert stream.get_final_text() == ECHO


def test_a_finish_with_its_usage_is_doubled_by_either_fault(sdk: Anthropic) -> None:
    def ends(fault: str) -> int:
        stream = sdk.messages.create(model=f"{MODEL}!{fault}", max_tokens=9, messages=ASK, stream=True)
        return [event.type for event in stream].count("message_delta")

    assert [ends("ok"), ends("double_finish"), ends("usage_twice")] == [1, 2, 2]


def test_a_cut_stream_lacks_its_marker_and_the_sdk_does_not_mind(sdk: Anthropic) -> None:
    for fault in ("cut@5", "no_done"):
        events = list(sdk.messages.create(model=f"{MODEL}!{fault}", max_tokens=99, messages=ASK, stream=True))
        assert events
        assert "message_stop" not in [event.type for event in events]


def test_the_key_comes_in_either_header_and_the_vendors_own_wins() -> None:
    with Upstream("anthropic", api_key="right") as server:
        url = f"{server.base_url}/v1/models"

        def status(**headers: str) -> tuple[int, str]:
            answer = httpx.get(url, headers={"anthropic-version": "2023-06-01", **headers})
            return answer.status_code, answer.json().get("error", {}).get("message", "")

        assert status(**{"x-api-key": "right"})[0] == 200
        assert status(authorization="Bearer right")[0] == 200
        assert status(**{"x-api-key": "wrong", "authorization": "Bearer right"}) == (401, "invalid x-api-key")
        assert status(authorization="Bearer wrong") == (401, "Invalid bearer token")
        assert status() == (401, "x-api-key header is required")
        unversioned = httpx.get(url, headers={"x-api-key": "right"})
        assert unversioned.json()["error"]["message"] == "anthropic-version: header is required"


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(server: Upstream, body: bytes) -> None:
    answer = httpx.post(f"{server.base_url}/v1/messages", content=body, headers={"x-api-key": "sk", **OLD_VERSION})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_wrong_addresses_and_methods_are_named(server: Upstream) -> None:
    headers = {"x-api-key": "sk", **OLD_VERSION}
    assert httpx.post(f"{server.base_url}/v1/nothing", headers=headers).status_code == 404
    assert httpx.get(f"{server.base_url}/v1/messages", headers=headers).status_code == 405
