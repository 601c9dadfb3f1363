"""What a client's API is to the gateway: a record of pure functions, from its requests to chat and from parts back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from billing.pricing import Usage
from gateway.providers.answers import FinishReason, Said
from gateway.providers.chat import ToolCall
from gateway.schema import Endpoint, ModelRequest


class StreamWriter(Protocol):
    """Writes the events of one stream. A method returns bytes for the client, or none if its API has no word for it."""

    def text(self, choice: int, text: str) -> bytes: ...
    def reasoning(self, choice: int, text: str) -> bytes: ...
    def reasoning_detail(self, choice: int, detail: dict[str, Any]) -> bytes: ...
    def tool_call(self, choice: int, index: int, call: ToolCall) -> bytes: ...
    def arguments(self, choice: int, index: int, fragment: str) -> bytes: ...
    def end(self, reasons: Mapping[int, FinishReason], usage: Usage | None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API that clients speak."""

    endpoint: Endpoint
    chat_payload: Callable[[dict[str, Any]], dict[str, Any]]  # the body as chat; raises InvalidRequest, Unsupported
    answer: Callable[[ModelRequest, str, str, list[Said], Usage | None], bytes]  # id, model, choices, usage
    writer: Callable[[ModelRequest, str, str], StreamWriter]  # id, model
    error_event: Callable[[dict[str, Any]], bytes]  # the gateway's error, given in OpenAI's shape, in mid-stream
