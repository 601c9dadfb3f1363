"""The simulator itself: it listens, chooses each request's faults, asks the dialect, and keeps the ledger."""

import asyncio
import hashlib
import random
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

import msgspec

from gateway.simulator.connection import Connection
from gateway.simulator.dialect import Asked, Circumstances, Dialect, Headers, Refused, Reply, Request, Stream
from gateway.simulator.faults import NO_FAULTS, BadFault, Fault, Faults, parse
from gateway.simulator.ledger import Entry, Fate, Ledger, encoded_log
from gateway.simulator.playback import Frame, Pace, Step, play
from gateway.simulator.script import BadScript, Script, parse_script

CONTROL_PATH = "/_sim/"
FAULT_HEADER = "x-sim-fault"
MAX_REMEMBERED_PROMPTS = 100_000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a simulator behaves where no fault says otherwise."""

    latency_ms: int = 0
    chunk_ms: int = 0
    fail_rate: float = 0.0  # of requests, from 0 to 1
    fail_status: int = 500
    api_key: str = ""  # required if given; else any is good
    seed: int = 0
    log_limit: int = 10_000  # requests kept in the log

    @property
    def pace(self) -> Pace:
        return Pace(self.latency_ms / 1000, self.chunk_ms / 1000)


class Simulator:
    """A server that speaks one family. All of it runs on one event loop."""

    def __init__(self, dialect: Dialect, behaviour: Behaviour | None = None, script: Script | None = None) -> None:
        self._dialect = dialect
        self._behaviour = behaviour or Behaviour()
        self._pace = self._behaviour.pace
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._requests = 0
        self.reset()
        self._script = script or Script()

    # --- its life

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Listen, and return the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, loop), host, port, backlog=1024, ssl=tls)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    # --- the oracle

    def load(self, script: Script) -> None:
        """Let the requests to come have the faults of a script; what was left of another is dropped."""
        self._script = script

    def reset(self) -> None:
        """Forget the log, the counters, the script, and what models and prompts were seen."""
        self._ledger = Ledger(self._behaviour.log_limit)
        self._script = Script()
        self._turns: Counter[tuple[str, str]] = Counter()
        self._seen_prompts: set[bytes] = set()
        self._dice = random.Random(self._behaviour.seed)  # noqa: S311  # chooses failures, not secrets

    def log(self) -> list[dict[str, Any]]:
        return self._ledger.log()

    def stats(self) -> dict[str, int]:
        counted = [connection for connection in self._connections if connection.counted]
        return {
            **self._ledger.counts(),
            "open_connections": len(counted),
            "in_flight": sum(connection.entry is not None for connection in counted),
            "script_steps_left": len(self._script),
        }

    # --- connection.Desk

    def arrived(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._ledger.connections += 1

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def begin(self, connection: Connection, request: Request, *, keep_alive: bool) -> Iterator[Step]:
        """Return the steps that answer a request."""
        if request.path.startswith(CONTROL_PATH):
            if connection.counted:
                connection.counted = False
                self._ledger.connections -= 1
            frame = Frame(self._common_headers(), keep_alive)
            return play(self._control(request), NO_FAULTS, self._dialect, Pace(), frame)
        self._requests += 1
        asked = self._dialect.look(request)
        bare_model, _, suffix = asked.model.partition("!")
        asked = replace(asked, model=bare_model) if suffix else asked
        entry = Entry(request, asked, time.time(), asyncio.get_running_loop().time())
        self._ledger.open(entry)
        connection.entry = entry
        try:
            faults = self._choose_faults(request, bare_model, suffix)
            answer = self._answer(request, asked, faults)
        except BadFault as error:
            faults, answer = NO_FAULTS, self._dialect.failure(400, str(error))
        entry.fault = str(faults)
        entry.status = answer.status if isinstance(answer, Reply) else 200
        keep_alive = keep_alive and "close" not in faults
        return play(answer, faults, self._dialect, self._pace, Frame(self._common_headers(), keep_alive))

    def end(self, entry: Entry, fate: Fate) -> None:
        self._ledger.close(entry, fate, asyncio.get_running_loop().time())

    # --- an answer

    def _choose_faults(self, request: Request, model: str, suffix: str) -> Faults:
        """Return the faults of the first of header, model suffix, script and fail rate. Raises BadFault."""
        written = request.headers.get(FAULT_HEADER) or suffix
        if written:
            turn = self._turns[model, written]
            self._turns[model, written] += 1
            return parse(written).for_turn(turn)
        step = self._script.take()
        if step is not None:
            return step
        if self._behaviour.fail_rate and self._dice.random() < self._behaviour.fail_rate:
            return Faults((Fault("status", self._behaviour.fail_status),))
        return NO_FAULTS

    def _answer(self, request: Request, asked: Asked, faults: Faults) -> Reply | Stream:
        try:
            self._dialect.authenticate(request, self._behaviour.api_key)
            failure = self._failure(faults)
            if failure is not None:
                return failure
            answer = self._dialect.answer(request, asked, self._circumstances(faults))
        except Refused as refused:
            return refused.reply
        if isinstance(answer, Reply) and ("error_first" in faults or "error" in faults):
            return replace(self._dialect.failure(500, None), status=200)
        return answer

    def _failure(self, faults: Faults) -> Reply | None:
        """Return the answer that the faults put in the place of the dialect's."""
        fault = faults.get("status")
        if fault is not None:
            reply = self._dialect.failure(fault.value, None)
            return replace(reply, headers=(*reply.headers, *_retry_headers(fault)))
        if "insufficient_quota" in faults:
            return self._dialect.quota_failure
        if "html502" in faults:
            page = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>simulated</body>\r\n</html>\r\n"
            return Reply(502, page, content_type="text/html")
        return None

    def _circumstances(self, faults: Faults) -> Circumstances:
        material = f"{self._behaviour.seed}:{self._requests}".encode()
        return Circumstances(
            now=int(time.time()),
            token=hashlib.blake2b(material, digest_size=16).hexdigest(),
            latency_ms=self._behaviour.latency_ms,
            giant="giant" in faults,
            with_usage="no_usage" not in faults,
            seen_before=self._seen_before,
        )

    def _seen_before(self, prompt: bytes) -> bool:
        digest = hashlib.blake2b(prompt, digest_size=16).digest()
        if digest in self._seen_prompts:
            return True
        if len(self._seen_prompts) >= MAX_REMEMBERED_PROMPTS:
            self._seen_prompts.clear()
        self._seen_prompts.add(digest)
        return False

    def _common_headers(self) -> Headers:
        return (("date", formatdate(usegmt=True)), ("x-nexus-simulated", self._dialect.family))

    # --- the control API

    def _control(self, request: Request) -> Reply:
        match request.method, request.path.removeprefix(CONTROL_PATH):
            case "GET", "log":
                return Reply(200, encoded_log(self._ledger))
            case "GET", "stats":
                return Reply(200, msgspec.json.encode(self.stats()))
            case "DELETE", "log":
                self.reset()
                return Reply(200, b"{}")
            case "PUT", "script":
                try:
                    self.load(parse_script(request.body))
                except BadScript as error:
                    return Reply(400, msgspec.json.encode({"error": str(error)}))
                return Reply(200, msgspec.json.encode({"steps": len(self._script)}))
        return Reply(404, b'{"error": "There are GET /_sim/log and /_sim/stats, DELETE /_sim/log, PUT /_sim/script."}')


def _retry_headers(fault: Fault) -> Headers:
    headers = []
    options = fault.options
    if "retry_after" in options:
        headers.append(("retry-after", options["retry_after"]))
    if "retry_after_ms" in options:
        headers.append(("retry-after-ms", options["retry_after_ms"]))
    if "retry_after_date" in options:
        headers.append(("retry-after", formatdate(time.time() + int(options["retry_after_date"]), usegmt=True)))
    return tuple(headers)
