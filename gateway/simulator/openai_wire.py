"""What OpenAI's endpoints have in common on the wire: events, stream options, the prompt cache."""

import zlib
from typing import Any

import msgspec

from gateway.simulator import openai_members as members
from gateway.simulator.dialect import Circumstances, Event, Kind
from gateway.simulator.openai_errors import invalid
from gateway.simulator.openai_members import Body

FINGERPRINT = "fp_simulated"
CACHE_STEP = 128  # tokens; what is cached is rounded down to it
DONE = Event(Kind.DONE, b"data: [DONE]\n\n")


def event(kind: Kind, data: bytes) -> Event:
    return Event(kind, b"data: %b\n\n" % data)


def stream_options(body: Body) -> Body:
    """Return the stream options, empty where there are none. Raises Refused."""
    members.boolean(body, "stream")
    options = members.mapping(body, "stream_options")
    if options is not None and not body.get("stream"):
        raise invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    return options or {}


def obfuscation(delta: bytes) -> bytes:
    """Return the member that hides a chunk's size: a fixed function of the chunk."""
    return b',"obfuscation":"%b"' % (b"Sim0lated" * 4)[: zlib.crc32(delta) % 32 + 1]


def cached_tokens(prompt_tokens: int, model: str, prompt: Any, circumstances: Circumstances, *, least: int) -> int:
    """Return how many of a prompt's tokens are cached: most of them, if the same long prompt was seen before."""
    if prompt_tokens <= least or not circumstances.seen_before(msgspec.json.encode([model, prompt])):
        return 0
    return prompt_tokens // CACHE_STEP * CACHE_STEP
