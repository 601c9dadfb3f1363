"""Checks of a request's contents, and what of them matters for the answer."""

from collections.abc import Iterator

from gateway.simulator.gemini_errors import invalid
from gateway.simulator.gemini_messages import Body, decoded_base64

_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult")
_MIME_TYPES = frozenset(
    (
        *("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "application/pdf", "text/plain"),
        *("audio/wav", "audio/mp3", "audio/aac", "audio/ogg", "audio/flac", "video/mp4", "video/webm"),
    )
)


def check_contents(contents: list[Body] | None) -> list[Body]:
    """Return the contents. Raises Refused."""
    if not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    for index, content in enumerate(contents):
        where = f"GenerateContentRequest.contents[{index}]"
        if content.get("role", "user") not in ("user", "model", "function"):
            raise invalid("Please use a valid role: user, model.")
        parts = content.get("parts")
        if not parts:
            raise invalid(f"* {where}.parts: contents.parts must not be empty.\n")
        for number, part in enumerate(parts):
            _check_part(part, f"{where}.parts[{number}]")
    return contents


def said_in(content: Body) -> tuple[str, bool]:
    """Return a content's text, and whether it is a function's result."""
    results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    if results:
        return "\n".join(_result_text(result.get("response", {})) for result in results), True
    return "\n".join(part["text"] for part in content["parts"] if "text" in part), False


def images_of(content: Body) -> Iterator[str]:
    """Describe each image of a content."""
    for part in content.get("parts", ()):
        if "inlineData" in part:
            blob = part["inlineData"]
            yield f"{blob['mimeType']}, {len(decoded_base64(blob['data']))} bytes"
        elif "fileData" in part:
            yield part["fileData"].get("fileUri", "")


def _result_text(response: Body) -> str:
    """Return what a function said: models read `output`, `result` or `error`, and else the whole."""
    for name in ("output", "result", "error"):
        if isinstance(response.get(name), str):
            return str(response[name])
    return str(response)


def _check_part(part: Body, where: str) -> None:
    held = [name for name in _DATA if name in part]
    if not held:
        raise invalid(f"* {where}.data: required oneof field 'data' must have one initialized field\n")
    if len(held) > 1:
        raise invalid(f"Invalid value at '{where}' (oneof), oneof field 'data' is already set. Cannot set '{held[1]}'")
    blob = part.get("inlineData")
    if blob is not None:
        if blob.get("mimeType") not in _MIME_TYPES:
            raise invalid(f"Unsupported MIME type: {blob.get('mimeType', '')}")
        if not blob.get("data"):
            raise invalid(f"* {where}.inline_data.data: required field must be set.\n")
    for name, snake in (("functionCall", "function_call"), ("functionResponse", "function_response")):
        if name in part and not part[name].get("name"):
            raise invalid(f"* {where}.{snake}.name: Name cannot be empty.\n")
    if "functionResponse" in part and "response" not in part["functionResponse"]:
        raise invalid(f"* {where}.function_response.response: required field must be set.\n")
