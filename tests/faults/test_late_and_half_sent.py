"""What a request leaves behind never reaches whoever borrows the connection next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from echo import marked_audio, marks
from faults.laboratory import SOON, Laboratory, answered, laboratory, serve, until, whole

from avatarpool import AudioError, AvatarConnectionPool, PooledConnection, RequestTimeout


@pytest.fixture
async def lab() -> AsyncIterator[Laboratory]:
    async with laboratory() as lab:
        yield lab


class Abandoned(Exception):
    """A borrower's own mistake."""


async def times_out(conn: PooledConnection) -> None:
    await conn.session.send_audio(marked_audio(1, 50), end=True)
    with pytest.raises(RequestTimeout):
        await conn.collector.wait(0.0)


async def is_cancelled(conn: PooledConnection) -> None:
    await conn.session.send_audio(marked_audio(1, 50), end=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0):
            await conn.collector.wait()


async def is_interrupted(conn: PooledConnection) -> None:
    await conn.session.send_audio(marked_audio(1, 50), end=True)
    await conn.session.interrupt()


async def is_half_sent(conn: PooledConnection) -> None:
    await conn.session.send_audio(marked_audio(1, 50))


async def fails_between_sends(conn: PooledConnection) -> None:
    await conn.session.send_audio(marked_audio(1, 50))
    with pytest.raises(AudioError):
        await conn.session.send_audio(b"\0")


Leaving = Callable[[PooledConnection], Awaitable[None]]
leaves_something = pytest.mark.parametrize(
    "leave", [times_out, is_cancelled, is_interrupted, is_half_sent, fails_between_sends]
)


async def leave_all(pool: AvatarConnectionPool, leave: Leaving) -> set[str]:
    """Have every connection returned unfinished; return their names."""
    names = set()

    async def one() -> None:
        async with pool.borrow() as conn:
            names.add(conn.connection_id)
            await leave(conn)

    async with asyncio.timeout(SOON):
        await asyncio.gather(*(one() for _ in range(pool.total_count)))
    return names


@leaves_something
async def test_late_frames_reach_nobody_and_the_connection_comes_back(
    lab: Laboratory, leave: Leaving
):
    lab.ingress.on_link = lambda link: setattr(link.down, "delay", 0.02)
    async with lab.pool(2) as pool:
        names = await leave_all(pool, leave)
        assert {await serve(pool, 2), await serve(pool, 3)} <= names
        await whole(pool, 2)
        stats = pool.get_stats()
        assert stats["connections_lost"] == stats["connections_retired"] == 0
        assert lab.service.counters.requests_open == 0


@leaves_something
async def test_a_connection_that_does_not_drain_is_replaced(lab: Laboratory, leave: Leaving):
    async with lab.pool(2, quarantine_timeout=0.15) as pool:
        for link in lab.ingress.links:
            link.down.swallow_at = 0  # the frames, and the interrupt's answer
        names = await leave_all(pool, leave)
        assert await serve(pool, 2) not in names
        await whole(pool, 2)
        assert pool.get_stats()["connections_retired"] == 2


async def test_an_exception_between_two_sends_leaves_no_open_request(lab: Laboratory):
    async with lab.pool(1) as pool:
        with pytest.raises(Abandoned):
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 5))
                raise Abandoned
        await serve(pool, 2)
        await until(lambda: lab.service.counters.requests_open == 0)
        await whole(pool, 1)


async def test_an_interrupted_request_gives_way_to_the_borrowers_next_one(lab: Laboratory):
    lab.ingress.on_link = lambda link: setattr(link.down, "delay", 0.02)
    async with lab.pool(1) as pool, pool.borrow() as conn:
        for mark in range(1, 5):
            await conn.session.send_audio(marked_audio(-mark, 500), end=True)
            await conn.session.interrupt()
            await answered(conn, mark)


async def test_a_slow_way_up_delays_and_harms_nothing(lab: Laboratory):
    lab.ingress.on_link = lambda link: setattr(link.up, "bytes_per_second", 300_000)
    async with lab.pool(2) as pool:
        await asyncio.gather(*(serve(pool, mark, frames=40) for mark in range(1, 5)))
        await whole(pool, 2)


async def test_cancelling_at_any_moment_of_a_request_over_a_slow_way_mixes_nothing(
    lab: Laboratory,
):
    lab.ingress.on_link = lambda link: setattr(link.up, "bytes_per_second", 2_000_000)
    async with lab.pool(2) as pool:

        async def request() -> None:
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 60))
                await conn.session.send_audio(marked_audio(1, 60), end=True)
                assert marks([*await conn.collector.wait()]) == [1] * 120

        for patience in range(0, 12, 2):
            tasks = [asyncio.create_task(request()) for _ in range(3)]
            await asyncio.wait(tasks, timeout=patience / 200)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() or task.exception() is None for task in tasks)
            await serve(pool, 2)
        await whole(pool, 2)
        await until(lambda: lab.service.counters.requests_open == 0)
