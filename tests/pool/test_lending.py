"""Who gets which connection when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clock import now, virtually
from scripted import NO_CREDITS, Code, Script, hold, new_pool, refused

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    ConfigurationError,
    PoolClosed,
    PoolTimeout,
    TooManyRequests,
)


@virtually
async def test_use_is_spread_and_waiters_are_served_in_order():
    async with new_pool(Script(), 3) as pool:
        names = await asyncio.gather(*(hold(pool, 1.0 + i / 100) for i in range(7)))
    assert names == [f"scripted-{number}" for number in (0, 1, 2, 0, 1, 2, 0)]


@virtually
async def test_a_borrower_that_waits_too_long_is_told_the_numbers():
    async with new_pool(Script(), 1, name="eu") as pool, pool.borrow():
        others = [asyncio.create_task(hold(pool, 0.0, timeout=9.0)) for _ in range(2)]
        began = now()
        with pytest.raises(PoolTimeout) as caught:
            await hold(pool, 0.0, timeout=2.0)
        assert str(caught.value) == (
            "pool 'eu' gave no connection within 2.00 s (2 waiting, 1 open)"
        )
        assert isinstance(caught.value, TimeoutError)
        assert now() - began == pytest.approx(2.0)
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        assert pool.get_stats()["requests_waiting"] == 0


@virtually
async def test_a_zero_timeout_takes_what_is_there_or_fails():
    async with new_pool(Script(), 1) as pool, pool.borrow(timeout=0.0):
        with pytest.raises(PoolTimeout):
            await hold(pool, 0.0, timeout=0.0)


@virtually
async def test_max_waiting_turns_borrowers_away_at_once():
    async with new_pool(Script(), 1, max_waiting=1) as pool, pool.borrow():
        waiting = asyncio.create_task(hold(pool, 0.0, timeout=5.0))
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await hold(pool, 0.0)
        waiting.cancel()
        await asyncio.wait([waiting])


@virtually
async def test_a_cancelled_waiter_that_was_already_served_gives_its_connection_back():
    async with new_pool(Script(), 1) as pool:
        async with pool.borrow():
            waiting = asyncio.create_task(hold(pool, 0.0))
            await asyncio.sleep(0)
        waiting.cancel()  # after the hand-over, before the task has run
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert pool.available_count == 1


@virtually
async def test_a_timeout_in_the_tick_of_the_hand_over_loses_nothing():
    async with new_pool(Script(), 1) as pool:
        holding = asyncio.create_task(hold(pool, 2.0))
        await asyncio.sleep(0)
        results = await asyncio.gather(hold(pool, 0.0, timeout=2.0), return_exceptions=True)
        await holding
        assert isinstance(results[0], str | PoolTimeout)
        assert pool.available_count == 1


@virtually
async def test_every_step_of_borrowing_can_be_cancelled():
    async with new_pool(Script(), 1) as pool:
        for steps in range(12):
            holding = asyncio.create_task(hold(pool, 0.0))
            borrower = asyncio.create_task(hold(pool, 1.0))
            for _ in range(steps):
                await asyncio.sleep(0)
            borrower.cancel()
            await asyncio.wait([holding, borrower])
            assert pool.available_count == 1, steps
            assert pool.get_stats()["requests_waiting"] == 0, steps


@virtually
async def test_borrowing_from_a_pool_that_is_not_open_says_so():
    pool = new_pool(Script(), 1, name="eu")
    with pytest.raises(PoolClosed, match="pool 'eu' is not open: call initialize"):
        await hold(pool, 0.0)
    async with pool:
        pass
    with pytest.raises(PoolClosed, match="pool 'eu' is closed"):
        await hold(pool, 0.0)
    with pytest.raises(PoolClosed, match="make a new one"):
        await pool.initialize()
    assert repr(pool) == "<AvatarConnectionPool 'eu' closed>"


@virtually
async def test_the_urgent_go_first_and_nobody_starves():
    served: list[str] = []

    async def borrower(pool: AvatarConnectionPool, name: str, priority: float) -> None:
        async with pool.borrow(priority=priority):
            served.append(name)

    async with new_pool(Script(), 1) as pool:
        async with pool.borrow():
            waiting = [asyncio.create_task(borrower(pool, "long waiting", 0.0))]
            await asyncio.sleep(11.0)
            for name, priority in (("new", 0.0), ("urgent", 1.0)):
                waiting.append(asyncio.create_task(borrower(pool, name, priority)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
    assert served == ["long waiting", "urgent", "new"]


@virtually
async def test_a_borrower_with_a_wrong_priority_harms_nobody_else():
    async with new_pool(Script(), 1) as pool:
        wrong: Any = "high"
        async with pool.borrow():
            with pytest.raises(ConfigurationError, match="priority 'high' must be a number"):
                await hold(pool, 0.0, priority=wrong)
        assert await hold(pool, 0.0) == "scripted-0"


@virtually
async def test_leaving_the_block_never_waits():
    script = Script()
    async with new_pool(script, 1) as pool:
        script.sessions[0].answers_abandoned = False
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0")
            began = now()
        assert now() == began


@virtually
async def test_waiters_learn_a_standing_refusal_when_the_last_session_dies():
    refusal = refused(Code.concurrencyLimit, close_code=4003)
    script = Script(None, *[refusal] * 50)
    async with new_pool(script, 2) as pool:
        async with pool.borrow():
            waiting = asyncio.create_task(hold(pool, 0.0))
            await asyncio.sleep(10.0)
            began = now()
            await script.sessions[0].close()
            with pytest.raises(AvatarSDKError, match="concurrencyLimit"):
                await waiting
            assert now() == began


@virtually
async def test_a_session_that_is_closing_is_not_lent():
    script = Script()
    async with new_pool(script, 2) as pool:
        adapter = script.sessions[0].options["on_close"].__self__.sink
        adapter._is_open = False  # its end has not been told yet
        assert await hold(pool, 0.0) == "scripted-1"
        assert script.sessions[0].is_closed


@virtually
async def test_a_connection_that_is_no_longer_open_is_not_kept_on_its_return():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow():
            adapter = script.sessions[0].options["on_close"].__self__.sink
            adapter._is_open = False
        assert await hold(pool, 0.0) == "scripted-1"


@virtually
async def test_a_borrower_that_is_cancelled_in_the_tick_of_a_refusal_is_cancelled():
    async with new_pool(Script(), 1) as pool, pool.borrow():
        waiting = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(0)
        waiting.cancel()
        pool._state.fail_waiters(NO_CREDITS)
        await asyncio.wait([waiting])
        assert waiting.cancelled()
