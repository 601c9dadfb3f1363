"""How the simulator's tests ask it, without any SDK."""

import json
import socket
from typing import Any

import httpx

from tests.upstream import Upstream

KEY = {"authorization": "Bearer sk-test"}
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello there"}]


def ask(
    upstream: Upstream, path: str = "/chat/completions", *, headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    """Ask for a chat about HELLO, or for what the body says."""
    body = {"model": "gpt-4o", "messages": HELLO, **body} if path == "/chat/completions" else body
    return httpx.post(f"{upstream.base_url}{path}", json=body, headers={**KEY, **(headers or {})}, timeout=5)


def data_of(answer: httpx.Response) -> list[str]:
    """Return what a stream's events say."""
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]


def chunks_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(data) for data in data_of(answer) if data != "[DONE]"]


def text_of(answer: httpx.Response) -> str:
    """Return the text that a stream's chunks say."""
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks_of(answer) for choice in chunk.get("choices", ())
    )


def raw_request(*, fault: str = "", stream: bool = False, text: str = "Hello there") -> bytes:
    """Return a chat request as bytes."""
    body = json.dumps({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: simulator",
        "authorization: Bearer sk-test",
        "content-type: application/json",
        f"x-sim-fault: {fault}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def dial(upstream: Upstream) -> socket.socket:
    return socket.create_connection(("127.0.0.1", upstream.port), timeout=5)


def read_to_end(link: socket.socket) -> tuple[bytes, str]:
    """Return every byte until the connection ends, and how it does: "closed", "reset", or "silent" by its timeout."""
    data = b""
    while True:
        try:
            piece = link.recv(65536)
        except ConnectionResetError:
            return data, "reset"
        except TimeoutError:
            return data, "silent"
        if not piece:
            return data, "closed"
        data += piece
