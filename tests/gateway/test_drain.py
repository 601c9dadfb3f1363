"""A runtime process that is told to stop: nothing that was begun is lost, and nothing that is cut looks finished."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import httpx
import pytest

from gateway.circuit_scripts import read_states
from nexus.redis_clients import sync_client
from tests.gateway.conftest import Client, Servers, in_force
from tests.gateway.outages import BODY, Load
from tests.reports import report
from tests.stack import Server, eventually
from tests.upstream import Upstream


@pytest.fixture
def slow(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    """A provider whose streams take some seconds: so many milliseconds to each event."""
    with Upstream(family="openai", chunk_ms=getattr(request, "param", 400)) as running:
        yield running


@dataclass
class Streamed:
    """A stream as its client saw it."""

    begun: threading.Event = field(default_factory=threading.Event)
    text: str = ""
    status: int = 0

    def ask(self, http: httpx.Client) -> None:
        with http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            self.status = answer.status_code
            for piece in answer.iter_text():
                self.text += piece
                self.begun.set()

    @property
    def last_event(self) -> str:
        return self.text.strip().rpartition("data: ")[2]


@contextmanager
def running_streams(server: Server, client: Client, count: int) -> Iterator[list[Streamed]]:
    """Begin streams, give them when all of them have content, and wait for their end."""
    streams = [Streamed() for _ in range(count)]
    with (
        httpx.Client(base_url=server.base_url, headers=client.headers, timeout=60, limits=httpx.Limits()) as http,
        ThreadPoolExecutor(count) as pool,
    ):
        asking = [pool.submit(stream.ask, http) for stream in streams]
        for stream in streams:
            assert stream.begun.wait(60)
        yield streams
        for each in asking:
            each.result()


def terminate_one(server: Server) -> int:
    """Tell one of the workers to stop, as its supervisor or an operator would."""
    pid = server.children()[0]
    os.kill(pid, signal.SIGTERM)
    return pid


@dataclass(frozen=True)
class Drained:
    """What became of streams whose worker was told to stop."""

    streams: int
    whole: int  # to their end marker
    cut_upstream: int
    new_requests_answered: int
    seconds: float  # until the worker had ended


def drain(server: Server, client: Client, slow: Upstream, *, count: int) -> Drained:
    """Stop one of two workers amid so many streams, ask something new meanwhile, and wait for the end of it all."""
    in_force(server)
    with running_streams(server, client, count) as streams:
        began, stopped = time.monotonic(), terminate_one(server)
        assert not any("[DONE]" in stream.text for stream in streams)
        answers = [
            httpx.post(f"{server.base_url}/v1/chat/completions", json=BODY, headers=client.headers, timeout=20)
            for _ in range(5)
        ]
        eventually(lambda: stopped not in server.children(), seconds=30, what="the worker's end")
        seconds = time.monotonic() - began
    eventually(lambda: len(server.children()) == 2, what="the successor")
    eventually(lambda: len(client.rows()) == count + 5, what="the rows")
    assert {row.status for row in client.rows()} == {200}
    return Drained(
        streams=count,
        whole=sum(stream.status == 200 and stream.last_event == "[DONE]" for stream in streams),
        cut_upstream=slow.stats()["client_gone"],
        new_requests_answered=sum(answer.status_code == 200 for answer in answers),
        seconds=round(seconds, 1),
    )


def test_no_stream_is_cut_and_new_requests_go_to_the_siblings(client: Client, slow: Upstream, servers: Servers) -> None:
    client.add_provider(slow, name="slow")
    with servers.stack.serving("all", workers=2) as (server,):
        found = drain(server, client, slow, count=20)
    assert (found.whole, found.cut_upstream, found.new_requests_answered) == (20, 0, 5)


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("slow", [1500], indirect=True)
def test_two_hundred_streams_are_not_cut(client: Client, slow: Upstream, servers: Servers) -> None:
    client.add_provider(slow, name="slow")
    with servers.stack.serving("all", workers=2) as (server,):
        found = drain(server, client, slow, count=200)
    report("drain_of_200_streams", **asdict(found))
    assert (found.whole, found.cut_upstream, found.new_requests_answered) == (200, 0, 5)


def test_what_still_runs_when_the_grace_ends_is_told_so(client: Client, upstream: Upstream, servers: Servers) -> None:
    provider = client.add_provider(upstream, name="primary")
    server = servers.stack.serve("all", environment={"NEXUS_DRAIN_SECONDS": "1"})
    in_force(server)
    upstream.script(*["stall@4"] * 5, "hang")
    with ThreadPoolExecutor(1) as pool, running_streams(server, client, 5) as streams:
        asked = pool.submit(
            httpx.post, f"{server.base_url}/v1/chat/completions", json=BODY, headers=client.headers, timeout=20
        )
        eventually(lambda: upstream.stats()["requests"] == 6, what="the sixth request")
        assert server.stop() == 0
        answer = asked.result()
    for stream in streams:
        error = json.loads(stream.last_event)["error"]
        assert error["code"] == "STREAM_INTERRUPTED"
        assert "The gateway is stopping" in error["message"]
        assert "[DONE]" not in stream.text
        assert '"finish_reason":"stop"' not in stream.text.replace(" ", "")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "SERVICE_STOPPING"
    assert answer.headers["retry-after"] == "1"
    eventually(lambda: upstream.stats()["in_flight"] == 0, what="the end of the upstream calls")
    eventually(lambda: len(client.rows()) == 6, what="the rows")
    assert sorted((row.status, row.error_class) for row in client.rows()) == [
        *[(502, "service_stopping")] * 5,
        (503, "service_stopping"),
    ]
    # Nobody but us is to blame.
    redis = sync_client(os.environ["REDIS_URL"])
    assert read_states(redis, [provider.id])[provider.id].consecutive_failures == 0


def restart_one(server: Server, load: Load) -> None:
    """Stop one of two workers once there is traffic again, and wait for its successor."""
    floor = load.succeeded + 30
    eventually(lambda: load.succeeded > floor, seconds=30, what="thirty more answers")
    stopped = terminate_one(server)
    eventually(
        lambda: stopped not in server.children() and len(server.children()) == 2,
        seconds=30,
        what="the worker's successor",
    )


def test_workers_that_are_stopped_one_after_the_other_lose_no_request(
    client: Client, upstream: Upstream, servers: Servers
) -> None:
    client.add_provider(upstream, name="primary")
    with servers.stack.serving("all", workers=2) as (server,):
        in_force(server)
        with Load(server.base_url, client.headers, clients=6) as load:
            for _ in range(2):
                restart_one(server, load)
    assert load.broken == {}
    assert set(load.answers) == {200}
    assert upstream.stats()["requests"] == load.succeeded
    eventually(lambda: len(client.rows()) == load.succeeded, what="the rows")


class Wire:
    """A connection by hand."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=15)

    def send(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def answer(self) -> tuple[str, str]:
        """Return head and body of the next answer, which has a length."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        return head.decode().lower(), body.decode()

    def at_its_end(self) -> bool:
        """Wait for the server's side to close; a reset raises."""
        return self.socket.recv(1) == b""

    def _more(self) -> bytes:
        more = self.socket.recv(65536)
        assert more, "the connection ended too early"
        return more


def post(client: Client) -> tuple[str, str]:
    """Return the head and the body of a request for a model."""
    body = json.dumps(BODY)
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {client.key}"]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]), body


def test_connections_are_closed_with_care(routed: Client, servers: Servers) -> None:
    server = servers.stack.serve("all")
    in_force(server)
    idle, busy, sending, probing, fresh = (Wire(server) for _ in range(5))
    head, body = post(routed)
    for wire in (idle, busy, probing):
        wire.send(head + body)
        first, _ = wire.answer()
        assert first.startswith("http/1.1 200")
        assert "connection: close" not in first
    sending.send(head + body[:10])
    time.sleep(0.2)  # for the server to have read it: nothing tells
    os.kill(server.pid, signal.SIGTERM)
    eventually(lambda: refused(server), what="the end of listening")
    for wire in (busy, fresh):
        wire.send(head + body)
    sending.send(body[10:])
    probing.send("GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
    for wire in (busy, fresh, sending):
        last, _ = wire.answer()
        assert last.startswith("http/1.1 200")
        assert "connection: close" in last
        assert wire.at_its_end()
    told, said = probing.answer()
    assert told.startswith("http/1.1 503")
    assert "connection: close" in told
    assert json.loads(said)["status"] == "stopping"
    assert idle.at_its_end()  # and not by a reset
    assert server.stop() == 0


def refused(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False
