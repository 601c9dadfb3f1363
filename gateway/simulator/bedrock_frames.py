"""Amazon's event stream encoding: each event is a binary frame with headers, a payload and two checksums.

Wire facts: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
import zlib
from typing import Any

import msgspec

from gateway.simulator.dialect import Event, Kind

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_STRING = b"\x07"


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Return a frame; all headers are strings."""
    packed = b"".join(
        bytes((len(name),)) + name.encode() + _STRING + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(kind: Kind, name: str, content: dict[str, Any]) -> Event:
    """Return an event, with the padding by which Bedrock hides how long its text is."""
    payload = msgspec.json.encode(content)
    padded = msgspec.json.encode({**content, "p": _PADDING[: zlib.crc32(payload) % len(_PADDING) + 1]})
    return Event(kind, event_frame(name, padded))


def event_frame(name: str, payload: bytes) -> bytes:
    return frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception_frame(name: str, content: dict[str, Any]) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, msgspec.json.encode(content))
