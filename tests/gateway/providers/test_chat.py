"""A chat request in parts, as the translated families read it."""

from typing import Any

import pytest

from gateway.providers.base import Unsupported
from gateway.providers.chat import Chat, Image, JsonOutput, Text, ToolCall, ToolChoice, chat_of, parse_chat
from gateway.schema import Endpoint, parse
from nexus.errors import InvalidRequest

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**members: Any) -> Chat:
    return parse_chat({"model": "m", "messages": HELLO, **members})


def test_system_and_developer_messages_are_apart_from_the_turns() -> None:
    read = chat(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
            *HELLO,
        ]
    )
    assert read.system == ("Be brief.", "In French.")
    assert [turn.text for turn in read.turns] == ["Hello"]


def test_content_of_many_parts_keeps_its_order_and_loses_empty_text() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    read = chat(messages=[{"role": "user", "content": parts}])
    assert read.messages[0].parts == (
        Text("What is"),
        Image(media_type="image/png", data="AAAA"),
        Image(url="https://example.com/a.png"),
    )


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:text/html;base64,AAAA", "data:image/png,AAAA", ""])
def test_an_image_that_is_no_address_and_no_data_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="https address") as refused:
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert refused.value.param == "messages[0].content[0].image_url"


def test_a_tool_call_and_its_result_find_each_other() -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    read = chat(
        messages=[
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        ]
    )
    assert read.turns[1].tool_calls == (ToolCall("call_1", "add", '{"a":1}'),)
    assert read.turns[1].tool_calls[0].input() == {"a": 1}
    assert read.tool_name("call_1") == "add"
    with pytest.raises(InvalidRequest, match="`call_2`"):
        read.tool_name("call_2")


@pytest.mark.parametrize("arguments", ["[1]", "{", '"text"', "[" * 100_000])
def test_arguments_that_are_no_object_are_refused_where_one_is_needed(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        ToolCall("call_1", "add", arguments).input()


def test_no_arguments_are_an_empty_object() -> None:
    assert ToolCall("call_1", "now", "").input() == {}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"n": 1.5}, "n"),
    ],
)
def test_what_a_translation_would_have_to_guess_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(**members)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
        [{"type": "file", "file": {"file_id": "f"}}],
    ],
)
def test_content_that_no_translation_knows_is_left_to_another_provider(content: Any) -> None:
    with pytest.raises(Unsupported, match="cannot take content"):
        chat(messages=[{"role": "user", "content": content}])


def test_settings_are_read_under_each_of_their_names() -> None:
    read = chat(max_tokens=5, max_completion_tokens=7, stop="END", tool_choice={"function": {"name": "f"}})
    assert (read.max_tokens, read.stop, read.tool_choice) == (7, ("END",), ToolChoice("named", "f"))
    assert chat(max_tokens=5, stop=["a", "b"]).stop == ("a", "b")
    assert chat(response_format={"type": "json_object"}).json_output == JsonOutput()
    schema = {"type": "object"}
    told = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    assert chat(response_format=told).json_output == JsonOutput(schema, "thing", True)


def test_what_asks_for_nothing_counts_as_not_given() -> None:
    neutral = {"n": 1, "logprobs": False, "presence_penalty": 0, "stop": None, "response_format": {"type": "text"}}
    assert chat(**neutral).unhonoured(frozenset(), drop=False) == ()


def test_a_member_that_cannot_be_honoured_is_refused_by_name_or_dropped() -> None:
    read = chat(seed=7, logit_bias={"5": 1}, temperature=1)
    with pytest.raises(Unsupported, match=r"`seed`.*`drop_unsupported`") as refused:
        read.unhonoured(frozenset(("temperature",)), drop=False)
    assert refused.value.param == "seed"
    assert read.unhonoured(frozenset(("temperature",)), drop=True) == ("seed", "logit_bias")


def test_a_hint_is_dropped_without_being_asked() -> None:
    assert chat(user="u1", metadata={"a": "b"}).unhonoured(frozenset(), drop=False) == ("user", "metadata")


def test_the_prompt_of_a_legacy_completion_is_what_its_user_says() -> None:
    read = chat_of(parse(Endpoint.COMPLETIONS, b'{"model":"m","prompt":"Once","max_tokens":5}'))
    assert [(turn.role, turn.text) for turn in read.turns] == [("user", "Once")]
    assert read.unhonoured(frozenset(("max_tokens",)), drop=False) == ()


@pytest.mark.parametrize("prompt", [b'["a","b"]', b"[1,2]", b'""'])
def test_other_prompts_are_for_providers_that_complete_text(prompt: bytes) -> None:
    with pytest.raises(Unsupported):
        chat_of(parse(Endpoint.COMPLETIONS, b'{"model":"m","prompt":%b}' % prompt))


def test_embeddings_are_no_chat() -> None:
    with pytest.raises(Unsupported, match="no embeddings"):
        chat_of(parse(Endpoint.EMBEDDINGS, b'{"model":"m","input":"x"}'))
