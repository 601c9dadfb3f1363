"""The circuit board of several processes' worth of event loops."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID, uuid4

import pytest

from gateway.circuit import Result, Status
from gateway.circuit_scripts import CHANNEL
from gateway.circuit_store import Permit, Refusal, read_states, reset_circuit
from nexus import redis_clients
from nexus.embedded import Endpoints
from nexus.redis_clients import sync_client
from tests.gateway.boards import (
    OPEN_SECONDS,
    Board,
    fail,
    is_not,
    open_circuit,
    own_server,
    permit,
    probe_of,
    run,
    until,
)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown here is what holds while the server is there, on a crowded machine too."""
    monkeypatch.setattr(redis_clients, "TIMEOUT_SECONDS", 5.0)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Endpoints]:
    with own_server() as services:
        yield services.start()


def test_failures_in_several_processes_open_it_for_all(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        for board in (*boards, boards[0]):
            await fail(board, id_)
        for board in boards:
            await until(partial(is_not, board.is_closed, id_))
            refusal = await board.acquire(id_, lease_seconds=1)
            assert isinstance(refusal, Refusal)
            assert 0 < refusal.retry_after_seconds <= 30
        assert [change.to_status for board in boards for _, change in board.seen] == [Status.OPEN]

    run(valkey.redis_url, 4, play, open_seconds=30)


def test_one_probe_for_all_and_two_successes_close_it(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 5)
        await asyncio.sleep(OPEN_SECONDS + 0.05)
        for _ in range(2):
            answers = await asyncio.gather(*(board.acquire(id_, lease_seconds=1) for board in boards for _ in range(5)))
            probes = [answer for answer in answers if isinstance(answer, Permit)]
            assert len(probes) == 1
            await boards[1].report(id_, probes[0], Result.SUCCESS, "200")
        for board in boards:
            await until(partial(board.is_closed, id_))
        changes = sorted((c.generation, c.to_status) for board in boards for _, c in board.seen)
        assert [status for _, status in changes] == [Status.OPEN, Status.HALF_OPEN, Status.CLOSED]

    run(valkey.redis_url, 4, play)


def test_a_probe_whose_holder_died_is_given_to_the_next(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 5)
        await asyncio.sleep(OPEN_SECONDS + 0.05)
        lost = await boards[0].acquire(id_, lease_seconds=0.3)
        assert isinstance(lost, Permit)
        assert isinstance(await boards[1].acquire(id_, lease_seconds=1), Refusal)
        await asyncio.sleep(0.35)
        taken = await boards[1].acquire(id_, lease_seconds=1)
        assert isinstance(taken, Permit)
        await boards[0].report(id_, lost, Result.FAILURE, "late")
        assert (await boards[1].acquire(id_, lease_seconds=1)) != taken
        await boards[1].report(id_, taken, Result.SUCCESS)

    run(valkey.redis_url, 2, play)


def test_a_closed_circuit_costs_no_round_trip(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        board = boards[0]
        before = sync_client(valkey.redis_url).info("commandstats")
        for _ in range(1000):
            granted = board.closed_permit(id_)
            assert granted is not None
            assert not board.needs_report(id_, granted, Result.SUCCESS)
            assert not board.needs_report(id_, granted, Result.NEUTRAL)
        after = sync_client(valkey.redis_url).info("commandstats")
        assert after.get("cmdstat_evalsha", {}) == before.get("cmdstat_evalsha", {})

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_a_success_is_told_only_when_it_ends_a_row_of_failures(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 4)
        granted = await permit(boards[1], id_)
        await until(lambda: boards[1].needs_report(id_, granted, Result.SUCCESS))
        await boards[1].report(id_, granted, Result.SUCCESS)
        await until(lambda: not boards[0].needs_report(id_, granted, Result.SUCCESS))
        await fail(boards[0], id_, 4)
        assert boards[0].closed_permit(id_) is not None

    run(valkey.redis_url, 2, play)


def test_a_changed_provider_starts_afresh(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        id_ = uuid4()
        await fail(boards[0], id_, 5)
        reset_circuit(sync_client(valkey.redis_url), id_, "the key was changed")
        await until(lambda: boards[0].closed_permit(id_) is not None)

    run(valkey.redis_url, 1, play, open_seconds=30)


def evaluations(url: str) -> int:
    """Return how often the script ran."""
    calls = sync_client(url).info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    assert isinstance(calls, int)
    return calls


@pytest.mark.parametrize("wrong_by", [-600.0, 172_800.0])
def test_a_wrong_clock_changes_nothing(valkey: Endpoints, wrong_by: float) -> None:
    async def play(boards: list[Board]) -> None:
        board = boards[0]
        id_ = await open_circuit(board)
        refusal = await board.acquire(id_, lease_seconds=1)
        assert isinstance(refusal, Refusal)
        assert refusal.retry_after_seconds <= OPEN_SECONDS
        await probe_of(board, id_)

    run(valkey.redis_url, 1, play, clock=lambda: time.time() + wrong_by)


def test_a_crowd_before_a_half_open_circuit_asks_once(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board, other = boards
        id_ = await open_circuit(board)
        probe = await probe_of(board, id_)
        await until(lambda: not other.is_closed(id_))
        await board.report(id_, probe, Result.NEUTRAL)
        before = evaluations(valkey.redis_url)
        answers = await asyncio.gather(*(board.acquire(id_, lease_seconds=5) for _ in range(500)))
        assert sum(isinstance(answer, Permit) for answer in answers) == 1
        assert evaluations(valkey.redis_url) - before == 1
        assert board.backend == "redis"

    run(valkey.redis_url, 2, play)


def test_a_crowd_of_failures_is_no_outage(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board, id_ = boards[0], uuid4()
        permit = board.closed_permit(id_)
        assert permit is not None
        await asyncio.gather(*(board.report(id_, permit, Result.FAILURE, "500") for _ in range(500)))
        assert board.backend == "redis"
        assert [change.to_status for _, change in board.seen] == [Status.OPEN]
        clients = sync_client(valkey.redis_url).info("clients")["connected_clients"]
        assert clients < 20

    run(valkey.redis_url, 1, play, open_seconds=30)


@pytest.mark.parametrize("steps", range(12))
def test_a_client_that_leaves_while_its_probe_is_granted_leaves_the_slot_free(valkey: Endpoints, steps: int) -> None:
    async def play(boards: list[Board]) -> None:
        board, other = boards
        id_ = await open_circuit(board)
        await board.report(id_, await probe_of(board, id_), Result.NEUTRAL)
        asking = asyncio.create_task(board.acquire(id_, lease_seconds=30))
        for _ in range(steps):
            await asyncio.sleep(0)
        if not asking.cancel():
            asking = await give_back(board, id_, asking)
        await asyncio.gather(asking, return_exceptions=True)
        await probe_of(other, id_, seconds=1)

    run(valkey.redis_url, 2, play)


async def give_back(board: Board, id_: UUID, asked: asyncio.Task[Permit | Refusal]) -> asyncio.Task[Permit | Refusal]:
    permit = asked.result()
    assert isinstance(permit, Permit)
    await board.report(id_, permit, Result.NEUTRAL)
    return asked


def test_a_report_is_told_though_its_caller_leaves(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board, id_ = boards[0], uuid4()
        for _ in range(5):
            reporting = asyncio.create_task(fail(board, id_))
            await asyncio.sleep(0)
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        await until(partial(is_not, board.is_closed, id_))
        assert [change.to_status for _, change in board.seen] == [Status.OPEN]

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_reports_under_way_are_let_through_at_the_stop(valkey: Endpoints) -> None:
    id_ = uuid4()

    async def play(boards: list[Board]) -> None:
        for _ in range(5):
            boards[0].report_soon(id_, Permit(0), Result.FAILURE, "500")

    run(valkey.redis_url, 1, play, open_seconds=30)
    assert read_states(sync_client(valkey.redis_url), [id_])[id_].status is Status.OPEN


def test_a_process_that_starts_later_knows_where_closed_circuits_are(valkey: Endpoints) -> None:
    id_ = uuid4()
    reset_circuit(sync_client(valkey.redis_url), id_, "another key")

    async def play(boards: list[Board]) -> None:
        permits = [permit for board in boards if (permit := board.closed_permit(id_)) is not None]
        for board, own in zip(boards, permits, strict=True):
            await board.report(id_, own, Result.FAILURE, "500")
        await until(partial(is_not, boards[0].is_closed, id_))

    run(valkey.redis_url, 5, play, open_seconds=30)


def test_the_reset_of_a_closed_circuit_reaches_who_missed_its_push(valkey: Endpoints) -> None:
    admin = sync_client(valkey.redis_url)

    async def play(boards: list[Board]) -> None:
        await until(lambda: admin.pubsub_numsub(CHANNEL)[0][1] == 1)
        admin.client_kill_filter(_type="pubsub")
        id_ = uuid4()
        reset_circuit(admin, id_, "another key")
        await until(lambda: boards[0].closed_permit(id_) not in (None, Permit(0)))

    run(valkey.redis_url, 1, play, open_seconds=30)


def test_a_lost_push_is_a_delay_only(valkey: Endpoints) -> None:
    admin = sync_client(valkey.redis_url)

    async def play(boards: list[Board]) -> None:
        board, other = boards
        await until(lambda: admin.pubsub_numsub(CHANNEL)[0][1] == 2)
        admin.client_kill_filter(_type="pubsub")
        id_ = await open_circuit(other)
        await until(partial(is_not, board.is_closed, id_))
        reset_circuit(admin, id_, "another key")
        await until(partial(board.is_closed, id_))
        await until(lambda: admin.pubsub_numsub(CHANNEL)[0][1] == 2)

    run(valkey.redis_url, 2, play, open_seconds=30)


def test_what_is_no_state_on_the_channel_is_left_out(
    valkey: Endpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.circuit_store.RESYNC_SECONDS", 60)  # the push alone
    admin = sync_client(valkey.redis_url)

    async def play(boards: list[Board]) -> None:
        board, other = boards
        await until(lambda: admin.pubsub_numsub(CHANNEL)[0][1] == 2)
        for message in ("not json", "[]", "7", '["no id"]', f'["{uuid4()}", "closed"]', f'["{uuid4()}", "ajar"]'):
            admin.publish(CHANNEL, message)
        id_ = await open_circuit(other)
        await until(partial(is_not, board.is_closed, id_))

    run(valkey.redis_url, 2, play, open_seconds=30)
    assert caplog.text.count("is not a circuit's state") == 12


def test_a_reset_is_told_once_and_shared(valkey: Endpoints) -> None:
    async def play(boards: list[Board]) -> None:
        board, other = boards
        id_ = await open_circuit(board)
        await until(partial(is_not, other.is_closed, id_))
        await other.reset(id_, "another key")
        await until(partial(board.is_closed, id_))
        assert [(c.from_status, c.to_status, c.reason) for _, c in other.seen] == [
            (Status.OPEN, Status.CLOSED, "another key")
        ]
        assert reset_circuit(sync_client(valkey.redis_url), id_, "closed already") is None

    run(valkey.redis_url, 2, play, open_seconds=30)
