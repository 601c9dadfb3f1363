"""An adapter and its family's simulator in one process, without a wire between them."""

import json
from typing import Any
from urllib.parse import unquote

from gateway import sse
from gateway.providers.base import Adapter, Completion, Failure, StreamDecoder, Target
from gateway.schema import Endpoint, ModelRequest, parse
from gateway.simulator.dialect import Circumstances, Dialect, Refused, Reply, Request, Stream

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello there"}]
CIRCUMSTANCES = Circumstances(
    now=1_700_000_000, token="5" * 32, latency_ms=0, giant=False, with_usage=True, seen_before=lambda _: False
)


def function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = function("weather", city={"type": "string"})
TIME = function("time", zone={"enum": ["UTC", "CET"]})
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def request(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> ModelRequest:
    content: dict[str, Any] = {"messages": HELLO} if endpoint is Endpoint.CHAT else {}
    return parse(endpoint, json.dumps({"model": "public-name", **content, **body}).encode())


class RoundTrip:
    """One family: what is sent, and what comes back."""

    def __init__(self, adapter: Adapter, dialect: Dialect, model: str) -> None:
        self.adapter = adapter
        self._dialect = dialect
        self._model = model

    def target(self, path: str = "", model: str = "", **options: Any) -> Target:
        return Target(path, "key", model or self._model, options)

    def sent(self, asked: ModelRequest, **options: Any) -> dict[str, Any]:
        """Return the body that goes upstream."""
        body: dict[str, Any] = json.loads(self.adapter.build_request(asked, self.target(**options)).body)
        return body

    def dropped(self, asked: ModelRequest) -> set[str]:
        return set(self.adapter.build_request(asked, self.target(drop_unsupported=True)).dropped)

    def reply(self, asked: ModelRequest, **options: Any) -> Reply | Stream:
        """Return what the simulator says to a request; a refusal is a reply too."""
        built = self.adapter.build_request(asked, self.target(**options))
        path, _, query = built.path.decode().partition("?")
        headers = {name.decode(): value.decode() for name, value in built.headers}
        received = Request("POST", unquote(path), query, headers, built.body, path)
        try:
            if self.adapter.sign is None:  # a signature needs the time and the host
                self._dialect.authenticate(received, "key")
            return self._dialect.answer(received, self._dialect.look(received), CIRCUMSTANCES)
        except Refused as refused:
            return refused.reply

    def answer(self, asked: ModelRequest, **options: Any) -> dict[str, Any]:
        """Return a whole answer as the client gets it."""
        completion = self.outcome(asked, **options)
        assert isinstance(completion, Completion), completion
        told: dict[str, Any] = json.loads(completion.body)
        return told

    def outcome(self, asked: ModelRequest, **options: Any) -> Completion | Failure:
        reply = self.reply(asked, **options)
        assert isinstance(reply, Reply)
        if reply.status != 200:
            return self.adapter.parse_error(reply.status, (), reply.body)
        return self.adapter.parse_response(asked, reply.body)

    def stream(self, asked: ModelRequest, **options: Any) -> bytes:
        """Return a stream's bytes as the provider sends them."""
        reply = self.reply(asked, **options)
        assert isinstance(reply, Stream), reply
        return b"".join(event.wire for event in reply.events)

    def streamed(self, asked: ModelRequest, **options: Any) -> tuple[StreamDecoder, list[Any]]:
        """Return a stream's decoder at its end, and the chunks that the client gets."""
        decoder = self.adapter.stream_decoder(asked)
        return decoder, chunks_of(decoder.feed(self.stream(asked, **options)))


def chunks_of(data: bytes) -> list[Any]:
    told = [sse.data_of(event) for event in sse.events(data)]
    return [json.loads(text) if text != sse.DONE else "DONE" for text in told]


def joined(chunks: list[Any], member: str = "content") -> str:
    """Return what the deltas of a stream say in one member."""
    choices = [choice for chunk in chunks if chunk != "DONE" for choice in chunk["choices"]]
    return "".join(choice["delta"].get(member) or "" for choice in choices)
