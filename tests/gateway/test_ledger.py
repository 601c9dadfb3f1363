"""Shares of several processes: never more than the limit together, and nothing withheld for good, whatever happens."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import BEAT_SECONDS, RECALL_SECONDS, Short
from gateway.share import Kind
from tests.gateway.counting import HOUR, QUOTA, RATE, SLOTS, Process, World, play

SEEDS = st.integers(0, 2**32)
NETWORK_SECONDS = 0.1


async def started(world: World, count: int, kind: Kind, limit: int) -> list[Process]:
    processes = [Process(world, f"p{number}", kind, limit) for number in range(count)]
    for process in processes:
        await process.ledger.start()
    return processes


async def load(world: World, processes: list[Process], seconds: float, *, rate: int = 200, spoiled: int = 10) -> None:
    """Let requests come for a while, `rate` a second; of a hundred some are spoiled."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        await asyncio.sleep(world.chance.expovariate(rate))
        living = [process for process in processes if not process.is_dead]
        world.chance.choice(living).start_request(
            spoiled=world.chance.randrange(100) < spoiled, seconds=world.chance.choice([0.0, 0.0, 0.05, 0.5])
        )


async def settled(processes: list[Process]) -> None:
    await asyncio.gather(*(task for process in processes for task in process.requests))


def used(processes: list[Process]) -> Counter[str]:
    """Return what all have let through, by window."""
    total = Counter[str]()
    for process in processes:
        total.update(process.used)
    return total


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 5), limit=st.integers(1, 400))
def test_exactly_the_limit_is_let_through(seed: int, count: int, limit: int) -> None:
    async def story(world: World) -> None:
        processes = await started(world, count, QUOTA, limit)
        await load(world, processes, 4, rate=limit)
        await settled(processes)
        assert used(processes).total() == limit
        assert sum(process.unknown for process in processes) == 0

    play(seed, story)


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    faults=st.fixed_dictionaries({name: st.sampled_from([0, 20, 100]) for name in ("unseen", "unanswered", "late")}),
    pushes=st.sampled_from([0, 500, 1000]),
    events=st.lists(st.sampled_from(["forget", "kill", "redis", "database", "stop"]), max_size=4),
)
def test_a_quota_is_never_exceeded_and_nothing_of_it_withheld_for_good(
    seed: int, faults: dict[str, int], pushes: int, events: list[str]
) -> None:
    """Whatever is lost, late or forgotten, and whoever dies: once there is peace, the last unit is let through."""
    limit = 300

    async def story(world: World) -> None:
        processes = await started(world, 4, QUOTA, limit)
        for event in events:
            await load(world, processes, 0.4)
            await befall(world, processes, event)
        await load(world, processes, 0.4)
        world.faults.unseen = world.faults.unanswered = world.faults.late = world.faults.pushes = 0
        # A question of a process that died on its way may have come late: its claim lasts as long as a lease.
        await asyncio.sleep(QUOTA.lease_seconds + 1)
        await load(world, processes, 4, rate=400)
        await settled(processes)
        assert used(processes).total() == limit
        for process in processes:
            assert process.slowest <= RECALL_SECONDS + 4 * NETWORK_SECONDS
            if not process.is_dead:
                await process.ledger.stop()

    play(seed, story, pushes=pushes, **faults)


async def befall(world: World, processes: list[Process], event: str) -> None:
    living = [process for process in processes if not process.is_dead]
    match event:
        case "forget":
            world.forget()
        case "kill" if len(living) > 1:
            await world.chance.choice(living).kill()
        case "stop" if len(living) > 1:
            process = world.chance.choice(living)
            await settled([process])
            await process.ledger.stop()
            await process.kill()
        case "redis":
            world.redis_is_down = True
            await load(world, processes, 0.3)
            world.redis_is_down = False
        case "database":
            world.database_is_down = True
            await load(world, processes, 0.3)
            world.database_is_down = False


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, pushes=st.sampled_from([0, 1000]))
def test_a_rate_is_never_exceeded_while_redis_is_there(seed: int, pushes: int) -> None:
    async def story(world: World) -> None:
        processes = await started(world, 4, RATE, 150)
        await load(world, processes, 12)
        await settled(processes)
        let_through = used(processes)
        assert max(let_through.values()) == 150
        assert len(let_through) >= 3

    play(seed, story, pushes=pushes)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, limit=st.integers(1, 12), kills=st.integers(0, 2))
def test_never_more_requests_run_at_once_than_there_are_slots(seed: int, limit: int, kills: int) -> None:
    async def story(world: World) -> None:
        processes = await started(world, 4, SLOTS, limit)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, sum(process.running for process in processes))
                await asyncio.sleep(0.002)

        watching = asyncio.create_task(watch())
        for _ in range(kills):
            await load(world, processes, 0.5, spoiled=0)
            await processes.pop().kill()
        await asyncio.sleep(4)
        await load(world, processes, 2, spoiled=0)
        await settled(processes)
        watching.cancel()
        assert most == limit

    play(seed, story)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_an_emptied_redis_lets_at_most_one_more_limit_through_in_a_window(seed: int) -> None:
    async def story(world: World) -> None:
        processes = await started(world, 4, RATE, 150)
        for _ in range(6):
            await load(world, processes, 1)
            if world.chance.random() < 0.4:
                world.forget()
        await settled(processes)
        assert max(used(processes).values()) <= 2 * 150

    play(seed, story)


def test_without_redis_each_process_counts_by_itself() -> None:
    async def story(world: World) -> None:
        world.redis_is_down = True
        processes = await started(world, 3, RATE, 10)
        for process in processes:
            assert [await process.request() for _ in range(12)] == [True] * 10 + [False] * 2
            assert not process.ledger.health()["ok"]
        world.redis_is_down = False
        await asyncio.sleep(1.1)
        assert processes[0].ledger.health()["ok"]
        assert not await processes[0].request()

    play(1, story)


def test_without_the_database_a_quota_lasts_as_long_as_what_is_in_hand() -> None:
    async def story(world: World) -> None:
        (process,) = await started(world, 1, QUOTA, 100)
        assert await process.request()
        world.database_is_down = True
        in_hand = process.share.block.spare
        assert in_hand > 0
        assert [await process.request() for _ in range(in_hand + 2)] == [True] * in_hand + [False] * 2
        assert (process.refused, process.unknown) == (0, 2)
        world.database_is_down = False
        await asyncio.sleep(1)
        assert await process.request()

    play(3, story)


def test_a_busy_key_asks_about_once_a_second_and_a_quiet_one_gives_back_what_it_leaves() -> None:
    async def story(world: World) -> None:
        (process,) = await started(world, 1, RATE, 1_000_000)
        await load(world, [process], 4.9, rate=2000, spoiled=0)
        before = world.questions
        await load(world, [process], 1.5, rate=2000, spoiled=0)
        assert world.questions - before < 20
        await asyncio.sleep(2.5)
        assert process.share.block.spare == 0

    play(5, story)


def test_a_lower_limit_binds_what_is_in_hand_already() -> None:
    async def story(world: World) -> None:
        processes = await started(world, 2, QUOTA, 1000)
        await load(world, processes, 0.5, rate=200, spoiled=0)
        await settled(processes)
        let_through = used(processes).total()
        for process in processes:
            process.ledger.share("k", QUOTA, 50)
        for process in processes:
            assert not await process.request()
        for process in processes:
            process.ledger.share("k", QUOTA, let_through + 3)
        assert sum([await process.request() for process in processes for _ in range(4)]) == 3

    play(2, story)


@pytest.mark.parametrize("kind", [RATE, QUOTA], ids=lambda kind: kind.name)
def test_a_clock_that_is_set_back_locks_nobody_out(kind: Kind) -> None:
    async def story(world: World) -> None:
        (process,) = await started(world, 1, kind, 40)
        process.clock_is_ahead = 24.0 * HOUR
        await asyncio.sleep(BEAT_SECONDS + 0.1)
        assert [await process.request() for _ in range(41)] == [True] * 40 + [False]
        process.clock_is_ahead = 0.0
        await asyncio.sleep(BEAT_SECONDS + 0.1)
        assert await process.request()

    play(4, story)


def test_a_clock_that_is_set_back_within_the_month_gives_nothing_twice() -> None:
    async def story(world: World) -> None:
        processes = await started(world, 2, QUOTA, 60)
        for process in processes:
            process.clock_is_ahead = 100.0
        await asyncio.sleep(BEAT_SECONDS + 0.1)
        for process in processes:
            assert await process.request()
        for process in processes:
            process.clock_is_ahead = 0.0
        await asyncio.sleep(BEAT_SECONDS + 0.1)
        await load(world, processes, 4, rate=60)
        await settled(processes)
        assert used(processes).total() == 60

    play(6, story)


def test_a_refusal_is_believed_for_a_moment_and_costs_nothing() -> None:
    async def story(world: World) -> None:
        (process,) = await started(world, 1, RATE, 2)
        assert [await process.request() for _ in range(3)] == [True, True, False]
        before = world.questions
        for _ in range(100):
            with pytest.raises(Short):
                await process.ledger.take(process.share, 1)
        assert world.questions == before

    play(6, story)
