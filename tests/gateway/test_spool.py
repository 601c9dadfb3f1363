"""The spool: what is on disk after each record, after a kill, and when the disk has no room."""

import asyncio
import os
import signal
import subprocess
import sys
from binascii import crc32
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from gateway.spool import Spool, line_of
from gateway.spool_reader import Claim, alone, claims, harvest_of
from tests.gateway.records import finished, started

ROOT = Path(__file__).parents[2]
TENANT = "0199f1c2-0000-7000-8000-000000000001"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, owner="host-1-1")
    made.open()
    yield made
    made.close()


def sealed(spool: Spool) -> Path | None:
    """Seal what was written so far; None if there is nothing to seal."""
    wait([spool._next])  # type: ignore[list-item]  # an open spool has one
    sealing = spool.rotate()
    return sealing.result() if sealing is not None else None


def claimed(folder: Path) -> list[Claim]:
    with alone(folder) as mine:
        assert mine
        return list(claims(folder))


def test_a_record_is_on_disk_when_the_call_returns(spool: Spool, tmp_path: Path) -> None:
    begun, done = started(TENANT, "a"), finished(TENANT, "b", cost_usd="0.1")
    spool.begin(begun)
    spool.end(done)
    harvest = harvest_of(tmp_path / "host-1-1.00000000.open")
    assert harvest.started == {"a": begun}
    assert harvest.finished == {"b": done}


def test_each_segment_begins_with_what_is_in_flight(spool: Spool, tmp_path: Path) -> None:
    spool.begin(started(TENANT, "long"))
    spool.begin(started(TENANT, "short"))
    spool.end(finished(TENANT, "short"))
    first = sealed(spool)
    spool.end(finished(TENANT, "other"))
    second = sealed(spool)
    assert first is not None
    assert second is not None
    assert set(harvest_of(first).started) == {"long", "short"}
    assert set(harvest_of(second).started) == {"long"}
    assert set(harvest_of(tmp_path / "host-1-1.00000002.open").started) == {"long"}


def test_an_idle_process_seals_nothing(spool: Spool) -> None:
    assert sealed(spool) is None
    spool.begin(started(TENANT))
    assert sealed(spool) is not None
    assert sealed(spool) is None  # nothing but the copy of what is in flight


def test_a_torn_line_is_nobodys_record_and_a_strange_one_is_set_aside(tmp_path: Path) -> None:
    whole = line_of(finished(TENANT, "whole"))
    strange = b'{"type":"mystery"}'
    segment = tmp_path / "x.00000000.sealed"
    segment.write_bytes(
        whole
        + line_of(finished(TENANT, "torn"))[:40]
        + b"\n"
        + b"%08x %b\n" % (crc32(strange), strange)
        + b"\n\nzz\n"
        + line_of(finished(TENANT, "flipped")).replace(b"openai", b"0penai")
    )
    harvest = harvest_of(segment)
    assert set(harvest.finished) == {"whole"}
    assert [line[9:] for line in harvest.rejected] == [strange]


def test_of_a_living_owner_only_sealed_segments_are_taken(spool: Spool, tmp_path: Path) -> None:
    spool.end(finished(TENANT))
    assert claimed(tmp_path) == []
    path = sealed(spool)
    assert path is not None
    spool.end(finished(TENANT))
    assert claimed(tmp_path) == [Claim("host-1-1", (path,), owner_is_dead=False)]


def test_of_a_dead_owner_everything_is_taken(spool: Spool, tmp_path: Path) -> None:
    spool.end(finished(TENANT))
    sealed(spool)
    spool.end(finished(TENANT, "last"))
    spool.close()
    (claim,) = claimed(tmp_path)
    assert claim.owner_is_dead
    assert [path.suffix for path in claim.segments] == [".sealed", ".open", ".open"]  # the last was never begun
    assert [set(harvest_of(path).finished) for path in claim.segments[1:]] == [{"last"}, set()]
    claim.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shipper.lock"]


def test_one_shipper_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path) as first, alone(tmp_path) as second:
        assert first
        assert not second
    with alone(tmp_path) as again:
        assert again


def test_past_its_limit_records_are_dropped_and_counted_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        spool = Spool(tmp_path, segment_seconds=0.001, segment_bytes=2000, max_bytes=20_000)
        spool.open()
        spool.start(asyncio.get_running_loop())

        async def until(look: Callable[[], bool]) -> None:
            async with asyncio.timeout(10):
                while not look():
                    await asyncio.sleep(0.002)

        def drops() -> bool:
            before = spool.dropped
            spool.end(finished(TENANT))
            return spool.dropped > before

        await until(drops)
        assert "The spool loses records" in caplog.text
        assert "it has reached its size limit" in caplog.records[-1].why  # type: ignore[attr-defined]
        for path in tmp_path.glob("*.sealed"):
            path.unlink()
        await until(lambda: not drops())
        spool.close()

    asyncio.run(play())


def test_a_burst_larger_than_a_segment_is_kept_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path, owner="burst-1-1", segment_bytes=1500)
    spool.open()
    for n in range(200):
        spool.end(finished(TENANT, f"n{n}"))
    spool.close()
    (claim,) = claimed(tmp_path)
    kept = {id_ for path in claim.segments for id_ in harvest_of(path).finished}
    assert (len(kept), spool.dropped) == (200, 0)


DISK_FULL = f"""
import resource, signal, sys, time
from pathlib import Path
from gateway.spool import Spool
from tests.gateway.records import finished
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), owner="full-1-1", segment_bytes=1000)
spool.open()
spool._next.result()
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
for n in range(50):
    spool.end(finished({TENANT!r}, f"n{{n}}"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for n in range(50, 250):
    before = spool.dropped
    spool.end(finished({TENANT!r}, f"n{{n}}"))
    if spool.dropped == before:
        break
    time.sleep(0.01)
spool.close()
print(n + 1, spool.dropped)
"""


def test_a_full_disk_loses_records_by_number_and_no_process(tmp_path: Path) -> None:
    """The kernel's limit on a file's size refuses the blocks of a segment, as a full disk does."""
    ran = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "nexus.settings.test", "PYTHONPATH": str(ROOT)},
    )
    written, lost = map(int, ran.stdout.split())
    assert lost > 30
    (claim,) = claimed(tmp_path)
    kept = {id_ for path in claim.segments for id_ in harvest_of(path).finished}
    assert len(kept) == written - lost
    assert "n0" in kept
    assert f"n{written - 1}" in kept  # the disk has room again, and the spool goes on
    assert "The spool loses records" in ran.stderr


WRITER = f"""
import sys, time
from pathlib import Path
from gateway.spool import Spool
from tests.gateway.records import finished, started
spool = Spool(Path(sys.argv[1]))
spool.open()
spool.begin(started({TENANT!r}, "open"))
spool.begin(started({TENANT!r}, "done"))
spool.end(finished({TENANT!r}, "done"))
print("written", flush=True)
time.sleep(60)
"""


def test_a_killed_owner_is_known_to_be_dead_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "nexus.settings.test", "PYTHONPATH": str(ROOT)},
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert claimed(tmp_path) == []
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    (claim,) = claimed(tmp_path)
    assert claim.owner_is_dead
    harvest = harvest_of(claim.segments[0])
    assert set(harvest.started) - set(harvest.finished) == {"open"}
