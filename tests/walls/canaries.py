"""Secrets that can be recognised wherever they end up, in any form, and the places of an installation where to look."""

import json
import re
import secrets
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from redis import Redis

SHORTEST = 12  # bytes of a part; what is shorter is shown on purpose (the beginning of a key, the end of a provider's)
KEPT = re.compile(r"(\.password|secrets\.env|services\.json)\Z")  # where secrets belong, readable for their owner alone


def forms(secret: bytes) -> Iterator[bytes]:
    """Yield what a secret, or a part of it that was cut off, looks like: plain, base64 at any offset, hex, quoted."""
    for part in (secret[: len(secret) // 2], secret[len(secret) // 2 :]):
        assert len(part) >= SHORTEST, "too short to be told from chance"
        yield part
        yield part[::-1]
        yield part.hex().encode()
        yield part.hex().upper().encode()
        yield quote(part, safe="").encode()
        yield "".join(f"%{byte:02X}" for byte in part).encode()
        yield "".join(f"%{byte:02x}" for byte in part).encode()
        yield "".join(f"\\u{byte:04x}" for byte in part).encode()
        text = part.decode("latin-1")
        yield json.dumps(text)[1:-1].encode()
        yield escape(text).encode()
        for offset in range(3):
            coded = b64encode(b"\0" * offset + part)
            # The first and the last characters depend on what stands around it.
            middle = coded[-(-offset * 8 // 6) + (1 if offset else 0) : len(coded) - 4]
            yield middle
            yield middle.replace(b"+", b"-").replace(b"/", b"_")


class Canaries:
    """Secrets by what they are."""

    def __init__(self) -> None:
        self._needles: dict[bytes, str] = {}

    def plant(self, what: str, secret: str | bytes) -> None:
        """Look for it from now on, also in what was there before."""
        for form in forms(secret.encode() if isinstance(secret, str) else secret):
            self._needles[form] = what

    def made(self, what: str, prefix: str = "", *, within: str = "") -> str:
        """Make up a secret and plant it; characters of some kind may be put into its second half."""
        random = secrets.token_urlsafe(36)
        secret = prefix + random[:32] + within + random[32:]
        self.plant(what, secret)
        return secret

    def seen(self, places: Mapping[str, bytes] | Iterable[tuple[str, bytes]], *, but: Iterable[str] = ()) -> list[str]:
        """Return which secrets are where, `but` for some that may be there."""
        found = set()
        for where, hay in places.items() if isinstance(places, Mapping) else places:
            found |= {
                f"{what} in {where}" for needle, what in self._needles.items() if needle in hay and what not in but
            }
        return sorted(found)


def tables(connection: "psycopg.Connection[Any]") -> Iterator[tuple[str, bytes]]:
    """Yield every table of the database as text, those of other schemas and what the server says of itself included.

    But for another session's temporary ones, which nobody may read and which a dead server leaves behind: see `files`.
    """
    found = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' "
        "AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
    ).fetchall()
    for schema, name in (*found, ("pg_catalog", "pg_authid"), ("pg_catalog", "pg_stat_activity")):
        query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, name))
        with connection.cursor() as cursor, cursor.copy(query) as copied:
            yield f"the table {schema}.{name}", b"".join(bytes(block) for block in copied)


def files(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below some folders: logs, spool, copies of the configuration, the servers' own data."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not KEPT.search(path.name):
                yield f"the file {path.relative_to(folder)}", path.read_bytes()


def command_lines(pids: Iterator[int] | list[int]) -> Iterator[tuple[str, bytes]]:
    for pid in pids:
        yield f"the command line of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")


class RedisEar:
    """Hears every command that a Redis gets, pushes included, for as long as it is open."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self._client = Redis.from_url(url, decode_responses=False)
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "RedisEar":
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.echo("nexus-test-end")
        self._thread.join(10)
        self._client.close()

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]
            self._listening.set()
            for command in monitor.listen():
                told = command["command"]
                line = told if isinstance(told, bytes) else str(told).encode()
                self.heard.append(line)
                if b"nexus-test-end" in line:
                    return
