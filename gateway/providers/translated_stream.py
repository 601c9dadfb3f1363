"""The half of a stream decoder that is the same for every family whose stream is translated.

A family's decoder cuts the bytes into frames and reads each of them (`frames`, `take`); it says what it read by the
methods below, and this half writes OpenAI's chunks, holds them back until the first content, and knows whether the
answer is whole. The finish reason goes out with the end marker and not before: a stream that breaks between the two has
told its client no reason.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.providers.answers import ChunkWriter, FinishReason
from gateway.providers.base import Failure, FailureKind
from gateway.providers.chat import ToolCall
from gateway.schema import ModelRequest


class TranslatedStream(ABC):
    """Base of the decoders; see `StreamDecoder` for what the gateway asks of one."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._writer: ChunkWriter | None = None
        self._out: list[bytes] = []
        self._calls: dict[int, int] = {}  # choice -> tool calls so far
        self._reasons: dict[int, FinishReason] = {}
        self.content_bytes = 0
        self.committed = False
        self.finished = False
        self.failure: Failure | None = None
        self.usage: Usage | None = None

    # --- for the family

    @abstractmethod
    def frames(self, data: bytes) -> Iterable[Any]:
        """Return the frames that are complete now. An exception named in `bad_frames` is a broken stream."""

    @abstractmethod
    def take(self, frame: Any) -> None:
        """Read one frame and say what is in it."""

    def start(self, answer_id: str, model: str) -> None:
        """The answer's id and model; the first word stands. Not content."""
        if self._writer is None:
            self._writer = ChunkWriter(self._request, answer_id, model)

    def text(self, text: str, choice: int = 0, logprobs: Any = None) -> None:
        """What the model says, with the log-probabilities of its tokens where they were asked for."""
        if text:
            self.content_bytes += len(text)
            self._tell(self._write.text(choice, text, logprobs))

    def reasoning(self, text: str, choice: int = 0) -> None:
        if text:
            self.content_bytes += len(text)
            self._tell(self._write.reasoning(choice, text))

    def reasoning_detail(self, detail: dict[str, Any], choice: int = 0) -> None:
        """What must come back unchanged in the next request: a signature, or thought that is sealed."""
        self._tell(self._write.reasoning_detail(choice, detail))

    def tool_call(
        self, call_id: str, name: str, arguments: str = "", extra: dict[str, Any] | None = None, choice: int = 0
    ) -> int:
        """Begin a tool call, with as much of its arguments as is known; return its index for more of them."""
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        self.content_bytes += len(name) + len(arguments)
        self._tell(self._write.tool_call(choice, index, ToolCall(call_id, name, arguments, extra)))
        return index

    def arguments(self, index: int, fragment: str, choice: int = 0) -> None:
        """More of a call's arguments."""
        if fragment:
            self.content_bytes += len(fragment)
            self._tell(self._write.arguments(choice, index, fragment))

    def finish(self, reason: FinishReason, choice: int = 0) -> None:
        """Why a choice ended; told to the client with the end marker. The first word stands."""
        self._reasons.setdefault(choice, reason)

    def done(self) -> None:
        """The family's end marker has come."""
        if not self._reasons:
            self.fail(FailureKind.TRUNCATED, "The provider ended its stream without a finish reason.")
            return
        self._tell(self._write.end(self._reasons, self.usage))
        self.finished = True

    def fail(self, kind: FailureKind, message: str, **details: Any) -> None:
        """The stream is over and no answer."""
        self.failure = Failure(kind, message, **details)

    # --- for the gateway (see StreamDecoder)

    def feed(self, data: bytes) -> bytes:
        """Take upstream bytes; return the bytes for the client."""
        if self.finished or self.failure is not None:
            return b""
        try:
            for frame in self.frames(data):
                self.take(frame)
                if self.finished or self.failure is not None:
                    break
        except sse.EventTooLarge:
            self.fail(FailureKind.PROTOCOL, "The provider sent an event that is too large.")
        except BadFrame as error:
            self.fail(FailureKind.PROTOCOL, str(error))
        if not self.committed or not self._out:
            return b""
        told = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return told

    def end(self) -> Failure | None:
        """Say what is wrong with a body that ended here."""
        if self.failure is not None or self.finished:
            return self.failure
        what = "in mid-answer" if self.committed else "before any content"
        return Failure(FailureKind.TRUNCATED, f"The provider's stream ended {what}, without its end marker.")

    # --- its own

    @property
    def _write(self) -> ChunkWriter:
        if self._writer is None:
            self.start("", "")
        assert self._writer is not None
        return self._writer

    def _tell(self, told: bytes) -> None:
        if told:
            self.committed = True
            self._out.append(told)


class BadFrame(Exception):
    """Bytes that are not the family's stream; the message says so in words of ours."""


class EventStream(TranslatedStream):
    """A translated stream of server-sent events, each of which holds JSON. `take` gets the decoded data."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__(request)
        self._splitter = sse.EventSplitter()

    def decode(self, data: bytes) -> Any:
        """Return what `take` gets. Raises msgspec.DecodeError."""
        return msgspec.json.decode(data)

    def frames(self, data: bytes) -> Iterable[Any]:
        for event in sse.events(self._splitter.feed(data)):
            text = sse.data_of(event)
            if text and text != sse.DONE:
                try:
                    yield self.decode(text)
                except (msgspec.DecodeError, RecursionError):
                    raise BadFrame("The provider sent an event that is not what its API describes.") from None
            elif text:
                self.take_done()

    def take_done(self) -> None:
        """`[DONE]` has come, which for most families means nothing."""
