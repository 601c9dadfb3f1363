"""Two clients with answers of their own hang up at random points: neither ever hears a word of the other's."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from tests.gateway.conftest import Client, Servers, in_force
from tests.stack import eventually
from tests.upstream import Upstream

LANES = 16  # of each client


@dataclass
class Tally:
    """What became of the requests of one client."""

    whole: int = 0
    left: int = 0
    markers: set[str] = field(default_factory=set)


class Caller:
    """One client's connections, one request at a time on each."""

    def __init__(self, base_url: str, client: Client, word: str, foreign: str, seed: int) -> None:
        self._url = urlsplit(base_url)
        self._client = client
        self._word = word
        self._foreign = foreign.encode()
        self._dice = random.Random(seed)
        self.tally = Tally()

    async def lane(self, number: int, requests: int) -> None:
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for turn in range(requests):
            if link is None:
                link = await asyncio.open_connection(self._url.hostname, self._url.port)
            if not await self._request(*link, f"{self._word}-{number}-{turn}-end"):
                link[1].transport.abort()
                link = None
        if link is not None:
            link[1].transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marker: str) -> bool:
        """Send one request and read its answer, or leave in between; return whether the connection is still good."""
        stream = self._dice.random() < 0.5
        body = json.dumps(
            {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": f"{marker} " * 3}]}
        ).encode()
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self._url.netloc}\r\n"
            f"authorization: Bearer {self._client.key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        reading = asyncio.create_task(_answer(reader))
        if self._dice.random() < 0.4:
            await asyncio.wait([reading], timeout=self._dice.uniform(0, 0.02))
            if not reading.done():
                reading.cancel()
                self.tally.left += 1
                return False
        answer = await reading
        assert self._foreign not in answer, "one client heard the other's answer"
        assert marker in _text(answer), "an answer belongs to another request"
        self.tally.whole += 1
        return True


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    lower = head.lower()
    if b"content-length:" in lower:
        return await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(parts)


def _text(answer: bytes) -> str:
    """Return the words of an answer, whole or in events."""
    if answer.startswith(b"data:"):
        events = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: {")]
        return "".join(choice["delta"].get("content") or "" for e in events for choice in json.loads(e)["choices"])
    content: str = json.loads(answer)["choices"][0]["message"]["content"]
    return content


@pytest.mark.parametrize(("door", "requests"), [("door", 10_000), ("twin", 1_000)])
def test_no_client_ever_hears_the_others_answer(
    client: Client, other_client: Client, upstream: Upstream, servers: Servers, door: str, requests: int
) -> None:
    for tenant_client in (client, other_client):
        tenant_client.add_provider(upstream, name="shared")
    in_force(servers.door, servers.twin)
    base_url = getattr(servers, door).base_url
    acme = Caller(base_url, client, "acme", foreign="globex", seed=1)
    globex = Caller(base_url, other_client, "globex", foreign="acme", seed=2)

    async def main() -> None:
        each = requests // (2 * LANES)
        await asyncio.gather(*(caller.lane(n, each) for caller in (acme, globex) for n in range(LANES)))

    asyncio.run(main())
    for caller in (acme, globex):
        assert caller.tally.whole > requests / 8
        assert caller.tally.left > requests / 40  # they did leave in mid-request, or this proves nothing
    eventually(lambda: upstream.stats()["in_flight"] == 0, seconds=20, what="the end of all upstream calls")
    stats = upstream.stats()
    assert 0 < stats["connections_accepted"] < stats["requests"], "connections are used again, or this proves nothing"
