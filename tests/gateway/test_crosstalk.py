"""No answer ever reaches the wrong request, whoever hangs up and when."""

import asyncio
import random

import pytest

from gateway.transport import Origin, Transport
from tests.gateway.wire import LOOPS, Wire, run_on, send, soon, transport, until, wire_server

REQUESTS = 10_000
LANES = 16


async def echo(wire: Wire) -> None:
    """Answer with the request's own body, as a stream in pieces or in one go, at once or a moment later."""
    marker = wire.body
    if marker.endswith(b"s"):
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(3):
            await asyncio.sleep(0)
            await wire.send(b"%x\r\n%b\r\n" % (len(marker), marker))
        await asyncio.sleep(0)
        await wire.send(b"0\r\n\r\n")
    else:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (3 * len(marker)))
        await asyncio.sleep(0)
        await wire.send(3 * marker)


class Tally:
    def __init__(self) -> None:
        self.completed = 0
        self.cancelled = 0
        self.left_early = 0
        self.bytes_seen = 0


async def one_request(client: Transport, origin: Origin, marker: bytes, leave_after: int, tally: Tally) -> None:
    expected = 3 * marker
    response = await send(client, origin, marker)
    try:
        got = b""
        for _ in range(leave_after):
            piece = await response.chunk(by=soon(10))
            got += piece
            tally.bytes_seen += len(piece)
            assert expected.startswith(got), "a body belongs to another request"
            if not piece:
                assert got == expected
                tally.completed += 1
                return
        tally.left_early += 1
        if leave_after == 2:
            response.release_when_done(1.0)
    finally:
        response.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_two_clients_that_hang_up_at_random_never_see_each_others_answers(loop: str) -> None:
    dice = random.Random(42)
    tally = Tally()

    async def lane(client: Transport, origin: Origin, name: str, turns: int) -> None:
        for turn in range(turns):
            marker = f"{name}-{turn}-{'x' * dice.randrange(400)}-{dice.choice('sp')}".encode()
            leave_after = dice.choice((1, 2, 3, 99, 99, 99))
            request = asyncio.create_task(one_request(client, origin, marker, leave_after, tally))
            if dice.random() < 0.4:
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(0)
                request.cancel()
            try:
                await request
            except asyncio.CancelledError:
                tally.cancelled += 1

    async def main() -> None:
        async with wire_server(echo) as server, transport(max_idle=8) as client:
            names = [f"{tenant}{number}" for tenant in ("acme", "globex") for number in range(LANES // 2)]
            await asyncio.gather(*(lane(client, server.origin, name, REQUESTS // LANES) for name in names))
            assert tally.completed + tally.cancelled + tally.left_early == REQUESTS
            assert tally.completed > 1000
            assert tally.cancelled > 1000
            assert tally.left_early > 1000
            assert server.opened < REQUESTS  # connections were shared, or this proves nothing
            # What is not in the pool is closed, and the pool is within its bounds.
            await until(lambda: client.open_connections == client.idle_connections)
            assert client.idle_connections <= 8
            await until(lambda: server.open_now == client.idle_connections)

    run_on(loop, main())
