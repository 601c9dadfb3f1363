"""What the data plane reads of a request's headers, the same at every door."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nexus.errors import BodyTooLarge, InvalidRequest, NexusError, UnsupportedEncoding, UnsupportedMediaType

JSON = b"application/json"
_PLAIN_ENCODINGS = (b"", b"identity")
_VENDOR = frozenset((b"anthropic-version", b"anthropic-beta"))
_TOLD = _VENDOR | frozenset(
    (b"authorization", b"x-api-key", b"content-length", b"content-type", b"content-encoding", b"idempotency-key")
)
_IDEMPOTENCY_KEY = re.compile(rb"[\x20-\x7e]{1,255}\Z")


@dataclass(slots=True)
class RequestHead:
    """The headers that matter. `fault` is what is wrong with them, to be told once it is known who calls.

    Anthropic's clients give their key as `x-api-key`; where there is an `authorization`, that one counts.
    """

    authorization: bytes = b""
    idempotency_key: bytes | None = None
    vendor: tuple[tuple[bytes, bytes], ...] = ()  # of a vendor's dialect, for a provider that speaks it too
    fault: NexusError | None = None


def read_head(headers: Iterable[tuple[bytes, bytes]], *, max_body_bytes: int) -> RequestHead:
    """Read headers, whose names are in lower case. The first fault stands."""
    head = RequestHead()
    keys: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in _TOLD:
            continue
        if name in (b"authorization", b"x-api-key"):
            # Two of them are no key at all, rather than one that a proxy before us may not have seen.
            keys[name] = keys[name] + b", " + value if name in keys else value
        elif name in _VENDOR:
            head.vendor = (*head.vendor, (name, value))
        elif name == b"content-type":
            if value != JSON and not _is_json(value):
                head.fault = head.fault or _not_json(value)
        elif name == b"content-length":
            if value.isdigit() and int(value) > max_body_bytes:
                head.fault = head.fault or BodyTooLarge(max_body_bytes)
        elif name == b"idempotency-key":
            if head.idempotency_key is not None or not _IDEMPOTENCY_KEY.match(value):
                head.fault = head.fault or _bad_idempotency_key()
            head.idempotency_key = value
        elif value.strip().lower() not in _PLAIN_ENCODINGS:
            head.fault = head.fault or UnsupportedEncoding(value)
    head.authorization = keys.get(b"authorization") or (
        b"Bearer " + keys[b"x-api-key"] if b"x-api-key" in keys else b""
    )
    return head


def _bad_idempotency_key() -> InvalidRequest:
    return InvalidRequest(
        "`Idempotency-Key` must be one header of 1 to 255 printable ASCII characters.", param="Idempotency-Key"
    )


def _not_json(content_type: bytes) -> UnsupportedMediaType:
    told = content_type[:40].decode("ascii", "replace")
    return UnsupportedMediaType(f"The content type `{told}` is not supported: send `application/json`.")


def _is_json(content_type: bytes) -> bool:
    """Whether a content type is JSON's, whatever its parameters. An empty one says nothing and passes."""
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type in (b"", JSON)
