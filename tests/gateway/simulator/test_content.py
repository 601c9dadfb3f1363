"""What a simulated model says: token counts, instances of schemas, vectors."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.content import Conversation, Tool, answer, tokens, words
from gateway.simulator.instances import instance_of
from gateway.simulator.vectors import vector


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("世", 1), ("世界", 2)])
def test_four_bytes_are_a_token(text: str, count: int) -> None:
    assert tokens(text) == count


@given(st.text())
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text


@given(st.text(), st.integers(0, 40))
def test_an_answer_never_has_more_tokens_than_allowed(text: str, limit: int) -> None:
    said = answer(Conversation(text, max_tokens=limit, reasoning_tokens=7))
    assert said.tokens <= limit
    whole = answer(Conversation(text, reasoning_tokens=7))
    assert whole.text.startswith(said.text)
    assert said.cut is (said.text != whole.text)


def test_calls_are_cut_in_the_midst_of_their_arguments() -> None:
    tool = Tool("weather", {"type": "object", "properties": {"city": {"type": "string"}}})
    whole = answer(Conversation("x", tools=(tool,)))
    cut = answer(Conversation("x", tools=(tool,), max_tokens=4))
    assert cut.cut
    assert cut.tokens <= 4
    assert whole.calls[0].arguments.startswith(cut.calls[0].arguments)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "simulated value"),
        ({"type": "string", "minLength": 20, "maxLength": 20}, "simulated valuexxxxx"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "integer", "exclusiveMinimum": 8, "multipleOf": 4}, 12),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": ["null", "boolean"]}, True),
        ({"const": 7}, 7),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None]),
        ({"type": "array", "items": {}, "maxItems": 0}, []),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"const": 3}}}, 3),
        ({"properties": {"on": {"type": "boolean"}}}, {"on": True}),
    ],
)
def test_an_instance_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert instance_of(schema) == value


def test_a_schema_that_holds_itself_ends() -> None:
    tree: dict[str, Any] = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert "children" in instance_of(tree)
    chain = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert "next" in instance_of(chain)
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert "next" in instance_of(endless)


@given(st.text(min_size=1, max_size=200), st.sampled_from([1, 64, 1536]))
def test_a_vector_has_length_one(text: str, dimensions: int) -> None:
    numbers = vector(text, dimensions)
    assert len(numbers) == dimensions
    assert sum(number * number for number in numbers) == pytest.approx(1.0, abs=1e-5)
