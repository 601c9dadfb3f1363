"""Many requests at little cost to the sender: prepared bytes over kept connections, answers judged by their frame."""

import asyncio
import json
from dataclasses import dataclass, field

from tests.gateway.conftest import Client
from tests.stack import Server


@dataclass(slots=True)
class Flood:
    """What came back: complete answers with status 200, and the first answer that was none."""

    answered: int = 0
    wrong: list[bytes] = field(default_factory=list)


def request_bytes(client: Client, server: Server, *, stream: bool) -> bytes:
    """Return one chat request as it goes over the wire."""
    body = json.dumps(
        {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n"
        f"authorization: Bearer {client.key}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def flood(client: Client, server: Server, *, requests: int, connections: int = 16) -> Flood:
    """Send so many plain requests over so many connections, each after the answer to the one before."""
    found, message = Flood(), request_bytes(client, server, stream=False)

    async def sender(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(count):
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if head.startswith(b"HTTP/1.1 200 "):
                found.answered += 1
            else:
                found.wrong.append(head + body)
        writer.close()

    async def all_() -> None:
        shares = [requests // connections + (n < requests % connections) for n in range(connections)]
        await asyncio.gather(*map(sender, shares))

    asyncio.run(all_())
    return found


def leave_in_mid_stream(client: Client, server: Server, *, streams: int, at_once: int = 20) -> None:
    """Begin so many streams and hang up on each with a reset once its first content is here."""
    message = request_bytes(client, server, stream=True)

    async def leaver(count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(message)
            await reader.readuntil(b"data: ")
            writer.transport.abort()

    async def all_() -> None:
        shares = [streams // at_once + (n < streams % at_once) for n in range(at_once)]
        await asyncio.gather(*map(leaver, shares))

    asyncio.run(all_())
