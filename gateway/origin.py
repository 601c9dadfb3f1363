"""Where a request goes and how its head is written: pure functions over bytes, no sockets."""

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")
_PRINTABLE = re.compile(r"[\x21-\x7e]+\Z")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+\Z")
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding"})
_BODILESS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})


class Origin(NamedTuple):
    """A server: `scheme` is http, https or unix; for unix, `host` is the path of the socket and `port` 0."""

    scheme: str
    host: str
    port: int

    @property
    def host_header(self) -> bytes:
        """The value of the Host header: brackets around IPv6, no port where it is the scheme's own."""
        if self.scheme == "unix":
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host.encode() if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}".encode()


def parse_base_url(url: str) -> tuple[Origin, str]:
    """Split a provider's base URL into its origin and its path prefix, which has no trailing slash.

    Raises ValueError with a sentence for people. The sentence does not repeat the URL, which may hold a secret.
    """
    if not _PRINTABLE.match(url) or "\\" in url:
        raise ValueError("The base URL must consist of printable ASCII characters without spaces or backslashes.")
    if "?" in url or "#" in url:
        raise ValueError("The base URL must not have a query or a fragment.")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        raise ValueError("The base URL has a malformed host or port.") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("The base URL must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise ValueError("The base URL must not contain a user name or password.")
    # urlsplit reads "host:" as no port; a colon with nothing behind it is a slip of the pen.
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("The base URL's port must be between 1 and 65535.")
    if "[" in parts.netloc and ":" not in host:
        _bad_host()  # the brackets of RFC 3986 admit more than IPv6
    return Origin(parts.scheme, _checked_host(host), port or _DEFAULT_PORTS[parts.scheme]), parts.path.rstrip("/")


def _checked_host(host: str) -> str:
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host)) if "%" not in host else _bad_host()
        except ValueError:
            _bad_host()
    host = host.removesuffix(".")
    return host if _HOST.match(host) else _bad_host()


def _bad_host() -> str:
    raise ValueError("The base URL needs a host: a DNS name, an IPv4 address or an IPv6 address in brackets.")


def encode_head(
    method: bytes, path: bytes, origin: Origin, headers: tuple[tuple[bytes, bytes], ...], body_length: int
) -> bytes:
    """The request's head, blank line included; Host and Content-Length are added here and nowhere else.

    Raises ValueError for a line break or NUL anywhere, for a path that is no request target, and for headers that would
    make two readers disagree about where the request ends.
    """
    head = _checked_head(method, path, origin, headers)
    if body_length or method not in _BODILESS:
        return b"%bcontent-length: %d\r\n\r\n" % (head, body_length)
    return head + b"\r\n"


@lru_cache(maxsize=4096)  # most heads differ from the last of their route in nothing but the length
def _checked_head(method: bytes, path: bytes, origin: Origin, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    if not _TARGET.match(path):
        raise ValueError("The request path must not be empty or contain spaces or control characters.")
    lines = [b"%b %b HTTP/1.1" % (method, path), b"host: " + origin.host_header]
    for name, value in headers:
        if name.lower() in _OURS:
            raise ValueError("Host, Content-Length and Transfer-Encoding are written by the transport.")
        lines.append(name + b": " + value)
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("A header must not contain line breaks or NUL.")
    return head + b"\r\n"
