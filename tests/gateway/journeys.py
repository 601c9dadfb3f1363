"""What a client of OpenAI's SDK does with any model behind the gateway, whichever family it comes from."""

import json
from typing import Any

from openai import OpenAI

ASK: Any = [{"role": "user", "content": "Hello there"}]
TEXT = "[simulated] You said: Hello there"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def text_of(stream: Any) -> str:
    """Return what a stream's chunks say."""
    return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


def asks_plainly_and_streamed(sdk: OpenAI, model: str, *, family: str, tokens: tuple[int, int] = (3, 9)) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model=model, messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == tokens
    assert (raw.headers["x-nexus-provider"], raw.headers["x-nexus-attempt"]) == (family, "1")
    chunks = list(sdk.chat.completions.create(model=model, messages=ASK, stream=True))
    assert text_of(chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    options: Any = {"include_usage": True}
    last = list(sdk.chat.completions.create(model=model, messages=ASK, stream=True, stream_options=options))[-1]
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == tokens


def has_a_tool_called(sdk: OpenAI, model: str) -> None:
    """Call, result, answer; and the same call out of a stream."""
    first = sdk.chat.completions.create(model=model, messages=ASK, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    call: Any = (first.choices[0].message.tool_calls or [])[0]
    assert json.loads(call.function.arguments) == {"city": "simulated city"}
    with sdk.chat.completions.stream(model=model, messages=ASK, tools=[WEATHER]) as stream:
        streamed: Any = (stream.get_final_completion().choices[0].message.tool_calls or [])[0]
    assert (streamed.function.name, streamed.function.arguments) == ("weather", call.function.arguments)
    history: Any = [
        *ASK,
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"},
    ]
    answer = sdk.chat.completions.create(model=model, messages=history, tools=[WEATHER])
    assert answer.choices[0].message.content == "[simulated] The tool answered: 18 degrees"


def shows_an_image(sdk: OpenAI, model: str) -> None:
    url = {"url": "data:image/png;base64,iVBORw0KGgo="}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": url}]}
    ]
    answer = sdk.chat.completions.create(model=model, messages=messages)
    assert answer.choices[0].message.content == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"


def wants_json(sdk: OpenAI, model: str) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = sdk.chat.completions.create(model=model, messages=ASK, response_format=wanted)
    assert json.loads(answer.choices[0].message.content or "") == {"name": "simulated name"}
