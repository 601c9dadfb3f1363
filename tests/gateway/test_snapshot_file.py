"""The configuration on the disk: what is in it, when it is believed, and a runtime that starts with it."""

import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accounts.models import ApiKey, Tenant
from gateway.snapshot import Snapshot
from gateway.snapshot_file import SnapshotFile, SnapshotRefused, SnapshotWriter
from gateway.snapshot_loader import load
from tests.gateway.conftest import Client

MODELS = {"gpt-4o": "gpt-4o", "fast": "gpt-4o-mini"}
SECRET = "sk-provider-canary-0123456789"


def file_at(path: Path, **other: Any) -> SnapshotFile:
    given = {"secret": "s" * 50, "database": "db:5432/nexus", "max_age_seconds": 60.0, **other}
    return SnapshotFile(path, **given)


@pytest.fixture
def key(client: Client) -> str:
    """The key of a tenant with settings, a provider and two models of its own, beside whatever tenants there are."""
    Tenant.objects.filter(id=client.tenant.id).update(routing_strategy="weighted", deadline_s=17, max_attempts=3)
    client.add_provider(
        "https://api.openai.com/v1", name="p", timeout_s=9, options={"a": [1]}, api_key=SECRET, models=MODELS
    )
    ApiKey.objects.filter(id=client.key_id).update(expires_at=datetime.now(UTC) + timedelta(days=1))
    return client.key


@pytest.fixture
def file(key: str, tmp_path: Path) -> SnapshotFile:
    """The file of that configuration."""
    made = file_at(tmp_path / "snapshot.jsonl")
    SnapshotWriter(made).step()
    return made


def test_it_gives_the_very_snapshot_that_the_database_gives(file: SnapshotFile, client: Client) -> None:
    found, stored = file.load()
    assert found == load(Snapshot())
    tenant = found.tenants[client.tenant.id]
    assert set(tenant.routes) == set(MODELS)
    assert tenant.routes["fast"].candidates[0].target.api_key == SECRET
    assert stored.revision == found.revision
    assert 0 <= stored.age_seconds < 30


def test_it_holds_no_secret_in_the_clear_and_only_its_owner_reads_it(file: SnapshotFile, key: str) -> None:
    content = file.path.read_bytes()
    assert SECRET.encode() not in content
    assert key.encode() not in content
    assert b"gitops_secret" not in content
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_damaged_byte_anywhere_is_noticed(file: SnapshotFile) -> None:
    content = file.path.read_bytes()
    for position in (len(content) // 4, len(content) // 2, len(content) - 3):
        file.path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(SnapshotRefused):
            file.load()
    for torn in (content[: len(content) // 2], content.rpartition(b"\n[")[0], b"", b"\0" * 500):
        file.path.write_bytes(torn)
        with pytest.raises(SnapshotRefused):
            file.load()
    file.path.write_bytes(content)
    assert file.load()[0].revision >= 0


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"secret": "t" * 50}, "was not written with this SECRET_KEY"),
        ({"database": "elsewhere:5432/nexus"}, "of another database, db:5432/nexus"),
        ({"max_age_seconds": -1.0}, "NEXUS_SNAPSHOT_MAX_AGE_SECONDS"),
    ],
)
def test_a_foreign_or_old_file_is_refused_and_the_reason_said(
    file: SnapshotFile, other: dict[str, Any], why: str
) -> None:
    with pytest.raises(SnapshotRefused, match=why):
        file_at(file.path, **other).load()


def test_a_file_of_another_release_is_refused(file: SnapshotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("gateway.snapshot_file.VERSION", 2)
        with pytest.raises(SnapshotRefused, match="this release reads 2"):
            file.load()
    lines = file.path.read_bytes().splitlines()[:-1]
    for old, new in ((b'"deadline_s"', b'"deadline_t"'), (b'"deadline_s":17,', b"")):  # a strange column, one less
        file.path.write_bytes(b"".join(file._signed(line.replace(old, new) + b"\n" for line in lines)))
        with pytest.raises(SnapshotRefused, match="does not fit this release"):
            file.load()


def test_no_file_is_said_too(tmp_path: Path) -> None:
    with pytest.raises(SnapshotRefused, match="there is none"):
        file_at(tmp_path / "snapshot.jsonl").load()


def test_it_is_written_when_something_changes_and_confirmed_when_nothing_does(file: SnapshotFile) -> None:
    writer = SnapshotWriter(file)
    writer.step()
    first = file.path.stat()
    time.sleep(0.02)
    writer.step()
    assert file.path.stat().st_ino == first.st_ino
    assert file.path.stat().st_mtime > first.st_mtime
    file.path.unlink()
    writer.step()
    assert file.load()[0].revision >= 0


def test_a_disk_without_room_leaves_the_old_file(file: SnapshotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nexus.private_files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        SnapshotWriter(file).step()
    assert file.path.read_bytes() == before
    assert [path.name for path in file.path.parent.iterdir()] == ["snapshot.jsonl"]
