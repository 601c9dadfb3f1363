"""When a connection is used again, when it is not, and that none is left behind."""

import asyncio

import pytest

from gateway.transport import ConnectionBroken
from tests.gateway.wire import LOOPS, Wire, ask, run_on, send, soon, transport, until, wire_server

both_loops = pytest.mark.parametrize("loop", LOOPS)

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
EMPTY_EVIL = b"HTTP/1.1 500 Evil\r\ncontent-length: 0\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nEVIL!"


@both_loops
def test_requests_in_turn_share_one_connection(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport() as client:
            for _ in range(20):
                assert await ask(client, server.origin) == b"hello"
            assert (server.opened, client.open_connections, client.idle_connections) == (1, 1, 1)

    run_on(loop, main())


@both_loops
def test_the_connection_used_last_is_used_next(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport() as client:
            responses = [await send(client, server.origin) for _ in range(3)]
            assert server.opened == 3
            for response in responses:
                await response.read(limit=5, by=soon(5))
            for number in (2, 0, 1):
                responses[number].close()
            held = [await send(client, server.origin) for _ in range(3)]
            assert [connection for connection, _ in server.requests[3:]] == [2, 1, 3]
            for response in held:
                response.close()

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize(
    "garbage",
    [
        EVIL,
        EMPTY_EVIL,
        b"x",
        b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n",
        b"0\r\n\r\n",
        b"\0" * 100_000,
    ],
    ids=["answer", "empty answer", "byte", "408", "chunk", "flood"],
)
def test_what_follows_a_body_is_never_delivered_to_the_next_request(loop: str, garbage: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(HELLO + garbage)
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            for turn in range(1, 4):
                response = await send(client, server.origin)
                assert await response.read(limit=5, by=soon(5)) == b"hello"
                response.close()
                assert (response.status, response.header(b"content-length")) == (200, b"5")
                assert client.open_connections == 0
                assert server.opened == turn

    run_on(loop, main())


@both_loops
def test_what_follows_the_headers_of_a_head_answer_costs_the_connection(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(HELLO)
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            assert await ask(client, server.origin, method=b"HEAD") == b""
            await until(lambda: client.open_connections == 0)

    run_on(loop, main())


@both_loops
def test_bytes_on_an_idle_connection_close_it(loop: str) -> None:
    async def main() -> None:
        idle = asyncio.Event()

        async def script(wire: Wire) -> None:
            await wire.hello()
            if wire.connection == 1:
                await idle.wait()
                await wire.send(EVIL)

        async with wire_server(script) as server, transport() as client:
            await ask(client, server.origin)
            assert client.idle_connections == 1
            idle.set()
            await until(lambda: client.open_connections == 0)
            await until(lambda: server.open_now == 0)
            assert await ask(client, server.origin) == b"hello"
            assert server.opened == 2

    run_on(loop, main())


@both_loops
def test_a_connection_lost_while_idle_leaves_the_pool_at_once(loop: str) -> None:
    async def main() -> None:
        idle = asyncio.Event()

        async def script(wire: Wire) -> None:
            await wire.hello()
            if wire.turn == 1:
                await idle.wait()
                wire.close()

        async with wire_server(script) as server, transport() as client:
            await ask(client, server.origin)
            assert client.idle_connections == 1
            idle.set()
            await until(lambda: client.idle_connections == 0)
            assert client.open_connections == 0

    run_on(loop, main())


@both_loops
def test_idle_connections_expire(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(idle_seconds=0.1) as client:
            one, two = await asyncio.gather(send(client, server.origin), send(client, server.origin))
            for response in (one, two):
                await response.read(limit=5, by=soon(5))
                response.close()
            assert client.idle_connections == 2
            await until(lambda: client.open_connections == 0)
            await until(lambda: server.open_now == 0)
            await ask(client, server.origin)
            assert server.opened == 3
            await until(lambda: client.open_connections == 0)  # the sweep comes again

    run_on(loop, main())


@both_loops
def test_a_connection_that_was_not_due_at_the_first_sweep_goes_at_its_own_time(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(idle_seconds=0.2) as client:
            early, late = await send(client, server.origin), await send(client, server.origin)
            for response in (early, late):
                await response.read(limit=5, by=soon(5))
            early.close()
            held_until = soon(0.1)
            await until(lambda: soon(0) >= held_until)
            late.close()
            await until(lambda: client.open_connections == 1)
            assert client.idle_connections == 1
            await until(lambda: client.open_connections == 0)
            assert soon(0) - held_until >= 0.19

    run_on(loop, main())


def test_an_expired_connection_is_not_used_even_before_the_sweep() -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(idle_seconds=0.0) as client:
            await ask(client, server.origin)
            await ask(client, server.origin)
            assert server.opened == 2

    run_on("asyncio", main())


def test_the_pool_keeps_no_more_than_its_maximum() -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport(max_idle=2) as client:
            await asyncio.gather(*(ask(client, server.origin) for _ in range(5)))
            assert client.idle_connections == 2
            await until(lambda: server.open_now == 2)

    run_on("asyncio", main())


def test_origins_do_not_share_connections() -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as one, wire_server(Wire.hello) as two, transport() as client:
            for server in (one, two, one, two):
                await ask(client, server.origin)
            assert (one.opened, two.opened, client.idle_connections) == (1, 1, 2)

    run_on("asyncio", main())


@both_loops
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_reused_connection_that_dies_without_an_answer_is_tried_once_more(loop: str, end: str) -> None:
    async def script(wire: Wire) -> None:
        if wire.connection == 1 and wire.turn == 2:
            wire.close() if end == "close" else wire.reset()
        else:
            await wire.hello(wire.body)

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            assert await ask(client, server.origin, b"one") == b"one"
            assert await ask(client, server.origin, b"two") == b"two"
            assert server.requests == [(1, b"one"), (1, b"two"), (2, b"two")]

    run_on(loop, main())


@both_loops
def test_the_second_try_is_the_last_and_is_made_on_a_new_connection(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.hello() if wire.body == b"fine" else wire.close()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            await asyncio.gather(*(ask(client, server.origin, b"fine") for _ in range(3)))
            with pytest.raises(ConnectionBroken) as caught:
                await ask(client, server.origin, b"bad")
            assert not caught.value.response_started
            assert [body for _, body in server.requests].count(b"bad") == 2
            assert server.opened == 4

    run_on(loop, main())


@both_loops
def test_a_fresh_connection_that_dies_is_not_tried_again(loop: str) -> None:
    async def script(wire: Wire) -> None:
        wire.close()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            with pytest.raises(ConnectionBroken):
                await ask(client, server.origin)
            assert (server.opened, len(server.requests)) == (1, 1)

    run_on(loop, main())


@both_loops
def test_one_byte_of_an_answer_rules_out_another_try(loop: str) -> None:
    async def script(wire: Wire) -> None:
        if wire.turn == 1:
            await wire.hello()
        else:
            await wire.send(b"H")
            wire.close()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            await ask(client, server.origin)
            with pytest.raises(ConnectionBroken) as caught:
                await ask(client, server.origin)
            assert caught.value.response_started
            assert len(server.requests) == 2

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("point", ["before the headers", "inside the body", "between two reads"])
def test_giving_up_closes_the_connection_at_once(loop: str, point: str) -> None:
    async def script(wire: Wire) -> None:
        if point != "before the headers":
            await wire.send(CHUNKED + b"1\r\na\r\n")
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            if point == "between two reads":
                response = await send(client, server.origin)
                assert await response.chunk(by=soon(5)) == b"a"
                response.close()
                with pytest.raises(ConnectionBroken):
                    await response.chunk(by=soon(5))
            else:
                task = asyncio.create_task(ask(client, server.origin))
                await until(lambda: len(server.requests) == 1)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert client.open_connections == 0
            await until(lambda: server.open_now == 0, within=0.25)

    run_on(loop, main())


def test_closing_a_response_wakes_a_task_that_reads_it() -> None:
    async def script(wire: Wire) -> None:
        await wire.send(CHUNKED)
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            reader = asyncio.create_task(response.chunk(by=soon(5)))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="Two tasks"):
                await response.chunk(by=soon(5))
            response.close()
            with pytest.raises(ConnectionBroken):
                await reader

    run_on("asyncio", main())


@both_loops
@pytest.mark.parametrize(
    ("tail", "pooled"),
    [
        (b"0\r\n\r\n", True),
        (b"3\r\nabc\r\n0\r\n\r\n", True),
        (b"b\r\nabcdefghijk\r\n0\r\n\r\n", False),
        (b"0\r\n\r\nX", False),
        (b"Z", False),
    ],
    ids=["end", "a little more", "too much", "garbage", "bad"],
)
def test_a_released_stream_is_pooled_only_if_it_ends_properly(loop: str, tail: bytes, pooled: bool) -> None:
    async def main() -> None:
        released = asyncio.Event()

        async def script(wire: Wire) -> None:
            await wire.send(CHUNKED + b"6\r\n[DONE]\r\n")
            await released.wait()
            await wire.send(tail)

        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            assert await response.chunk(by=soon(5)) == b"[DONE]"
            response.release_when_done(5.0, limit=10)
            response.close()
            assert (client.open_connections, client.idle_connections) == (1, 0)
            released.set()
            if pooled:
                await until(lambda: client.idle_connections == 1)
            else:
                await until(lambda: client.open_connections == 0)
                await until(lambda: server.open_now == 0)

    run_on(loop, main())


@both_loops
def test_a_released_stream_that_does_not_end_is_closed_in_time(loop: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(CHUNKED + b"6\r\n[DONE]\r\n")
        await wire.hang()

    async def main() -> None:
        async with wire_server(script) as server, transport() as client:
            response = await send(client, server.origin)
            await response.chunk(by=soon(5))
            response.release_when_done(0.1)
            assert client.open_connections == 1
            await until(lambda: server.open_now == 0, within=1.0)
            assert client.open_connections == 0

    run_on(loop, main())


def test_releasing_a_stream_that_has_ended_pools_it_at_once() -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport() as client:
            response = await send(client, server.origin)
            await response.read(limit=5, by=soon(5))
            response.release_when_done(5.0)
            assert client.idle_connections == 1

    run_on("asyncio", main())


@both_loops
def test_a_closed_transport_keeps_nothing(loop: str) -> None:
    async def main() -> None:
        async with wire_server(Wire.hello) as server, transport() as client:
            in_use = await send(client, server.origin)
            await ask(client, server.origin)
            await client.close()
            assert (client.open_connections, client.idle_connections) == (1, 0)
            assert await in_use.read(limit=5, by=soon(5)) == b"hello"
            in_use.close()
            assert client.open_connections == 0
            await until(lambda: server.open_now == 0)
            with pytest.raises(RuntimeError):
                await ask(client, server.origin)

    run_on(loop, main())
