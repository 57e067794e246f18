"""Closing a pool: what it waits for, what it cuts, and what is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clock import now, virtually
from scripted import Script, ScriptedSession, hold, new_pool

from avatarpool import ConfigurationError, PoolClosed


@virtually
async def test_a_close_with_no_time_at_all_changes_nothing():
    async with new_pool(Script(), 1) as pool:
        with pytest.raises(ConfigurationError, match="timeout None must be a number"):
            await pool.close(timeout=None)  # type: ignore[arg-type]
        await hold(pool, 0.0)


@virtually
async def test_close_tells_waiters_at_once_and_gives_borrowers_time():
    script = Script()
    pool = new_pool(script, 1)
    await pool.initialize()
    holding = asyncio.create_task(hold(pool, 3.0))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(hold(pool, 0.0))
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.close(timeout=10.0))
    with pytest.raises(PoolClosed, match="closed while waiting"):
        await waiting
    assert now() == 0.0
    await closing
    assert now() == pytest.approx(3.0)
    assert await holding == "scripted-0"
    assert script.sessions[0].is_closed


@virtually
async def test_close_cuts_borrowers_that_take_too_long():
    script = Script()
    pool = new_pool(script, 1)
    await pool.initialize()
    async with pool.borrow() as conn:
        await conn.session.send_audio(b"\0\0", end=True)
        await pool.close(timeout=2.0)
        assert now() == pytest.approx(2.0)
        with pytest.raises(PoolClosed, match="closed before the last frame"):
            await conn.collector.wait()
        assert pool.get_stats()["requests_errors"] == 1


@virtually
async def test_close_cuts_borrowers_that_have_sent_nothing_too():
    pool = new_pool(Script(), 1)
    await pool.initialize()
    async with pool.borrow() as conn:
        waiting = asyncio.create_task(conn.collector.wait())
        await asyncio.sleep(0)
        await pool.close(timeout=2.0)
        with pytest.raises(PoolClosed):
            await waiting
        assert pool.get_stats()["requests_errors"] == 0


@virtually
async def test_a_cancelled_close_lets_the_next_one_return():
    for steps in range(20):
        pool = new_pool(Script(), 2)
        await pool.initialize()
        closing = asyncio.create_task(pool.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        async with asyncio.timeout(60.0):
            await pool.close()


@virtually
async def test_closing_twice_waits_for_the_first():
    pool = new_pool(Script(), 1)
    await pool.initialize()
    holding = asyncio.create_task(hold(pool, 2.0))
    await asyncio.sleep(0)
    first = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    await pool.close()
    assert now() == pytest.approx(2.0)
    await asyncio.gather(first, holding)
    await pool.close()


@virtually
async def test_cancelling_close_cuts_at_once():
    script = Script()
    pool = new_pool(script, 1)
    await pool.initialize()
    async with pool.borrow():
        closing = asyncio.create_task(pool.close(timeout=60.0))
        await asyncio.sleep(1.0)
        closing.cancel()
        await asyncio.wait([closing])
        await asyncio.sleep(0)
        assert script.sessions[0].is_closed


@virtually
async def test_a_pool_that_was_never_opened_closes():
    pool = new_pool(Script(), 1)
    await pool.close()
    assert pool.get_stats()["total_connections"] == 0


@virtually
async def test_an_unfinished_request_that_comes_back_to_a_closing_pool_is_cut():
    script = Script()
    pool = new_pool(script, 1)
    await pool.initialize()
    async with pool.borrow() as conn:
        await conn.session.send_audio(b"\0\0", end=True)
        closing = asyncio.create_task(pool.close(timeout=60.0))
        await asyncio.sleep(1.0)
    await closing
    assert now() == pytest.approx(1.0)
    assert script.sessions[0].is_closed


@virtually
async def test_a_borrower_that_is_served_in_the_tick_of_the_cut_finds_a_dead_connection():
    script = Script()
    async with new_pool(script, 1) as pool:
        waiting: list[asyncio.Task[str]] = []
        async with pool.borrow():
            waiting.append(asyncio.create_task(hold(pool, 0.0)))
            await asyncio.sleep(0)
        pool._lender.cut()
        assert await waiting[0] == "scripted-0"
        assert pool.get_stats()["connections_lent"] == 0


@virtually
async def test_cancelling_close_while_sessions_close_cuts_them():
    class Slow(Script):
        def __call__(self, **options: Any) -> ScriptedSession:
            session = super().__call__(**options)

            async def close() -> None:
                await asyncio.sleep(60.0)

            session.close = close  # type: ignore[method-assign]
            return session

    pool = new_pool(Slow(), 1)
    await pool.initialize()
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(1.0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()


@virtually
async def test_a_close_that_fails_is_logged(caplog: pytest.LogCaptureFixture):
    script = Script()
    pool = new_pool(script, 1)
    await pool.initialize()

    async def close() -> None:
        raise OSError("already gone")

    script.sessions[0].close = close  # type: ignore[method-assign]
    await pool.close()
    assert "already gone" in caplog.text
