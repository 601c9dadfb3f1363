"""A provider that repeats the credentials it was given, and what it was asked, in every part of its answers."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# By the model that is asked for: what it does, and what the gateway's client is to get.
ECHOES = {
    "400": 400, "401": 502, "404": 404, "422": 422, "429": 429, "500": 502,  # an error with this status
    "part": 400,  # an error with a part of the key
    "html": 502, "302": 502, "bytes": 502, "head": 502, "other": 502, "cut": 502,  # what no client of it expects
    "fine": 200,  # an answer, which repeats the credentials in its head alone
}  # fmt: skip
STREAM_ECHOES = {"stream": 200, "first": 502}


class EchoingProvider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        credentials = self.headers["authorization"]
        said = f"Incorrect API key provided: {credentials} in {body}"
        error = _error(said, end=credentials)
        asked = json.loads(body)
        content = asked["messages"][0]["content"]
        match asked["model"]:
            case "part":
                self._answer(400, _error(f"Incorrect API key provided: {credentials[:30]}***", end=credentials[20:]))
            case "html":
                self._answer(502, f"<html>{said}</html>", "text/html")
            case "302":
                self._answer(302, said, location=f"http://127.0.0.1:1/?key={credentials}")
            case "bytes":
                self._answer(200, b"\xff\x00\xfe" + said.encode() + b"\xc3")
            case "head":
                self.wfile.write(f"HTTP/1.1 {credentials}\r\n{said}\r\n\r\n".encode())
                self.close_connection = True
            case "other":
                self._answer(200, json.dumps({"detail": said, "choices": said}))
            case "cut":
                self._answer(200, json.dumps(_answer_of(content))[:-20] + said, size=5000)
                self.close_connection = True
            case "fine":
                self._answer(200, json.dumps(_answer_of(content)))
            case "stream":
                self._answer(200, f"data: {json.dumps(_chunk_of(content))}\n\ndata: {error}\n\n", "text/event-stream")
            case "first":
                self._answer(200, f"data: {error}\n\n", "text/event-stream")
            case status:
                self._answer(int(status), error)

    def _answer(
        self, status: int, body: str | bytes, kind: str = "application/json", *, size: int = 0, **more: str
    ) -> None:
        credentials = self.headers["authorization"]
        raw = body.encode() if isinstance(body, str) else body
        self.send_response(status, credentials)
        headers = {
            "content-type": kind,
            "content-length": str(size or len(raw)),
            "x-request-id": credentials,
            "www-authenticate": credentials,
            "set-cookie": f"key={credentials}",
            **more,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None: ...


def _answer_of(content: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "choices": [choice]}


def _chunk_of(content: str) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": content}}]}


def _error(said: str, *, end: str) -> str:
    return json.dumps({"error": {"message": said, "code": end, "type": end, "param": end}})


@contextmanager
def echoing_provider() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), EchoingProvider)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
