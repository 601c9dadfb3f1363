"""What can go wrong between the gateway and an upstream.

Messages are constant words: they reach logs and `error.nexus.attempts`, where no URL, host or header may appear.

    TransportError
    |- AddressRefused      the address rules forbid the host
    |- ConnectFailed       no address took the connection, or TLS failed
    |- ConnectTimedOut     connecting took too long
    |- ReadTimedOut        the upstream was silent past the deadline
    |- ConnectionBroken    the connection ended before the response did
    `- BadResponse         what came is not a response that we can read
"""

from typing import ClassVar


class TransportError(Exception):
    """One try at an upstream failed; `error_class` is the word for it in logs and in the request record."""

    error_class: ClassVar[str] = "transport_error"


class AddressRefused(TransportError):
    """The host has an address that the gateway must not dial; `host` and `reason` say which and why."""

    error_class = "address_refused"

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(
            f"The upstream's address is refused: {reason}. "
            "If it is meant, name the host in NEXUS_ALLOW_PRIVATE_PROVIDERS."
        )
        self.host = host
        self.reason = reason


class ConnectFailed(TransportError):
    error_class = "connect_error"


class ConnectTimedOut(TransportError):
    error_class = "connect_timeout"


class ReadTimedOut(TransportError):
    error_class = "read_timeout"


class ConnectionBroken(TransportError):
    """The connection ended too early; `response_started` tells whether any byte of the response had arrived."""

    error_class = "connection_broken"

    def __init__(self, message: str, *, response_started: bool) -> None:
        super().__init__(message)
        self.response_started = response_started


class ServiceStops(TransportError):
    """Not the upstream's failure: this process must end."""

    error_class = "service_stopping"


class BadResponse(TransportError):
    error_class = "bad_response"
