"""How many sessions are open: growing, shrinking, ageing, and what is drained."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, virtually
from scripted import Code, Script, ScriptedSession, hold, new_pool, refused, slow

from avatarpool import PoolClosed


@virtually
async def test_grows_while_borrowers_wait_and_shrinks_when_they_are_gone():
    script = Script()
    async with new_pool(script, 1, min_size=1, max_size=3, max_idle=60.0) as pool:
        assert pool.total_count == 1
        await asyncio.gather(*(hold(pool, 1.0) for _ in range(5)))
        assert pool.total_count == 3
        await asyncio.sleep(61.0 + 3.0)
        assert pool.total_count == 1
        assert sum(not session.is_closed for session in script.sessions) == 1


@virtually
async def test_a_successor_is_there_before_an_old_session_goes():
    script = Script()
    async with new_pool(script, 2, max_lifetime=100.0, request_timeout=10.0) as pool:
        script.openings = [slow(5.0)] * 4
        fewest = 2
        for _ in range(100):
            await asyncio.sleep(1.0)
            fewest = min(fewest, pool.available_count)
        assert fewest == 2
        assert len(script.sessions) == 4


@virtually
async def test_where_the_plan_has_no_room_for_a_successor_the_old_session_goes_first():
    script = Script()
    limit = 2

    async def within_the_plan(session: ScriptedSession) -> None:
        open_ones = [other for other in script.sessions if not other.is_closed]
        if len(open_ones) > limit:
            session.is_closed = True
            raise refused(Code.concurrencyLimit, close_code=4003)

    script.openings = [within_the_plan] * 1000
    pool = new_pool(script, 2, max_lifetime=100.0, request_timeout=10.0)
    pool._opener._rng.seed(1)  # two lives may happen to end in the same second
    async with pool:
        fewest = 2
        for _ in range(400):
            await asyncio.sleep(1.0)
            fewest = min(fewest, pool.available_count)
        assert fewest >= 1
        assert pool.available_count == 2


@virtually
async def test_old_sessions_are_replaced_at_jittered_times():
    script = Script()
    async with new_pool(script, 2, max_lifetime=100.0, request_timeout=10.0) as pool:
        await asyncio.sleep(71.0)  # 100 s, less 10 %, less the request's 10 s, less a tenth
        assert len(script.sessions) == 2
        await asyncio.sleep(20.0)
        assert len(script.sessions) == 4
        assert pool.available_count == 2
        assert [session.is_closed for session in script.sessions] == [True, True, False, False]


@virtually
async def test_a_session_too_old_for_a_request_is_not_lent():
    script = Script()
    async with new_pool(script, 1, max_lifetime=100.0, request_timeout=10.0) as pool:
        await hold(pool, 95.0)
        assert await hold(pool, 0.0) == "scripted-1"


@virtually
async def test_drain_replaces_every_session_without_failing_a_borrower():
    script = Script()
    async with new_pool(script, 2) as pool:
        async with pool.borrow() as conn:
            pool.drain()
            await asyncio.sleep(1.0)
            assert conn.connection_id == "scripted-0"
            assert not script.sessions[0].is_closed
        await asyncio.sleep(1.0)
        assert [session.is_closed for session in script.sessions] == [True, True, False, False]


@virtually
async def test_drain_replaces_the_sessions_that_are_being_opened_too():
    script = Script(slow(2.0))
    pool = new_pool(script, 1)
    opening = asyncio.create_task(pool.initialize())
    await asyncio.sleep(1.0)
    pool.drain()
    await opening
    assert await hold(pool, 0.0) == "scripted-1"
    assert [session.is_closed for session in script.sessions] == [True, False]
    await pool.close()


@virtually
async def test_resize_opens_and_closes():
    script = Script()
    async with new_pool(script, 1) as pool:
        pool.resize(3)
        await asyncio.sleep(1.0)
        assert pool.total_count == 3
        pool.resize(1, 2)
        await asyncio.sleep(1.0)
        assert pool.total_count == 2


@virtually
async def test_opens_side_by_side_but_not_more_than_num_workers():
    pool = new_pool(Script(*[slow(1.0)] * 4), 4, num_workers=2)
    await pool.initialize()
    assert now() == pytest.approx(2.0)
    await pool.close()


@virtually
async def test_a_session_that_ends_as_it_opens_is_not_lent():
    script = Script(None)
    async with new_pool(script, 1) as pool:
        script.openings = [lambda session: session.close()]
        await script.sessions[0].close()
        await asyncio.sleep(10.0)
        assert pool.total_count == 1
        assert await hold(pool, 0.0) == script.sessions[-1].name


@virtually
async def test_lent_sessions_beyond_the_new_size_are_closed_on_their_return():
    script = Script()
    async with new_pool(script, 3) as pool:
        holding = [asyncio.create_task(hold(pool, 1.0)) for _ in range(3)]
        await asyncio.sleep(0.5)
        pool.resize(1)
        await asyncio.gather(*holding)
        assert pool.total_count == 1


@virtually
async def test_draining_a_pool_that_is_not_open_says_so():
    with pytest.raises(PoolClosed, match="call initialize"):
        new_pool(Script(), 1).drain()


@virtually
async def test_a_pool_can_be_resized_before_it_opens():
    script = Script()
    pool = new_pool(script, 3)
    pool.resize(1)
    async with pool:
        assert pool.total_count == 1
