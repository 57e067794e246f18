"""Closing the pool while something is wrong: at once, and nothing is left.

The laboratory itself checks at its end that no connection of the pool is open.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import pytest
from echo import marked_audio
from faults.laboratory import SOON, Laboratory, answered, laboratory, serve, until
from faults.peers import scripted

from avatarpool import (
    AvatarConnectionPool,
    AvatarPoolError,
    AvatarSDKError,
    PoolClosed,
    PooledConnection,
)


@pytest.fixture
async def lab() -> AsyncIterator[Laboratory]:
    async with laboratory() as lab:
        yield lab


async def closes(pool: AvatarConnectionPool, timeout: float = 0.1) -> None:
    """Close a pool, which must not take longer than its bounds add up to."""
    async with asyncio.timeout(SOON):
        await pool.close(timeout)
    assert pool.total_count == 0
    stats = pool.get_stats()
    assert stats["connections_opening"] == stats["requests_waiting"] == 0
    opened = stats["connections_num"] - stats["connections_errors"]
    # Attempts that closing cut short neither failed nor gave a connection.
    assert opened >= stats["connections_lost"] + stats["connections_retired"]


def open_sockets() -> list[str]:
    """This process's sockets."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder's own is gone
            names.append(str(link.readlink()))
    return [name for name in names if name.startswith("socket:")]


Fault = Callable[[Laboratory, AvatarConnectionPool], Awaitable[object]]


async def stalled_tokens(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.console.gate.clear()
    lab.console.cut()
    await opens_more(pool)


async def stalled_upgrades(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.ingress.gate.clear()
    await opens_more(pool)


async def swallowed_answers(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.ingress.on_link = lambda link: setattr(link.down, "swallow_at", 0)
    await opens_more(pool)


async def opens_more(pool: AvatarConnectionPool) -> None:
    attempts = pool.get_stats()["connections_num"]
    pool.resize(pool.total_count + 2)
    await until(lambda: pool.get_stats()["connections_num"] == attempts + 2)


async def black_hole(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.ingress.swallow()


async def resets(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.ingress.cut()


async def outage(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.ingress.refuse()
    lab.ingress.cut()
    await until(lambda: pool.get_stats()["connections_errors"])


async def quarantine(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    lab.ingress.swallow()
    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(1, 5))
    assert pool.get_stats()["connections_draining"] == 1


async def draining(lab: Laboratory, pool: AvatarConnectionPool) -> None:
    attempts = pool.get_stats()["connections_num"]
    pool.drain()
    await until(lambda: pool.get_stats()["connections_num"] > attempts)


FAULTS: list[Fault] = [
    stalled_tokens,
    stalled_upgrades,
    swallowed_answers,
    black_hole,
    resets,
    outage,
    quarantine,
    draining,
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_closing_is_bounded_whatever_goes_on(lab: Laboratory, fault: Fault):
    pool = lab.pool(2)
    await pool.initialize()
    await fault(lab, pool)
    await closes(pool)


@pytest.mark.parametrize("fault", FAULTS)
async def test_closing_cuts_borrowers_and_tells_waiters_whatever_goes_on(
    lab: Laboratory, fault: Fault
):
    pool = lab.pool(3)
    await pool.initialize()
    is_lent = asyncio.Event()

    async def holds(conn: PooledConnection) -> None:
        await conn.session.send_audio(marked_audio(1, 5))  # and never ends it
        is_lent.set()
        await conn.collector.wait()

    async def borrows(work: Callable[[PooledConnection], Awaitable[object]]) -> None:
        async with pool.borrow() as conn:
            await work(conn)

    holder = asyncio.create_task(borrows(holds))
    await is_lent.wait()
    await fault(lab, pool)
    others = [asyncio.create_task(borrows(holds)) for _ in range(5)]
    await until(lambda: pool.get_stats()["requests_waiting"] > 0)
    await closes(pool)
    async with asyncio.timeout(SOON):
        results = await asyncio.gather(holder, *others, return_exceptions=True)
    # Whoever had sent audio may have heard of the fault first.
    assert all(isinstance(result, PoolClosed | AvatarSDKError) for result in results)
    assert any(isinstance(result, PoolClosed) for result in results[1:])


async def test_closing_while_the_first_connections_stall_ends_initialize(lab: Laboratory):
    for stall in (lab.console.gate, lab.ingress.gate):
        stall.clear()
        pool = lab.pool(3)
        opening = asyncio.create_task(pool.initialize())
        await until(lambda: pool.get_stats()["connections_opening"] == 3)  # noqa: B023
        await closes(pool)
        with pytest.raises(PoolClosed):
            await opening
        stall.set()


async def test_closing_while_handshakes_stall_leaves_no_socket():
    async with scripted() as peer:
        peer.silent = 100
        pool = AvatarConnectionPool(3, peer.config_factory)
        opening = asyncio.create_task(pool.initialize())
        await until(lambda: peer.open_sessions == 3)
        await closes(pool)
        with pytest.raises(PoolClosed):
            await opening


async def test_borrowers_that_finish_in_time_are_not_cut(lab: Laboratory):
    lab.ingress.on_link = lambda link: setattr(link.down, "delay", 0.02)
    pool = lab.pool(3)
    await pool.initialize()
    async with asyncio.TaskGroup() as group:
        for mark in range(1, 4):
            group.create_task(serve(pool, mark, frames=20))
        await until(lambda: pool.get_stats()["connections_lent"] == 3)
        group.create_task(closes(pool, timeout=10.0))


async def test_cancelling_close_cuts_at_once(lab: Laboratory):
    pool = lab.pool(2)
    await pool.initialize()
    lab.ingress.swallow()
    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(1, 5))
        closing = asyncio.create_task(pool.close(timeout=60))
        await until(lambda: pool.available_count == 0)
        closing.cancel()
        async with asyncio.timeout(SOON):
            await asyncio.wait([closing])
            with pytest.raises(AvatarPoolError):
                await conn.collector.wait()
    assert closing.cancelled()


async def test_closing_at_any_moment_of_opening_leaves_nothing(lab: Laboratory):
    for way in (attrgetter("up"), attrgetter("down")):
        lab.ingress.on_link = lambda link: setattr(way(link), "delay", 0.005)  # noqa: B023
        for patience in range(0, 30, 3):
            pool = lab.pool(2)
            opening = asyncio.create_task(pool.initialize())
            await asyncio.wait([opening], timeout=patience / 1000)
            await closes(pool)
            (result,) = await asyncio.gather(opening, return_exceptions=True)
            assert result is None or isinstance(result, PoolClosed)


async def test_a_connection_that_dies_while_the_pool_closes_is_no_news(lab: Laboratory):
    pool = lab.pool(3)
    await pool.initialize()
    async with pool.borrow() as conn:
        await answered(conn, 1)
        closing = asyncio.create_task(closes(pool))
        await until(lambda: pool.available_count == 0)
        lab.ingress.cut()
        await closing


async def test_attempts_that_closing_prevents_are_not_counted_as_opening(lab: Laboratory):
    pool = lab.pool(2)
    await pool.initialize()
    pool.drain()
    await closes(pool)


async def test_a_close_that_is_cancelled_leaves_neither_task_nor_socket(lab: Laboratory):
    lab.overrides["close_timeout"] = 30.0
    before = asyncio.all_tasks()
    pool = lab.pool(3)
    await pool.initialize()
    of_the_service = asyncio.all_tasks() - before
    sockets = open_sockets()
    async with pool.borrow() as conn:
        lab.ingress.swallow()  # the closing handshakes are never answered
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.close(timeout=60.0), 0.1)
        async with asyncio.timeout(SOON):
            await pool.close()
        assert asyncio.all_tasks() - before <= of_the_service
        assert not conn._connection.session.is_open
    await until(lambda: len(open_sockets()) <= len(sockets) - 3)


async def test_a_pool_that_nobody_holds_closes_its_sessions(lab: Laboratory):
    async def forget() -> None:
        pool = lab.pool(3)
        await pool.initialize()
        await serve(pool, 1)
        assert lab.service.counters.connections_open == 3

    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: told.append(str(message))  # type: ignore[assignment]
        await forget()
        gc.collect()
    assert len(told) == 1
    assert "was forgotten with 3 sessions open" in told[0]
    await until(lambda: lab.service.counters.connections_open == 0)
