"""A client made of raw bytes, for requests that no library would send."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}'
PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error of the body, after a look at its shape."""
        assert self.headers["content-type"] == "application/json", self
        parsed = json.loads(self.body)
        assert list(parsed) == ["error"], parsed
        error: dict[str, Any] = parsed["error"]
        assert {"message", "type", "param", "code", "request_id"} <= set(error), error
        UUID(error["request_id"])
        assert "Traceback" not in error["message"]
        return error


class Link:
    """One connection to a server."""

    def __init__(self, link: socket.socket) -> None:
        self.socket = link
        self._reader = link.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, head_only: bool = False) -> Answer:
        """Read one answer, whole or chunked."""
        first = self._reader.readline()
        assert first.startswith(b"HTTP/1.1 "), first
        headers: dict[str, str] = {}
        while (line := self._reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return Answer(int(first.split()[1]), headers, b"" if head_only else self._body(headers))

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self._reader.read(int(headers.get("content-length", 0)))
        parts = []
        while size := int(self._reader.readline(), 16):
            parts.append(self._reader.read(size))
            self._reader.readline()
        self._reader.readline()
        return b"".join(parts)

    def ended(self) -> bool:
        """Whether the server says no more, and closes. Waits for it."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def hang_up(self) -> None:
        self._reader.close()
        self.socket.close()


@contextmanager
def connected(base_url: str, *, timeout: float = 20) -> Iterator[Link]:
    host = urlsplit(base_url)
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=timeout) as opened:
        yield Link(opened)


def head(key: str, *lines: str, method: str = "POST", path: str = PATH, version: str = "1.1") -> bytes:
    """Return a request's head: Host and key, the given lines, and the blank line."""
    first = [f"{method} {path} HTTP/{version}", "host: 127.0.0.1", f"authorization: Bearer {key}"]
    return "".join(f"{line}\r\n" for line in (*first, *lines, "")).encode("latin-1")


def request(key: str, body: bytes = BODY, *lines: str) -> bytes:
    """Return a whole, good request, with further header lines."""
    return head(key, "content-type: application/json", f"content-length: {len(body)}", *lines) + body


def chunked(key: str, chunks: bytes, *lines: str) -> bytes:
    """Return a request whose body is chunked as given."""
    return head(key, "content-type: application/json", "transfer-encoding: chunked", *lines) + chunks


def ask(base_url: str, data: bytes) -> Answer:
    """Send bytes over a connection of their own and return the first answer."""
    with connected(base_url) as link:
        link.send(data)
        return link.answer()
