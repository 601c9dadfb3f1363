"""The load generator tells an answer from half of one: a figure that counted failures as answers would be a lie."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from bench.load import LoadGenerator
from bench.programs import Programs
from bench.result import LoadFigures
from bench.scenario import Scenario
from bench.targets import Target
from tests.bench.conftest import needs_compiler

pytestmark = needs_compiler
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"data: {}\n\n"
END = b"0\r\n\r\n"

type Measure = Callable[[str, Sequence[bytes]], tuple[LoadFigures, str]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextmanager
def server(parts: Sequence[bytes]) -> Iterator[int]:
    """Answer every request on every connection by these parts, each in a write of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            try:
                while client.recv(65536):  # the request is one write of about 1 KB
                    for part in parts:
                        client.sendall(part)
            except OSError:
                return  # the generator has ended

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def measure(programs: Programs) -> Measure:
    def run(scenario: str, parts: Sequence[bytes]) -> tuple[LoadFigures, str]:
        with server(parts) as port:
            generator = LoadGenerator(programs.loadgen, core=0)
            return generator.run(Target("server", "", port), Scenario.parse(scenario), seconds=0.2)

    return run


def test_a_whole_stream_counts_even_where_its_end_mark_comes_in_two_parts(measure: Measure) -> None:
    figures, note = measure("s2", [HEAD + chunk(EVENT), chunk(b"data: [DO"), chunk(b"NE]\n\n") + END])
    assert figures.ok > 0
    assert (figures.errors, note) == (0, "")
    assert figures.events >= 2 * figures.ok


def test_a_stream_without_its_end_mark_is_an_error(measure: Measure) -> None:
    figures, _ = measure("s2", [HEAD + chunk(EVENT) + END])
    assert figures.ok == 0
    assert figures.no_done == figures.errors > 0


def test_an_error_status_is_an_error_and_its_body_is_told(measure: Measure) -> None:
    answer = b'HTTP/1.1 503 Service Unavailable\r\ncontent-length: 17\r\n\r\n{"error": "busy"}'
    figures, note = measure("n2", [answer])
    assert figures.ok == 0
    assert figures.bad_status == figures.errors > 0
    assert figures.first_bad_status == 503
    assert '{"error": "busy"}' in note
