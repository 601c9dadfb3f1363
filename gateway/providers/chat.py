"""A chat request in parts, for the families that do not speak OpenAI's language. Pure.

`parse_chat` reads what https://platform.openai.com/docs/api-reference/chat/create describes, once and strictly: what a
translation would have to guess is an InvalidRequest that names the member. What a family cannot honour it leaves to
`unhonoured`, which refuses it or has it dropped.
"""

from typing import Any, Literal, cast

import msgspec

from gateway.providers.base import Unsupported
from gateway.schema import Endpoint, ModelRequest
from nexus.errors import InvalidRequest

Role = Literal["system", "user", "assistant", "tool"]
ToolMode = Literal["auto", "none", "required", "named"]

_ALWAYS = frozenset(("model", "messages", "prompt", "stream", "stream_options"))
# Members that change nothing about the answer's content: a family without them leaves them out.
_HINTS = frozenset(
    ("user", "safety_identifier", "metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention")
)
# Given with these values they ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "parallel_tool_calls": (True,),
    "tool_choice": ("auto", "none"),
    "logit_bias": ({},),
    "tools": ([],),
    "stop": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
}


class Text(msgspec.Struct, frozen=True):
    """A piece of text; never empty. `cache_control` is Anthropic's mark for the end of what it shall remember."""

    text: str
    cache_control: dict[str, Any] | None = None


class Image(msgspec.Struct, frozen=True):
    """An image: by its address, or its media type with its bytes in Base64."""

    url: str = ""
    media_type: str = ""
    data: str = ""
    cache_control: dict[str, Any] | None = None


Part = Text | Image


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model made. `arguments` is JSON as the model wrote it; `extra` is what a family hung on it."""

    id: str
    name: str
    arguments: str
    extra: dict[str, Any] | None = None

    def input(self) -> dict[str, Any]:
        """Return the arguments as an object, for families that want one. Raises InvalidRequest."""
        try:
            value = msgspec.json.decode(self.arguments) if self.arguments.strip() else {}
        except (msgspec.DecodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InvalidRequest(
                f"The arguments of the tool call `{self.id}` are not a JSON object, which this provider requires.",
                param="messages",
            )
        return value


class Message(msgspec.Struct, frozen=True):
    """One message. `reasoning` is what a model thought, as its family gave it (`reasoning_details`)."""

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    reasoning: tuple[dict[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """All its text, the pieces one after the other."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; without a schema it takes no arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    mode: ToolMode
    name: str = ""  # of the function, for `named`


class JsonOutput(msgspec.Struct, frozen=True):
    """The answer shall be JSON; without a schema, any object."""

    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class Chat(msgspec.Struct, frozen=True):
    """A chat request; None and empty mean: not given."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    json_output: JsonOutput | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    seed: int | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    called: dict[str, str] = {}  # tool call id -> function
    payload: dict[str, Any] = {}

    @property
    def system(self) -> tuple[str, ...]:
        """The texts of system and developer messages, wherever they stand."""
        return tuple(message.text for message in self.messages if message.role == "system" and message.text)

    @property
    def turns(self) -> tuple[Message, ...]:
        """All other messages."""
        return tuple(message for message in self.messages if message.role != "system")

    def tool_name(self, call_id: str) -> str:
        """Return the function that a call named. Raises InvalidRequest for a result without a call."""
        name = self.called.get(call_id)
        if name is not None:
            return name
        raise InvalidRequest(f"No assistant message before it has a tool call `{call_id}`.", param="messages")

    def unhonoured(self, honoured: frozenset[str], *, drop: bool) -> tuple[str, ...]:
        """Return the names of given members beside `honoured`, which are to be left out.

        Hints always are; any other only if `drop`, else Unsupported is raised for it.
        """
        left = []
        for name, value in self.payload.items():
            if name in honoured or name in _ALWAYS or value is None or value in _NEUTRAL.get(name, ()):
                continue
            if not drop and name not in _HINTS:
                raise Unsupported(name)
            left.append(name)
        return tuple(left)


class _Url(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | str | None = None
    cache_control: dict[str, Any] | None = None


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] = ""


class _Call(msgspec.Struct):
    id: str
    function: _CalledFunction
    extra_content: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Named(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    function: _Named


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _Request(msgspec.Struct):
    messages: list[_Message]
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    user: str | None = None


def chat_of(request: ModelRequest) -> Chat:
    """Return a request as a chat; the prompt of a legacy completion is what its user says.

    Raises InvalidRequest, and Unsupported for what is no chat and for content that no translated family takes.
    """
    if request.endpoint is Endpoint.EMBEDDINGS:
        raise Unsupported("model", "The provider that serves this model has no embeddings.")
    if request.endpoint is Endpoint.CHAT:
        return parse_chat(request.payload)
    prompt = request.payload.get("prompt")
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if len(prompts) != 1 or not isinstance(prompts[0], str) or not prompts[0]:
        raise Unsupported("prompt", "The provider that serves this model takes one prompt, as a text.")
    return parse_chat({**request.payload, "messages": [{"role": "user", "content": prompts[0]}]})


def parse_chat(payload: dict[str, Any]) -> Chat:
    """Read the body of a chat request. Raises InvalidRequest, and Unsupported."""
    try:
        read = msgspec.convert(payload, _Request)
    except msgspec.ValidationError as error:
        sentence, _, where = str(error).partition(" - at ")
        path = where.strip("`").removeprefix("$").removeprefix(".") or None
        raise InvalidRequest(f"{sentence}{f' (`{path}`)' if path else ''}.", param=path) from None
    most = read.max_tokens if read.max_completion_tokens is None else read.max_completion_tokens
    stop = read.stop if isinstance(read.stop, list) else [read.stop] if read.stop else []
    messages = tuple(_message(message, at) for at, message in enumerate(read.messages))
    return Chat(
        messages=messages,
        tools=tuple(_tool(tool, at) for at, tool in enumerate(read.tools or ())),
        tool_choice=_tool_choice(read.tool_choice),
        parallel_tool_calls=read.parallel_tool_calls,
        json_output=_json_output(read.response_format),
        max_tokens=most,
        temperature=read.temperature,
        top_p=read.top_p,
        stop=tuple(stop),
        n=1 if read.n is None else read.n,
        seed=read.seed,
        reasoning_effort=read.reasoning_effort,
        user=read.user,
        called={call.id: call.name for message in messages for call in message.tool_calls},
        payload=payload,
    )


def _message(read: _Message, at: int) -> Message:
    where = f"messages[{at}]"
    if read.role == "function":
        raise InvalidRequest("Messages of the role `function` were replaced by `tool`.", param=f"{where}.role")
    role: Role = "system" if read.role == "developer" else read.role
    if role == "tool" and not read.tool_call_id:
        raise InvalidRequest("A tool's message must say its `tool_call_id`.", param=f"{where}.tool_call_id")
    if read.tool_calls and role != "assistant":
        raise InvalidRequest("Only an assistant's message has `tool_calls`.", param=f"{where}.tool_calls")
    content = read.content
    if isinstance(content, str):
        parts: tuple[Part, ...] = (Text(content),) if content else ()
    else:
        pieces = (_part(part, f"{where}.content[{number}]") for number, part in enumerate(content or ()))
        parts = tuple(piece for piece in pieces if piece is not None)
    if role != "user" and any(isinstance(part, Image) for part in parts):
        raise Unsupported(f"{where}.content", "Only a user's message may show an image.")
    if read.refusal and not parts:
        parts = (Text(read.refusal),)
    return Message(
        role=role,
        parts=parts,
        tool_calls=tuple(_call(call) for call in read.tool_calls or ()),
        tool_call_id=read.tool_call_id or "",
        reasoning=tuple(read.reasoning_details or ()),
    )


def _part(read: _Part, where: str) -> Part | None:
    match read.type:
        case "text":
            return Text(read.text, read.cache_control) if read.text else None
        case "refusal":
            return Text(read.refusal) if read.refusal else None
        case "image_url" if read.image_url is not None:
            image = _image(read.image_url if isinstance(read.image_url, str) else read.image_url.url, where)
            return msgspec.structs.replace(image, cache_control=read.cache_control) if read.cache_control else image
        case "image_url":
            raise InvalidRequest("An image must have an `image_url`.", param=where)
    raise Unsupported(where, f"This provider cannot take content of the type `{read.type}`.")


def _image(url: str, where: str) -> Image:
    """Return an image by its address: https, http, or a data URL (RFC 2397) in Base64."""
    if url.startswith(("https://", "http://")):
        return Image(url=url)
    head, comma, data = url.partition(",")
    media_type, _, encoding = head.removeprefix("data:").partition(";")
    if not head.startswith("data:image/") or not comma or encoding != "base64" or not data:
        raise InvalidRequest(
            "The image must be an https address or `data:image/…;base64,…`.", param=f"{where}.image_url"
        )
    return Image(media_type=media_type, data=data)


def _call(read: _Call) -> ToolCall:
    arguments = read.function.arguments
    if not isinstance(arguments, str):  # some clients send an object
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(read.id, read.function.name, arguments, read.extra_content)


def _tool(read: _Tool, at: int) -> Tool:
    if read.type != "function" or read.function is None:
        raise Unsupported(f"tools[{at}]", f"This provider has no tools of the type `{read.type}`, only functions.")
    function = read.function
    return Tool(function.name, function.description, function.parameters, function.strict)


def _tool_choice(read: str | _Choice | None) -> ToolChoice | None:
    if read is None:
        return None
    if isinstance(read, _Choice):
        return ToolChoice("named", read.function.name)
    return ToolChoice(cast(ToolMode, read))


def _json_output(read: _Format | None) -> JsonOutput | None:
    if read is None or read.type == "text":
        return None
    if read.type == "json_object":
        return JsonOutput()
    if read.json_schema is None or read.json_schema.schema is None:
        raise InvalidRequest("`json_schema` must hold a `schema`.", param="response_format.json_schema")
    return JsonOutput(read.json_schema.schema, read.json_schema.name, read.json_schema.strict)
