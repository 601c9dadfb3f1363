"""Where the shared counts are kept: windows of a minute and requests at once in Redis, monthly quotas in PostgreSQL.

Both answer with the arithmetic of gateway/counter.py. What a month has used up must outlive any server's memory, and
costs a question only once per block; what a minute has used up is worth no disk.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from redis.asyncio.client import Pipeline, PubSub
from redis.exceptions import NoScriptError, RedisError

from gateway.counter import Answer, Question
from gateway.share import Kind
from nexus.redis_clients import async_client, subscriber_client

AWAY = (RedisError, psycopg.Error, OSError)  # OSError includes the timeouts of asyncio
CHANNEL = "nexus:limits"
SCRIPT = (Path(__file__).parent / "counter.lua").read_text()
QUOTA_SECONDS = 2.0  # the most that PostgreSQL may take to answer
_MEMORY = "nexus:limits:memory"
_KEEP_MS = 150_000  # a count of a minute, or of requests at once, after its last use
_RECONNECT_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0  # of a silent subscription
_ROUND_TRIPS_AT_ONCE = 8
_LEASE = "SELECT * FROM lease_quota(%s::uuid, %s::date, %s, %s, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one window of one count. `tell`: whether others wait for what it gives back."""

    key_id: str
    kind: Kind
    window: str
    question: Question
    tell: bool = False

    @property
    def name(self) -> str:
        return count_name(self.key_id, self.kind)


def count_name(key_id: str, kind: Kind) -> str:
    """Return the name of a key's count."""
    return f"{key_id}:{kind.name}"


def arguments_of(asked: Asked, process: str) -> tuple[str | int, ...]:
    """Return the script's arguments for a question."""
    q, lease_ms = asked.question, round(asked.kind.lease_seconds * 1000)
    numbers = (q.seq, q.taken, q.spare, q.limit, q.head, q.queued, q.want)
    return (process, *numbers, lease_ms, _KEEP_MS, asked.name, "changed" if asked.tell else "")


class RedisCounts:
    """One process's way to the counts in Redis. Every call raises one of AWAY where the server does not answer."""

    def __init__(self, url: str, process: str) -> None:
        self._url = url
        self._process = process
        self._client = async_client(url)
        self._turns = asyncio.Semaphore(_ROUND_TRIPS_AT_ONCE)
        self._script = ""  # its name on the server, once loaded
        self._memory = b""

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, questions: Sequence[Asked]) -> list[Answer]:
        """Return the answer to each question. One round trip."""

        def add(pipeline: Pipeline) -> None:
            for asked in questions:
                key = f"nexus:limit:{asked.name}:{asked.window}"
                pipeline.evalsha(self._script, 1, key, *arguments_of(asked, self._process))

        async with self._turns:
            if not self._script:
                self._script = await self._client.script_load(SCRIPT)
            try:
                found = await self._run(add)
            except NoScriptError:  # the server was started anew, or emptied
                self._script = await self._client.script_load(SCRIPT)
                found = await self._run(add)
        return [Answer(*numbers) for numbers in found]

    async def has_forgotten(self) -> bool:
        """Whether the server's memory is another one than at the last call: emptied, restored or replaced."""

        def add(pipeline: Pipeline) -> None:
            pipeline.set(_MEMORY, secrets.token_hex(8), nx=True)
            pipeline.get(_MEMORY)

        _, memory = await self._run(add)
        known, self._memory = self._memory, memory or b""
        return known != self._memory

    async def tell(self, what: str, name: str) -> None:
        """Tell all processes: `recall` what is unused of a count, or that it has `changed`."""
        await self._client.publish(CHANNEL, f"{what} {name}")

    async def listen(self, on_push: Callable[[str, str], None]) -> None:
        """Call `on_push` with what all processes are told, and about which count. Never returns."""
        while True:
            try:
                async with subscriber_client(self._url) as client, client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    await self._follow(subscription, on_push)
            except AWAY:
                await asyncio.sleep(_RECONNECT_SECONDS)  # whoever waits for a push asks again by itself meanwhile

    async def _follow(self, subscription: PubSub, on_push: Callable[[str, str], None]) -> None:
        while True:
            # The time limit lets the client's health check in: a peer that is gone is noticed by writing to it.
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_HEARTBEAT_SECONDS)
            if message is not None:
                what, _, name = message["data"].decode("utf-8", "replace").partition(" ")
                on_push(what, name)

    async def _run(self, add: Callable[[Pipeline], Any]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        add(pipeline)
        return await pipeline.execute()


class QuotaCounts:
    """One process's way to the monthly counts in PostgreSQL, on a connection of its own, one question at a time."""

    def __init__(self, connection: Mapping[str, Any], process: str) -> None:
        self._parameters = dict(connection)
        self._process = process
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, asked: Asked) -> Answer:
        """Return the answer to a question. One statement. Raises one of AWAY where the server does not answer."""
        q = asked.question
        numbers = (q.seq, q.taken, q.spare, q.limit, q.head, q.queued, q.want, asked.kind.lease_seconds)
        given = (asked.key_id, f"{asked.window}-01", self._process, *numbers)
        async with asyncio.timeout(QUOTA_SECONDS), self._turn:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)
                cursor = await self._connection.execute(_LEASE, given)
                row = await cursor.fetchone()
            except BaseException:
                await self.close()  # an answer may still be on its way
                raise
        assert row is not None
        return Answer(*row)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
