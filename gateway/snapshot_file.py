"""The configuration on this machine's disk: with it the runtime starts and serves while PostgreSQL is away.

One process per machine, the shipper's, writes it after every change (`SnapshotWriter`); a runtime that finds no
database at its start reads it. It holds what the database holds: provider keys sealed by NEXUS_ENCRYPTION_KEYS, API
keys as hashes. The last line is a signature by SECRET_KEY over all the others, so that neither a damaged file nor one
that somebody else has made is ever believed.

    <data>/snapshot.jsonl   0600, replaced in one step; its time of change says when it was last known to be true
    {"format": …, "version": …, "database": …, "revision": …}
    ["tenant", {…}] … ["membership", {…}] … ["provider", {…}] ["route", {…}] … ["key", {…}] …
    signature
"""

import hmac
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from django.core.exceptions import FieldError, ValidationError
from django.db import Error, close_old_connections
from django.db.models import FETCH_RAISE, Model

from accounts.models import ApiKey, Membership, Tenant
from gateway.models import ModelRoute, Provider
from gateway.snapshot import Snapshot
from gateway.snapshot_loader import Rows, build, current_revision, one_view, read
from nexus.private_files import write_private

logger = logging.getLogger(__name__)
FORMAT = "nexus-snapshot"
VERSION = 1
LOOK_SECONDS = 1.0  # between two looks at the database's revision
STALE_SECONDS = 60.0  # not confirmed for so long: nobody writes it, or there is no database
_MODELS: dict[str, type[Model]] = {
    "tenant": Tenant, "membership": Membership, "provider": Provider, "route": ModelRoute, "key": ApiKey,
}  # fmt: skip
_HEAD_BYTES = 4096
_encode = msgspec.json.Encoder().encode


class SnapshotRefused(Exception):
    """The file is not used; the message is the end of a sentence that says why."""


class _Head(msgspec.Struct):
    format: str
    version: int
    database: str
    revision: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a file without reading it: its revision, and seconds since it was last known to be true."""

    revision: int
    age_seconds: float


class SnapshotFile:
    """The file of one data directory. `database` names whose configuration it is."""

    def __init__(self, path: Path, *, secret: str, database: str, max_age_seconds: float) -> None:
        self.path = path
        self._key = sha256(b"nexus snapshot file\0" + secret.encode()).digest()
        self._database = database
        self._max_age_seconds = max_age_seconds

    def write(self, rows: Rows) -> None:
        """Replace the file. Raises OSError, and leaves the old one, where the disk does not take it."""
        write_private(self.path, self._signed(_lines(rows, self._database)))

    def confirm(self) -> None:
        """Note that the file agrees with the database at this moment."""
        os.utime(self.path)

    def describe(self) -> Stored:
        """Return what stands in the file's first line. Raises SnapshotRefused without a file of ours."""
        try:
            with self.path.open("rb") as file:
                first, changed_at = file.readline(_HEAD_BYTES), os.fstat(file.fileno()).st_mtime
        except OSError as error:
            raise SnapshotRefused(_why_unreadable(error)) from None
        return Stored(self._head(first).revision, max(0.0, time.time() - changed_at))

    def load(self) -> tuple[Snapshot, Stored]:
        """Return the snapshot and how old it is. Raises SnapshotRefused for a file that is not to be believed."""
        stored = self.describe()
        if stored.age_seconds > self._max_age_seconds:
            raise SnapshotRefused(
                f"it was last confirmed {stored.age_seconds:.0f} s ago, "
                f"and NEXUS_SNAPSHOT_MAX_AGE_SECONDS allows {self._max_age_seconds:.0f}"
            )
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise SnapshotRefused(_why_unreadable(error)) from None
        lines = self._verified(content)
        try:
            return build(_rows(stored.revision, lines)), stored
        except (msgspec.DecodeError, LookupError, ValueError, TypeError, FieldError, ValidationError) as error:
            raise SnapshotRefused(f"it does not fit this release ({type(error).__name__}: {error})") from error

    def _signed(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        signature = hmac.new(self._key, digestmod=sha256)
        for line in lines:
            signature.update(line)
            yield line
        yield signature.hexdigest().encode() + b"\n"

    def _verified(self, content: bytes) -> list[bytes]:
        """Return the lines between head and signature."""
        body, _, signature = content.rstrip(b"\n").rpartition(b"\n")
        expected = hmac.digest(self._key, body + b"\n", sha256).hex().encode()
        if not hmac.compare_digest(expected, signature):
            raise SnapshotRefused("it is damaged, or was not written with this SECRET_KEY")
        return body.split(b"\n")[1:]

    def _head(self, line: bytes) -> _Head:
        try:
            head = msgspec.json.decode(line, type=_Head)
        except msgspec.DecodeError:
            raise SnapshotRefused("its first line cannot be read") from None
        if (head.format, head.version) != (FORMAT, VERSION):
            raise SnapshotRefused(f"it has version {head.version} of its format, and this release reads {VERSION}")
        if head.database != self._database:
            raise SnapshotRefused(f"it is of another database, {head.database}")
        return head


class SnapshotWriter:
    """Keeps the file true to the database. Blocks; it belongs in a thread of a process that serves nobody."""

    def __init__(self, file: SnapshotFile) -> None:
        self._file = file
        self._written: int | None = None  # the revision of the file, once this process has written it
        self._problem: str | None = None

    def run(self, *, until: Callable[[float], bool]) -> None:
        """Look at the database once a second; `until` waits for so many seconds and says whether to stop."""
        while True:
            try:
                self.step()
            except (Error, OSError) as error:
                self._tell(f"{type(error).__name__}: {error}".strip())
            else:
                self._tell(None)
            if until(LOOK_SECONDS):
                return

    def step(self) -> None:
        """Write the file if the configuration has changed, else confirm it. Raises django.db.Error and OSError."""
        try:
            if self._written is not None and current_revision() == self._written and self._file.path.exists():
                self._file.confirm()
                return
            with one_view():
                revision = current_revision()
                rows = read(revision, None)
                self._file.write(rows)
            self._written = revision
        finally:
            close_old_connections()  # a thread that kept one would keep a dead one after an outage

    def _tell(self, problem: str | None) -> None:
        if problem is not None and self._problem is None:
            logger.warning("The configuration cannot be kept on the disk at the moment.", extra={"reason": problem})
        elif problem is None and self._problem is not None:
            logger.info("The configuration is kept on the disk again.", extra={"revision": self._written})
        self._problem = problem


def _why_unreadable(error: OSError) -> str:
    return "there is none" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error.strerror})"


def _lines(rows: Rows, database: str) -> Iterator[bytes]:
    yield _encode(_Head(FORMAT, VERSION, database, rows.revision)) + b"\n"
    for tenant in rows.tenants:
        yield _line("tenant", tenant)
    for membership in rows.memberships:
        yield _line("membership", membership)
    known = None
    for route in rows.routes:  # in the order of their providers
        if route.provider_id != known:
            known = route.provider_id
            yield _line("provider", route.provider)
        yield _line("route", route)
    for key in rows.keys:
        yield _line("key", key)


def _line(kind: str, row: Model) -> bytes:
    missing = row.get_deferred_fields()
    names = [field.attname for field in row._meta.concrete_fields if field.attname not in missing]
    return _encode((kind, {name: getattr(row, name) for name in names})) + b"\n"


def _rows(revision: int, lines: Iterable[bytes]) -> Rows:
    found: dict[str, list[Any]] = {kind: [] for kind in _MODELS}
    for line in lines:
        kind, values = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
        found[kind].append(_row(_MODELS[kind], values))
    providers = {provider.id: provider for provider in found["provider"]}
    for route in found["route"]:
        route.provider = providers[route.provider_id]
    return Rows(revision, found["tenant"], found["membership"], found["route"], found["key"])


def _row[Row: Model](model: type[Row], values: dict[str, Any]) -> Row:
    """Return the row as a query of these columns would have. Raises LookupError for a column that there is not."""
    fields = {field.attname: field for field in model._meta.concrete_fields}
    given = {name: fields[name].to_python(value) for name, value in values.items()}
    ordered = [name for name in fields if name in given]
    return model.from_db("default", ordered, [given[name] for name in ordered], fetch_mode=FETCH_RAISE)
