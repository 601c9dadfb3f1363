"""What the upstream client makes of whatever an upstream writes."""

import asyncio
import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest

from gateway.connection import SLICE_BYTES
from gateway.transport import BadResponse, ConnectionBroken, ReadTimedOut, TransportError
from tests.gateway.wire import LOOPS, Wire, ask, run_on, send, soon, transport, until, wire_server

both_loops = pytest.mark.parametrize("loop", LOOPS)

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ANSWER = CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5;x=y\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n"


async def answer_bytes(*parts: bytes, close: bool = False) -> tuple[bytes, bool]:
    """The body that the client reads when the upstream writes `parts`, and whether it kept the connection."""

    async def script(wire: Wire) -> None:
        for part in parts:
            await wire.send(part)
            await asyncio.sleep(0)
        if close:
            wire.close()

    async with wire_server(script) as server, transport() as client:
        body = await ask(client, server.origin)
        return body, client.idle_connections == 1


@both_loops
def test_it_gives_status_headers_and_body(loop: str) -> None:
    async def script(wire: Wire) -> None:
        assert wire.head.startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
        assert wire.body == b"question"
        await wire.send(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7 \r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 2\r\n\r\nno")

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin, b"question")
            assert response.status == 429
            assert response.header(b"retry-after") == b"7"
            assert response.header(b"x-a") == b"1"
            assert response.header(b"nothing") is None
            assert [name for name, _ in response.headers] == [b"retry-after", b"x-a", b"x-a", b"content-length"]
            assert await response.chunk(by=soon(5)) == b"no"
            assert response.ended
            assert await response.chunk(by=soon(5)) == b""
            response.close()
            response.close()
            assert client.idle_connections == 1

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("seed", range(4))
def test_a_body_arrives_byte_for_byte_however_it_is_cut(loop: str, seed: int) -> None:
    dice = random.Random(seed)
    body = dice.randbytes(dice.choice((1, 999, 70_000, 1_500_000)) + 1)
    wire_bytes = bytearray(CHUNKED)
    at = 0
    while at < len(body):
        piece = (
            body[at : at + dice.choice((1, 2, 17, 4096, 300_000))] if len(body) < 80_000 else body[at : at + 300_000]
        )
        wire_bytes += b"%x\r\n%b\r\n" % (len(piece), piece)
        at += len(piece)
    wire_bytes += b"0\r\n\r\n"

    async def script(wire: Wire) -> None:
        sent = 0
        while sent < len(wire_bytes):
            step = dice.choice((1, 3, 500, 9000)) if len(wire_bytes) - sent < 30_000 else 500_000
            await wire.send(bytes(wire_bytes[sent : sent + step]))
            await asyncio.sleep(0)
            sent += step

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            for _ in range(2):
                got = await ask(client, server.origin)
                assert hashlib.sha256(got).digest() == hashlib.sha256(body).digest()
            assert server.opened == 1

    run_on(loop, main())


@both_loops
def test_each_byte_may_come_alone(loop: str) -> None:
    async def main() -> None:
        body, kept = await answer_bytes(*(bytes([byte]) for byte in ANSWER))
        assert (body, kept) == (b"hello world", True)

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize(
    "message", [ANSWER, b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world"], ids=["chunked", "length"]
)
@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_answer_cut_at_any_byte_is_an_error_and_never_a_clean_end(loop: str, message: bytes, end: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(message[: int(wire.body)])
        wire.close() if end == "close" else wire.reset()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            for cut in range(len(message)):
                with pytest.raises(ConnectionBroken) as caught:
                    await ask(client, server.origin, b"%d" % cut)
                if end == "close":  # a reset may overtake what was sent before it
                    assert caught.value.response_started is (cut > 0)
            assert client.open_connections == 0
            assert server.opened == len(message)

    run_on(loop, main())


@both_loops
def test_what_came_before_a_cut_is_handed_out_first(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(CHUNKED + b"5\r\nhello\r\n")
        wire.close()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            await until(lambda: client.open_connections == 0)
            assert await response.chunk(by=soon(5)) == b"hello"
            assert not response.ended
            for _ in range(2):
                with pytest.raises(ConnectionBroken) as caught:
                    await response.chunk(by=soon(5))
                assert caught.value.response_started
                assert caught.value.error_class == "connection_broken"
            response.close()

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", b"until the end"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n", b"z"),
    ],
)
def test_a_body_without_a_length_ends_with_the_connection(loop: str, head: bytes, body: bytes) -> None:
    async def main() -> None:
        assert await answer_bytes(head, body, close=True) == (body, False)

    run_on(loop, main())


@both_loops
def test_a_reset_is_no_end_for_a_body_without_a_length(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.0 200 OK\r\n\r\nhalf")
        await until(seen.is_set)
        wire.reset()

    seen = asyncio.Event()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            assert await response.chunk(by=soon(5)) == b"half"
            seen.set()
            with pytest.raises(ConnectionBroken):
                await response.chunk(by=soon(5))

    run_on(loop, main())


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 0\r\n\r\n", True),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", True),
    ],
)
def test_an_empty_answer_is_complete_and_keeps_the_connection_when_it_may(message: bytes, kept: bool) -> None:
    async def main() -> None:
        assert await answer_bytes(message) == (b"", kept)

    run_on("asyncio", main())


def test_interim_headers_do_not_become_the_answers() -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 103 Early\r\nx-early: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            assert (response.status, response.headers) == (200, ((b"content-length", b"0"),))
            response.close()

    run_on("asyncio", main())


@both_loops
def test_head_has_no_body_whatever_its_length_says(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            for _ in range(3):
                assert await ask(client, server.origin, method=b"HEAD") == b""
            assert server.opened == 1

    run_on(loop, main())


FLOOD = b"x" * 70_000
UNREADABLE = {
    "not http": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "bare line feeds": [b"HTTP/1.1 200 OK\ncontent-length: 0\n\n"],
    "two lengths": [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"],
    "length and chunked": [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
    "negative length": [b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"],
    "huge length": [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n"],
    "unasked encoding": [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"],
    "unasked transfer encoding": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
    "bad chunk size": [CHUNKED, b"zz\r\n"],
    "bad chunk end": [CHUNKED, b"1\r\nabc"],
    "upgrade": [b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
    "many headers": [b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 201 + b"content-length: 0\r\n\r\n"],
    "long header": [b"HTTP/1.1 200 OK\r\nx: " + FLOOD + b"\r\ncontent-length: 0\r\n\r\n"],
    "many long headers": [b"HTTP/1.1 200 OK\r\n" + (b"x: " + b"y" * 1000 + b"\r\n") * 70 + b"\r\n"],
    "header without end": [b"HTTP/1.1 200 OK\r\nx: ", *[b"y" * 1000] * 70],
    "reason without end": [b"HTTP/1.1 200 ", *[b"y" * 1000] * 70],
    "trailer without end": [CHUNKED, b"1\r\nx\r\n0\r\nx: ", *[b"y" * 1000] * 70],
    "chunk extension without end": [CHUNKED, b"1;", *[b"y" * 1000] * 70],
    "interim without end": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 20,
    "folded header": [b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n"],
}


@both_loops
@pytest.mark.parametrize("parts", UNREADABLE.values(), ids=UNREADABLE)
def test_it_refuses_what_is_not_a_proper_response(loop: str, parts: list[bytes]) -> None:
    async def script(wire: Wire) -> None:
        for part in parts:
            await wire.send(part)
            await asyncio.sleep(0)
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            with pytest.raises(BadResponse) as caught:
                await ask(client, server.origin)
            assert caught.value.error_class == "bad_response"
            assert client.open_connections == 0
            await until(lambda: server.open_now == 0)

    run_on(loop, main())


def test_a_body_above_the_limit_is_refused_and_the_connection_closed() -> None:
    async def script(wire: Wire) -> None:
        await wire.hello(b"x" * 1001)

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            with pytest.raises(BadResponse, match="limit"):
                await response.read(limit=1000, by=soon(5))
            with pytest.raises(BadResponse):
                await response.chunk(by=soon(5))
            response.close()
            assert client.open_connections == 0
            response = await send(client, server.origin)
            assert len(await response.read(limit=1001, by=soon(5))) == 1001
            response.close()

    run_on("asyncio", main())


@both_loops
def test_silence_before_the_headers_times_out_and_closes(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hang) as server, transport() as client:
            start = soon(0)
            with pytest.raises(ReadTimedOut) as caught:
                await send(client, server.origin, within=0.1)
            assert 0.09 < soon(0) - start < 1.0
            assert caught.value.error_class == "read_timeout"
            await until(lambda: server.open_now == 0)

    run_on(loop, main())


@both_loops
def test_silence_inside_a_body_times_out_at_the_readers_deadline_be_it_sooner_or_later(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(CHUNKED + b"1\r\na\r\n")
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            for first_byte, wait in ((0.05, 0.2), (5.0, 0.1)):
                response = await send(client, server.origin, within=first_byte)
                assert await response.chunk(by=soon(5)) == b"a"
                start = soon(0)
                with pytest.raises(ReadTimedOut):
                    await response.chunk(by=start + wait)
                assert wait - 0.01 < soon(0) - start < wait + 0.5
                response.close()
            await until(lambda: server.open_now == 0)

    run_on(loop, main())


@both_loops
def test_a_trickle_does_not_move_an_absolute_deadline(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(CHUNKED)
        while True:
            await wire.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            start = soon(0)
            with pytest.raises(ReadTimedOut):
                await response.read(limit=10_000, by=start + 0.15)
            assert soon(0) - start < 0.6
            response.close()

    run_on(loop, main())


@both_loops
def test_a_stalled_reader_stops_the_upstream_and_loses_nothing(loop: str) -> None:
    size = 50_000_000
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        wire.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        block = b"x" * 100_000
        while sent < size:
            await wire.send(block)
            sent += len(block)

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            before, quiet = -1, 0
            while quiet < 20:
                quiet = quiet + 1 if sent == before else 0
                before = sent
                await asyncio.sleep(0.01)
            assert sent < 20_000_000  # the rest of it lies in the kernel's socket buffers
            first = await response.chunk(by=soon(5))
            assert len(first) <= 600_000
            rest = await response.read(limit=size, by=soon(20))
            assert len(first) + len(rest) == size
            response.close()
            assert await ask(client, server.origin, method=b"HEAD") == b""
            assert server.opened == 1

    run_on(loop, main())


@both_loops
def test_an_upstream_that_is_fast_leaves_everybody_else_a_turn(loop: str) -> None:
    size = 8_000_000
    turn, taken, sent = 0, Counter[int](), 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        wire.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            await wire.send(b"x" * 100_000)
            sent += 100_000

    def sink(body: bytes) -> bool:
        taken[turn] += len(body)
        return False

    def tick() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(tick)

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            before = -1
            while sent != before:  # until the kernel's buffers are full
                before = sent
                await asyncio.sleep(0.1)
            tick()
            await response.pipe(sink, idle_seconds=5, by=soon(20))
            response.close()

    run_on(loop, main())
    assert taken.total() == size
    waited, *others = sorted(taken.values(), reverse=True)
    assert waited <= 400_000  # what had come before anybody took it
    assert max(others) <= 2 * SLICE_BYTES


def test_a_unix_socket_serves_as_an_origin(tmp_path: Path) -> None:
    async def script(wire: Wire) -> None:
        assert b"\r\nhost: localhost\r\n" in wire.head
        await wire.hello()

    async def main() -> None:
        async with wire_server(script, path=str(tmp_path / "up.sock")) as server, transport() as client:
            for _ in range(2):
                assert await ask(client, server.origin) == b"hello"
            assert server.opened == 1

    for loop in LOOPS:
        run_on(loop, main())


def test_an_early_answer_to_a_half_sent_request_does_not_reach_the_pool() -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await until(lambda: not client_done.empty())
        wire.close()

    client_done: asyncio.Queue[bool] = asyncio.Queue()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin, b"x" * 30_000_000, headers=((b"x-unread", b"1"),))
            assert response.status == 413
            response.close()
            assert client.open_connections == 0
            client_done.put_nowait(True)

    for loop in LOOPS:
        client_done = asyncio.Queue()
        run_on(loop, main())


@both_loops
def test_a_peer_that_stops_sending_and_reads_nothing_is_a_broken_connection(loop: str) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def script(wire: Wire) -> None:
            wire.writer.write_eof()
            await done.wait()
            wire.close()

        async with wire_server(script) as server, transport() as client:
            with pytest.raises(ConnectionBroken):
                await send(client, server.origin, b"x" * 30_000_000, headers=((b"x-unread", b"1"),), within=3.0)
            assert client.open_connections == 0
            done.set()

    run_on(loop, main())


def test_no_message_names_the_host_or_a_header() -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nx-secret: s3cret\r\ncontent-encoding: gz\r\n\r\n")

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            with pytest.raises(TransportError) as caught:
                await send(client, server.origin)
            assert "127.0.0.1" not in str(caught.value)
            assert "s3cret" not in str(caught.value)
            assert "gz" not in str(caught.value)

    run_on("asyncio", main())
