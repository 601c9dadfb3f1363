"""Headers that requests to several families share."""

from gateway.providers.base import Headers, Target

UNCOMPRESSED: Headers = ((b"accept-encoding", b"identity"), (b"user-agent", b"nexus"))


def bearer_headers(target: Target) -> Headers:
    """Return what every request has where the credential is a bearer token, or none is needed."""
    if not target.api_key:
        return UNCOMPRESSED
    return (*UNCOMPRESSED, (b"authorization", b"Bearer " + target.api_key.encode()))


def key_headers(target: Target, name: bytes) -> Headers:
    """The same where the key has a header of its own."""
    return (*UNCOMPRESSED, (name, target.api_key.encode())) if target.api_key else UNCOMPRESSED


def json_headers(identity: Headers, *, stream: bool) -> Headers:
    """Return the headers of a request with a JSON body."""
    accept = b"text/event-stream" if stream else b"application/json"
    return ((b"content-type", b"application/json"), (b"accept", accept), *identity)
