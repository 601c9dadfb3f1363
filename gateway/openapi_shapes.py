"""The bodies of the data plane, for the OpenAPI document: what the gateway reads of a request, and OpenAI's answers.

Written by hand, since no serializer ever sees these bodies: they pass through. What is not named here is passed on as
well, so every object is open. Tests hold the examples and the answers of a running gateway to these shapes.
"""

from typing import Any

Json = dict[str, Any]
EMBEDDING_MODEL = "text-embedding-3-small"
MODEL = "gpt-4o-mini"


def open_object(told: str, required: tuple[str, ...] = (), **properties: Json) -> Json:
    shape: Json = {"type": "object", "description": told, "properties": properties, "additionalProperties": True}
    return {**shape, "required": list(required)} if required else shape


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def text(told: str = "", **more: Any) -> Json:
    return {"type": "string", **({"description": told} if told else {}), **more}


def whole(told: str = "", **more: Any) -> Json:
    return {"type": "integer", **({"description": told} if told else {}), **more}


def number(told: str, **more: Any) -> Json:
    return {"type": "number", "description": told, **more}


def listed(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def nullable(shape: Json) -> Json:
    if isinstance(shape.get("type"), str):
        return {**shape, "type": [shape["type"], "null"]}
    return {"anyOf": [shape, {"type": "null"}]}


_MODEL_NAME = text("A public model name of your tenant, as `GET /v1/models` lists it.", minLength=1, maxLength=200)
_STREAM = {"type": ["boolean", "null"], "description": "Answer as server-sent events.", "default": False}
_STREAM_OPTIONS = nullable(
    open_object("With `stream`.", include_usage={"type": "boolean", "description": "Ask for a last event with usage."})
)
_SAMPLING = {
    "temperature": number("Passed on."),
    "top_p": number("Passed on."),
    "seed": whole("Passed on."),
    "stop": {"description": "Passed on.", "anyOf": [text(), listed(text()), {"type": "null"}]},
    "user": text("Passed on."),
}


def schemas() -> Json:
    """Return the named shapes."""
    return {**_requests(), **_answers(), **_operations()}


def _requests() -> Json:
    message = open_object(
        "One message. Roles, content parts, tool calls and what is not named here are the provider's to judge.",
        ("role",),
        role=text("`system`, `developer`, `user`, `assistant` or `tool`."),
        content={
            "description": "Text, or parts such as text and images; null beside tool calls.",
            "anyOf": [text(), listed(open_object("A part.", ("type",), type=text())), {"type": "null"}],
        },
    )
    chat = open_object(
        "OpenAI's chat completions request, unknown members included.",
        ("model", "messages"),
        model=_MODEL_NAME,
        messages=listed(ref("ChatMessage"), minItems=1),
        stream=_STREAM,
        stream_options=_STREAM_OPTIONS,
        max_completion_tokens=whole("Passed on."),
        tools=listed(open_object("A tool the model may call.")),
        **_SAMPLING,
    )
    prompts = {"description": "Text, texts, or tokens.", "anyOf": [text(), listed({})]}
    completion = open_object(
        "OpenAI's completions request, unknown members included.",
        ("model", "prompt"),
        model=_MODEL_NAME,
        prompt=prompts,
        stream=_STREAM,
        stream_options=_STREAM_OPTIONS,
        max_tokens=whole("Passed on."),
        **_SAMPLING,
    )
    embedding = open_object(
        "OpenAI's embeddings request, unknown members included.",
        ("model", "input"),
        model=_MODEL_NAME,
        input=prompts,
        dimensions=whole("Passed on."),
        encoding_format=text("Passed on."),
    )
    response = open_object(
        "OpenAI's request for a response. Where the provider speaks chat alone it is translated: what lies on OpenAI's "
        "servers (`previous_response_id`, stored items, tools that run there) is refused by name.",
        ("model", "input"),
        model=_MODEL_NAME,
        input={
            "description": "Text, or items.",
            "anyOf": [text(), listed(open_object("A message, a call, its output."))],
        },
        instructions=nullable(text("What a system message would say.")),
        stream=_STREAM,
        max_output_tokens=whole("Passed on."),
        tools=listed(open_object("A tool the model may call.")),
        temperature=number("Passed on."),
        top_p=number("Passed on."),
        user=text("Passed on."),
    )
    messages: dict[str, Json] = {
        "model": _MODEL_NAME,
        "messages": listed(open_object("A message with `role` and `content`."), minItems=1),
        "system": {"description": "Text, or blocks of text.", "anyOf": [text(), listed({}), {"type": "null"}]},
        "tools": nullable(listed(open_object("A tool the model may call."))),
    }
    return {
        "MessagesRequest": open_object(
            "Anthropic's Messages request. The key may come as `x-api-key` too. For other families it is translated.",
            ("model", "messages"),
            **messages,
            max_tokens=whole("Passed on."),
            stream=_STREAM,
        ),
        "TokenCountRequest": open_object("What would be asked of `/v1/messages`.", ("model", "messages"), **messages),
        "ResponseRequest": response,
        "ChatMessage": message,
        "ChatCompletionRequest": chat,
        "CompletionRequest": completion,
        "EmbeddingRequest": embedding,
    }


def _answers() -> Json:
    usage = open_object(
        "Tokens, as the provider counts them.",
        prompt_tokens=whole(),
        completion_tokens=whole(),
        total_tokens=whole(),
    )
    said = open_object("What the model says.", ("role",), role=text(), content=nullable(text()))
    choice = open_object(
        "One answer.", ("index", "message"), index=whole(), message=said, finish_reason=nullable(text())
    )
    delta = open_object("What is new.", role=text(), content=nullable(text()))
    part = open_object("A choice.", ("index", "delta"), index=whole(), delta=delta, finish_reason=nullable(text()))
    written = open_object("One answer.", ("index", "text"), index=whole(), text=text(), finish_reason=nullable(text()))
    head: dict[str, Json] = {
        "id": text(),
        "created": whole("Unix seconds."),
        "model": text("The provider's name of it."),
    }
    vector = {"description": "Floats, or base64.", "anyOf": [listed({"type": "number"}), text()]}
    entry = open_object("A vector.", ("index", "embedding"), index=whole(), object=text(), embedding=vector)
    model = open_object(
        "A public model name.",
        ("id", "object", "created", "owned_by"),
        id=text(),
        object=text(enum=["model"]),
        created=whole("Unix seconds."),
        owned_by=text("The families of the providers that serve it."),
    )
    return {
        "Usage": usage,
        "ChatCompletion": open_object(
            "OpenAI's chat completion.",
            ("id", "object", "choices"),
            **head,
            object=text(enum=["chat.completion"]),
            choices=listed(choice),
            usage=nullable(ref("Usage")),
        ),
        "ChatCompletionChunk": open_object(
            "The data of one event of a stream, up to `data: [DONE]`.",
            ("id", "object", "choices"),
            **head,
            object=text(enum=["chat.completion.chunk"]),
            choices=listed(part),
            usage=nullable(ref("Usage")),
        ),
        "Completion": open_object(
            "OpenAI's text completion; in a stream the data of one event.",
            ("id", "object", "choices"),
            **head,
            object=text(enum=["text_completion"]),
            choices=listed(written),
            usage=nullable(ref("Usage")),
        ),
        "Response": open_object(
            "OpenAI's response.",
            ("id", "object", "status", "model", "output"),
            id=text(),
            object=text(enum=["response"]),
            created_at=number("Unix seconds."),
            model=text("The provider's name of it."),
            status=text("`completed` or `incomplete`; in a stream also `in_progress`."),
            output=listed(open_object("A message, a call, or reasoning.", ("type",), type=text())),
            usage=nullable(open_object("Tokens.", input_tokens=whole(), output_tokens=whole(), total_tokens=whole())),
        ),
        "ResponseEvent": open_object("The data of one event of a stream.", ("type",), type=text()),
        "Message": open_object(
            "Anthropic's message.",
            ("id", "type", "role", "content", "stop_reason", "usage"),
            id=text(),
            type=text(enum=["message"]),
            role=text(enum=["assistant"]),
            model=text("The provider's name of it."),
            content=listed(open_object("A block.", ("type",), type=text())),
            stop_reason=text(),
            usage=open_object("Tokens.", input_tokens=whole(), output_tokens=whole()),
        ),
        "TokenCount": open_object(
            "An estimate by the gateway, without asking a provider.", ("input_tokens",), input_tokens=whole()
        ),
        "EmbeddingList": open_object(
            "OpenAI's list of embeddings.",
            ("object", "data"),
            object=text(enum=["list"]),
            data=listed(entry),
            model=text(),
            usage=ref("Usage"),
        ),
        "Model": model,
        "ModelList": open_object(
            "The models of your tenant.", ("object", "data"), object=text(enum=["list"]), data=listed(ref("Model"))
        ),
    }


def _operations() -> Json:
    check = open_object("One thing it depends on.", ("ok", "detail"), ok={"type": "boolean"}, detail=text())
    return {
        "Alive": open_object("The process serves.", ("status",), status=text(enum=["ok"])),
        "Readiness": open_object(
            "What the process depends on.",
            ("status", "checks"),
            status=text(enum=["ready", "not ready"]),
            checks={"type": "object", "additionalProperties": check},
        ),
    }


CHAT_EXAMPLE: Json = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
EXAMPLES: dict[str, dict[str, Json]] = {
    "ChatCompletionRequest": {
        "plain": {"summary": "A question", "value": CHAT_EXAMPLE},
        "stream": {"summary": "The answer as it is made", "value": {**CHAT_EXAMPLE, "stream": True}},
    },
    "CompletionRequest": {"plain": {"summary": "A text to go on", "value": {"model": MODEL, "prompt": "Once upon"}}},
    "ResponseRequest": {
        "plain": {"summary": "A question", "value": {"model": MODEL, "input": "Hello"}},
        "stream": {"summary": "The answer as it is made", "value": {"model": MODEL, "input": "Hello", "stream": True}},
    },
    "MessagesRequest": {"plain": {"summary": "A question", "value": {**CHAT_EXAMPLE, "max_tokens": 1024}}},
    "TokenCountRequest": {"plain": {"summary": "A question", "value": CHAT_EXAMPLE}},
    "EmbeddingRequest": {
        "plain": {"summary": "Two texts", "value": {"model": EMBEDDING_MODEL, "input": ["good", "evil"]}}
    },
}
