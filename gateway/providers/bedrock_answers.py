"""Converse's answers and ConverseStream's events, as OpenAI's clients read them. Pure.

Wire facts: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.providers.answers import FinishReason, Said, completion
from gateway.providers.base import Completion, Failure, FailureKind
from gateway.providers.bedrock_embeddings import parse_embeddings
from gateway.providers.bedrock_errors import exception_failure
from gateway.providers.bedrock_messages import FORMAT
from gateway.providers.bedrock_request import JSON_TOOL
from gateway.providers.chat import ToolCall
from gateway.providers.event_stream import Frame, FrameSplitter
from gateway.providers.translated_stream import BadFrame, TranslatedStream
from gateway.schema import Endpoint, ModelRequest

_ENDS = frozenset(("messageStop", "metadata"))
_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


class _Usage(msgspec.Struct):
    inputTokens: int = 0  # noqa: N815  # without those of the cache
    outputTokens: int = 0  # noqa: N815
    cacheReadInputTokens: int | None = 0  # noqa: N815
    cacheWriteInputTokens: int | None = 0  # noqa: N815


class _Message(msgspec.Struct):
    content: list[dict[str, Any]]


class _Output(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    output: _Output
    stopReason: str  # noqa: N815
    usage: _Usage | None = None


class _Complaint(msgspec.Struct):
    message: str


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_complaint = msgspec.json.Decoder(_Complaint).decode
_encode = msgspec.json.encode


def parse_response(request: ModelRequest, body: bytes) -> Completion | Failure:
    """Return the answer as a completion, or as embeddings; a failure for a 200 that is not an answer."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return parse_embeddings(request, body)
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        return _complaint_in(body)
    failure = _malformed(answer.stopReason)
    if failure is not None:
        return failure
    usage = _usage(answer.usage)
    try:
        said = _said(answer)
    except (KeyError, TypeError, AttributeError):
        return Failure(FailureKind.PROTOCOL, "The provider sent content that Converse does not describe.")
    return Completion(completion(request, "", "", [said], usage), usage)


def _said(answer: _Answer) -> Said:
    """Collect what the blocks say. Raises KeyError, TypeError or AttributeError for blocks of a wrong shape."""
    said = Said(_FINISH.get(answer.stopReason, "stop"), reasoning_details=[], tool_calls=[])
    for index, block in enumerate(answer.output.message.content):
        if "text" in block:
            said.text += block["text"]
        elif "toolUse" in block:
            use = block["toolUse"]
            arguments = _encode(use.get("input", {})).decode()
            if use["name"] == JSON_TOOL:
                said.text += arguments
            else:
                said.tool_calls.append(ToolCall(use["toolUseId"], use["name"], arguments))
        elif "reasoningContent" in block:
            _add_reasoning(said, block["reasoningContent"], index)
    if said.finish_reason == "tool_calls" and not said.tool_calls:
        said.finish_reason = "stop"
    return said


def _add_reasoning(said: Said, content: dict[str, Any], index: int) -> None:
    if "redactedContent" in content:
        said.reasoning_details.append(_encrypted(content["redactedContent"], index))
        return
    reasoning = content["reasoningText"]
    said.reasoning += reasoning["text"]
    if reasoning.get("signature"):
        said.reasoning_details.append(_signed(reasoning["text"], reasoning["signature"], index))


def _signed(text: str, signature: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": FORMAT, "index": index}


def _encrypted(data: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, "format": FORMAT, "index": index}


def _malformed(stop_reason: str) -> Failure | None:
    if not stop_reason.startswith("malformed_"):
        return None
    return Failure(FailureKind.SERVER, "The model's answer was malformed.", status=200, code=stop_reason)


def _complaint_in(body: bytes) -> Failure:
    try:
        message = _decode_complaint(body).message
    except (msgspec.DecodeError, RecursionError):
        return Failure(FailureKind.PROTOCOL, "The provider answered 200 with a body that is not a Converse answer.")
    return Failure(FailureKind.SERVER, message, status=200)


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    read, written = usage.cacheReadInputTokens or 0, usage.cacheWriteInputTokens or 0
    return Usage(
        input_tokens=usage.inputTokens + read + written,
        output_tokens=usage.outputTokens,
        cached_tokens=read,
        cache_write_tokens=written,
    )


# --- streams


class BedrockStream(TranslatedStream):
    """Reads ConverseStream's events. The answer is whole when both `messageStop` and `metadata` have come."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__(request)
        self._splitter = FrameSplitter()
        self._calls_by_block: dict[int, int] = {}  # block -> index of its call
        self._without_arguments: set[int] = set()  # blocks whose call has none so far
        self._json_blocks: set[int] = set()
        self._thoughts: dict[int, tuple[str, str]] = {}  # block -> text, signature
        self._ends: set[str] = set()  # of the two events that end an answer, those that have come

    def frames(self, data: bytes) -> list[Frame]:
        return self._splitter.feed(data)

    def take(self, frame: Frame) -> None:
        kind = frame.headers.get(":message-type")
        if kind == "event":
            try:
                self._take_event(frame.headers.get(":event-type", ""), msgspec.json.decode(frame.payload or b"{}"))
            except (msgspec.DecodeError, RecursionError, KeyError, TypeError, AttributeError):
                raise BadFrame("The provider sent an event that ConverseStream does not describe.") from None
        elif kind in ("exception", "error"):
            self.failure = exception_failure(frame.headers, frame.payload)
        # Other kinds of message are to be passed over.

    def _take_event(self, name: str, event: dict[str, Any]) -> None:
        match name:
            case "contentBlockStart" if "toolUse" in event["start"]:
                self._start_call(event["contentBlockIndex"], event["start"]["toolUse"])
            case "contentBlockDelta":
                self._take_delta(event["contentBlockIndex"], event["delta"])
            case "contentBlockStop":
                self._stop_block(event["contentBlockIndex"])
            case "messageStop":
                self._stop_message(event["stopReason"])
            case "metadata":
                usage = event.get("usage")
                if usage is not None:
                    self.usage = _usage(msgspec.convert(usage, _Usage))
        if name in _ENDS and self.failure is None:
            self._ends.add(name)
            if len(self._ends) == len(_ENDS):
                self.done()

    def _start_call(self, block: int, use: dict[str, Any]) -> None:
        self._without_arguments.add(block)
        if use["name"] == JSON_TOOL:
            self._json_blocks.add(block)
        else:
            self._calls_by_block[block] = self.tool_call(use["toolUseId"], use["name"])

    def _take_delta(self, block: int, delta: dict[str, Any]) -> None:
        if "text" in delta:
            self.text(delta["text"])
        elif "toolUse" in delta:
            self._add_arguments(block, delta["toolUse"]["input"])
        elif "reasoningContent" in delta:
            self._take_thought(block, delta["reasoningContent"])

    def _add_arguments(self, block: int, fragment: str) -> None:
        if not fragment:
            return
        self._without_arguments.discard(block)
        if block in self._json_blocks:
            self.text(fragment)
        else:
            self.arguments(self._calls_by_block[block], fragment)

    def _take_thought(self, block: int, thought: dict[str, str]) -> None:
        if "redactedContent" in thought:
            self.reasoning_detail(_encrypted(thought["redactedContent"], block))
            return
        text, signature = self._thoughts.get(block, ("", ""))
        self._thoughts[block] = (text + thought.get("text", ""), signature + thought.get("signature", ""))
        self.reasoning(thought.get("text", ""))

    def _stop_block(self, block: int) -> None:
        if block in self._without_arguments:
            self._add_arguments(block, "{}")
        text, signature = self._thoughts.pop(block, ("", ""))
        if signature:
            self.reasoning_detail(_signed(text, signature, block))

    def _stop_message(self, stop_reason: str) -> None:
        self.failure = _malformed(stop_reason)
        reason = _FINISH.get(stop_reason, "stop")
        if reason == "tool_calls" and not self._calls_by_block:
            reason = "stop"  # the call was ours, for the sake of its JSON
        self.finish(reason)
