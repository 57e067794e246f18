"""Everything at once: faults, draining, ageing and resizing while borrowers come and go."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest
from echo import marked_audio
from faults.laboratory import Laboratory, answered, ids, laboratory, serve, until, whole

from avatarpool import (
    AvatarConnectionPool,
    AvatarPoolError,
    AvatarSDKError,
    RequestTimeout,
)
from avatarpool.endpoint import refusals


@pytest.fixture
async def lab() -> AsyncIterator[Laboratory]:
    async with laboratory() as lab:
        yield lab


async def load(
    pool: AvatarConnectionPool, borrowers: int, is_over: Callable[[], object]
) -> Counter[str]:
    """Make requests from so many tasks until it is over; return how they ended."""
    outcomes: Counter[str] = Counter()

    async def borrower(number: int) -> None:
        mark = number
        while not is_over():
            mark += borrowers
            try:
                await serve(pool, 1 + mark % 30_000, frames=4)
            except AvatarPoolError as error:
                outcomes[type(error).__name__] += 1
            else:
                outcomes["served"] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(borrowers):
            group.create_task(borrower(number))
    return outcomes


async def test_drain_under_load_replaces_everything_and_fails_no_request(lab: Laboratory):
    async with lab.pool(4) as pool:
        rounds = 0
        before = ids(pool)

        def is_over() -> bool:
            nonlocal rounds, before
            if rounds < 4 and pool.total_count == 4 and not before & ids(pool):
                rounds, before = rounds + 1, ids(pool)
                pool.drain()
            return rounds == 4

        pool.drain()
        outcomes = await load(pool, 12, is_over)
        await whole(pool, 4)
        assert set(outcomes) == {"served"}
        assert pool.get_stats()["connections_retired"] >= 16
        assert pool.get_stats()["requests_errors"] == 0


async def test_ageing_under_load_fails_no_request(lab: Laboratory):
    # Sessions are lent for 0.4 to 1.5 s of their life.
    async with lab.pool(4, max_lifetime=11.0, request_timeout=9.5) as pool:
        outcomes = await load(pool, 12, lambda: pool.get_stats()["connections_retired"] >= 8)
        assert set(outcomes) == {"served"}
        assert pool.get_stats()["requests_errors"] == 0
        assert pool.get_stats()["connections_lost"] == 0


async def test_resizing_under_load_fails_no_request(lab: Laboratory):
    async with lab.pool(2) as pool:
        sizes = iter([6, 1, 5, 3])
        size = 2

        def is_over() -> bool:
            nonlocal size
            if pool.total_count == size:
                size = next(sizes, 0)
                if size:
                    pool.resize(size)
            return not size

        outcomes = await load(pool, 12, is_over)
        assert set(outcomes) == {"served"}
        await whole(pool, 3)
        assert pool.get_stats()["requests_errors"] == 0


async def test_cutting_a_connection_every_few_requests_mixes_and_loses_nothing(lab: Laboratory):
    rng = random.Random(11)
    lab.ingress.on_link = lambda link: setattr(link.down, "cut_at", rng.randrange(300, 9000))
    async with lab.pool(4) as pool:
        outcomes = await load(pool, 12, lambda: pool.get_stats()["connections_lost"] >= 40)
        assert set(outcomes) <= {"served", "AvatarSDKError"}
        assert outcomes["served"] > outcomes["AvatarSDKError"]
        lab.ingress.on_link = lambda link: None
        for link in lab.ingress.links:
            link.down.cut_at = None
        await whole(pool, 4)


Fate = Callable[[Laboratory, AvatarConnectionPool, int], Coroutine[Any, Any, None]]


async def is_served(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    await serve(pool, mark)


async def is_left(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(-mark, 20))


async def is_impatient(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(-mark, 100), end=True)
        await conn.collector.wait(0.0)


async def is_interrupted(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(-mark, 100), end=True)
        await conn.session.interrupt()
        await answered(conn, mark)


async def cuts(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    next(iter(lab.ingress.links)).cut(reset=bool(mark % 2))


async def swallows(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    next(reversed(lab.ingress.links)).swallow()


async def is_ended(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    sessions = lab.service._ingress._sessions  # type: ignore[union-attr]
    next(iter(sessions)).end(refusals.session_expired(60))


async def drains(lab: Laboratory, pool: AvatarConnectionPool, mark: int) -> None:
    pool.drain()


HARMLESS: Sequence[Fate] = [is_served] * 8 + [is_left, is_impatient, is_interrupted]
HARMFUL: Sequence[Fate] = [cuts, swallows, is_ended, drains]


@pytest.mark.parametrize("seed", range(3))
async def test_random_faults_and_random_borrowers_mix_and_lose_nothing(lab: Laboratory, seed: int):
    rng = random.Random(seed)
    usual = lab.overrides
    lab.overrides = usual | {"ping_interval": 0.3, "ping_timeout": 0.3}
    async with lab.pool(5, quarantine_timeout=0.5) as pool:

        async def one(mark: int) -> Exception | None:
            fate = rng.choice(HARMFUL if mark % 25 == 0 else HARMLESS)
            try:
                await fate(lab, pool, mark)
            except (AvatarSDKError, RequestTimeout, StopIteration) as error:
                return error  # everything else, a mixed frame above all, fails the test
            return None

        async with asyncio.TaskGroup() as group:
            tasks = []
            for mark in range(1, 301):
                tasks.append(group.create_task(one(mark)))
                await asyncio.sleep(0)
                if mark % 25 == 0:
                    await until(lambda: pool.get_stats()["requests_waiting"] < 10)
        assert sum(task.result() is None for task in tasks) > 150
        await whole(pool, 5)
        lab.overrides = usual  # hasty pings may end sessions that are sound
        before = ids(pool)
        pool.drain()
        await until(lambda: not before & ids(pool))
        await whole(pool, 5)
        for mark in range(1, 6):
            await serve(pool, mark)
        await until(lambda: lab.service.counters.requests_open == 0)
