"""What every provider family is to the gateway: a record of pure functions, and the values they exchange.

The canonical form is OpenAI's wire format, since that is what clients speak: an adapter turns a parsed request into one
upstream request, and the upstream's answer back into OpenAI's bytes. Adapters open no sockets and know no Django.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from billing.pricing import Usage
from gateway.schema import Endpoint, ModelRequest
from nexus.errors import InvalidRequest

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What an adapter may know about the connection it builds a request for."""

    base_path: str  # path part of the base URL, without trailing slash
    api_key: str
    upstream_model: str
    options: Mapping[str, Any]
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)  # what an adapter derived from it


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One POST to the upstream: path, headers without Host and Content-Length, body."""

    path: bytes
    headers: Headers
    body: bytes
    dropped: tuple[str, ...] = ()  # members of the client's request that the family cannot honour


class Unsupported(InvalidRequest):
    """A family cannot do what the request asks for. Another may: the gateway tries the next candidate first."""

    def __init__(self, param: str, message: str = "") -> None:
        super().__init__(
            message
            or f"The provider that serves this model cannot honour `{param}`. Leave it out, or set `drop_unsupported` "
            "among the connection's options.",
            param=param,
        )


class FailureKind(StrEnum):
    """Why an attempt failed, in classes that decide what happens next."""

    REQUEST = "bad_request"  # the client's request is at fault: it gets the upstream's words
    UNSUPPORTED = "unsupported"  # nothing is wrong with it, but this family cannot do it
    AUTH = "auth"  # our credential is at fault: try another connection
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota_exhausted"  # a rate limit that waiting does not cure
    SERVER = "server_error"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"  # our own total deadline, while the provider was still within its time
    CONNECTION = "connection"
    TRUNCATED = "truncated"  # ended without the family's terminal marker
    PROTOCOL = "bad_response"  # not what the family's API answers


_BREAKER_KINDS = frozenset(
    (
        FailureKind.SERVER,
        FailureKind.TIMEOUT,
        FailureKind.CONNECTION,
        FailureKind.TRUNCATED,
        FailureKind.PROTOCOL,
    )
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: its class, and what the upstream said, for the log and for the client."""

    kind: FailureKind
    message: str
    status: int | None = None  # the upstream's HTTP status, where it answered one
    type: str | None = None
    param: str | None = None
    code: str | None = None
    retry_after_seconds: float | None = None
    word: str | None = None  # a finer word than the kind's, for the log

    @property
    def moves_on(self) -> bool:
        """Whether another candidate may do better."""
        return self.kind not in (FailureKind.REQUEST, FailureKind.DEADLINE)

    @property
    def counts_for_breaker(self) -> bool:
        """Whether the provider is to blame. A 4xx never is: it says that the request or the credential is wrong."""
        return self.kind in _BREAKER_KINDS

    @property
    def may_repeat(self) -> bool:
        """Whether the same candidate may be asked once more after a pause."""
        return self.moves_on and self.kind not in (FailureKind.AUTH, FailureKind.QUOTA, FailureKind.UNSUPPORTED)

    @property
    def fate(self) -> str:
        """The word for `x-nexus-route` and the attempts: the status, or the class where there was none."""
        if self.status is not None and self.status != 200:
            return str(self.status)
        return self.word or self.kind.value


class Completion(msgspec.Struct, frozen=True):
    """A whole answer: the bytes for the client, and what they cost."""

    body: bytes
    usage: Usage | None


class StreamDecoder(Protocol):
    """Turns the upstream's bytes into events for the client, and knows how far the answer has come.

    `feed` returns the bytes that may go to the client now: nothing before the first content, whole events after it.
    Once `failure` is set nothing more is returned. `finished` is set by the family's terminal marker alone.
    """

    @property
    def committed(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def content_bytes(self) -> int:
        """Of generated text so far, about: for an estimate when no usage came."""
        ...

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> Failure | None:
        """Say what is wrong if the upstream's body ended here, cleanly; None after the terminal marker."""
        ...


class ModelsRequest(msgspec.Struct, frozen=True):
    """One GET that lists a vendor's models: it costs nothing, needs the key, and so tests a connection."""

    path: bytes
    headers: Headers


class Sign(Protocol):
    """Signs a built request for the moment at which it is sent, and for the host that it is sent to."""

    def __call__(
        self, request: UpstreamRequest, target: Target, *, host: bytes, now: float, method: bytes = b"POST"
    ) -> UpstreamRequest:
        """Return the signed request; `host` is the Host header, `now` seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """One provider family."""

    family: str
    default_base_url: str
    build_request: Callable[[ModelRequest, Target], UpstreamRequest]
    parse_response: Callable[[ModelRequest, bytes], Completion | Failure]
    stream_decoder: Callable[[ModelRequest], StreamDecoder]
    parse_error: Callable[[int, Headers, bytes], Failure]
    models_request: Callable[[Target], ModelsRequest]
    parse_models: Callable[[bytes], Sequence[str]]  # the upstream names; raises ValueError
    sign: Sign | None = None  # where the credential is a signature, which needs to know when and where
    speaks: frozenset[Endpoint] = frozenset((Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS))
    models_host: Callable[[str], str] | None = None  # from the base URL's host, where another one has the list
    # Where the vendor's own address depends on more than a region: from the options to it.
    own_base_url: Callable[[Mapping[str, Any]], str] | None = None
