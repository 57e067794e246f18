"""The user's check: before a connection is lent, and of those that are idle."""

from __future__ import annotations

import asyncio
from math import nan

import pytest
from clock import now, run_virtual, virtually
from echo import marked_audio
from scripted import Hook, Script, asks, dawdles, hold, new_pool

from avatarpool import AvatarConnectionPool, PoolClosed, PooledConnection, PoolTimeout
from avatarpool.service import LocalAvatarService
from avatarpool.service.faults import SessionFault


def names(pool: AvatarConnectionPool) -> set[str]:
    return {connection.connection_id for connection in pool._state.members}


async def test_check_replaces_the_idle_connections_whose_peer_is_silent():
    async with (
        LocalAvatarService() as service,
        AvatarConnectionPool(12, service.config_factory) as pool,
    ):
        before = names(pool)
        await pool.check()
        assert names(pool) == before
        assert pool.available_count == 12
        service.faults.sessions = SessionFault(is_half_open=True)
        async with pool.borrow() as lent:
            began = now()
            await pool.check()
            assert now() - began < 9.0  # of a second each: they are pinged side by side
            service.faults.sessions = None
            await pool.wait(timeout=20)
            assert names(pool) & before == {lent.connection_id}  # a lent one is not looked at


@virtually
async def test_check_asks_the_users_check_about_every_idle_connection_and_no_other():
    check = Hook()
    async with new_pool(Script(), 3, check=check, num_workers=2) as pool, pool.borrow() as conn:
        check.seen.clear()
        await pool.check()
        assert sorted(check.seen) == sorted(names(pool) - {conn.connection_id})


@virtually
async def test_those_that_do_not_pass_are_replaced_after_one_pause_for_all():
    async with new_pool(Script(), 3, check=Hook(failures=3)) as pool:
        await pool.check()
        assert pool.total_count == 0
        began = now()
        await pool.wait()
        assert now() - began <= 0.5
        assert names(pool) == {"scripted-3", "scripted-4", "scripted-5"}


@virtually
async def test_check_leaves_no_more_out_of_the_pool_than_num_workers():
    async with new_pool(Script(), 5, check=dawdles, num_workers=2) as pool:
        checking = asyncio.create_task(pool.check())
        await asyncio.sleep(1.0)
        assert pool.available_count == 3
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        assert pool.available_count == 5


@virtually
async def test_a_request_that_a_cancelled_check_has_begun_is_ended_first():
    async def asks_and_waits(conn: PooledConnection) -> None:
        await conn.session.send_audio(marked_audio(1, 2))
        await asyncio.sleep(1000.0)

    script = Script()
    async with new_pool(script, 1, check=asks_and_waits) as pool:
        (session,) = script.sessions
        session.answers_abandoned = False
        checking = asyncio.create_task(pool.check())
        await asyncio.sleep(1.0)
        checking.cancel()
        await asyncio.wait([checking])
        assert len(session.interrupted) == 1
        assert pool.available_count == 0
        session.frame(session.interrupted[0], end=True)
        assert pool.available_count == 1


@virtually
async def test_check_does_not_keep_what_has_been_idle_for_long():
    async with new_pool(Script(), 1, max_size=2, max_idle=10.0, max_lifetime=900.0) as pool:
        await asyncio.gather(hold(pool, 1.0), hold(pool, 1.0))
        assert pool.total_count == 2
        for _ in range(6):
            await asyncio.sleep(2.0)
            await pool.check()
        assert pool.total_count == 1


@virtually
async def test_a_waiter_gets_a_connection_as_soon_as_it_is_looked_at():
    async def look(conn: PooledConnection) -> None:
        await asyncio.sleep(1.0)

    async with new_pool(Script(), 1, check=look) as pool:
        checking = asyncio.create_task(pool.check())
        await asyncio.sleep(0.5)
        began = now()
        await hold(pool, 0.0)
        assert now() - began == pytest.approx(1.5)  # the rest of that, and a check of its own
        await checking


@virtually
async def test_check_ends_as_the_pool_closes():
    pool = new_pool(Script(), 2, check=dawdles)
    with pytest.raises(PoolClosed):
        await pool.check()
    await pool.initialize()
    checking = asyncio.create_task(pool.check())
    await asyncio.sleep(1.0)
    await pool.close(timeout=1.0)
    assert pool.total_count == 0
    await checking


@virtually
async def test_a_connection_that_does_not_pass_the_check_is_replaced_and_another_lent():
    script, hook = Script(), Hook(failures=1)
    async with new_pool(script, 2, check=hook) as pool:
        assert await hold(pool, 0.0) == "scripted-1"
        assert hook.seen == ["scripted-0", "scripted-1"]
        await asyncio.sleep(1.0)
        assert script.sessions[0].is_closed
        assert pool.available_count == 2


@virtually
async def test_a_check_that_nothing_passes_ends_in_the_borrowers_timeout_and_hammers_nothing():
    script = Script()
    async with new_pool(script, 2, check=Hook(failures=1000)) as pool:
        began = now()
        with pytest.raises(PoolTimeout, match=r"within 20\.00 s"):
            await hold(pool, 0.0, timeout=20.0)
        assert now() - began == pytest.approx(20.0)
        assert script.attempts < 100


@virtually
async def test_a_check_has_the_borrowers_time_and_no_more():
    async with new_pool(Script(), 1, check=dawdles) as pool:
        began = now()
        with pytest.raises(PoolTimeout):
            await hold(pool, 0.0, timeout=2.0)
        assert now() - began == pytest.approx(2.0)
        assert pool.available_count == 1


@virtually
async def test_a_timeout_that_is_no_number_is_refused_before_the_check():
    hook = Hook()
    async with new_pool(Script(), 1, check=hook) as pool:
        with pytest.raises(ValueError, match="timeout nan must be a number"):
            await hold(pool, 0.0, timeout=nan)
        assert hook.seen == []
        assert pool.available_count == 1


@virtually
async def test_a_pool_that_closes_during_a_check_says_so_at_once():
    async def asks(conn: PooledConnection) -> None:
        await conn.session.send_audio(bytes(2), end=True)
        await conn.collector.wait()

    pool = new_pool(Script(), 1, check=asks)
    await pool.initialize()
    borrower = asyncio.create_task(hold(pool, 0.0))
    await asyncio.sleep(1.0)
    await pool.close(timeout=2.0)
    closed = now()
    with pytest.raises(PoolClosed):
        await borrower
    assert now() - closed < 5.0, "its own timeout is 30 s"


@virtually
async def test_a_check_that_holds_a_connection_for_long_is_named(caplog: pytest.LogCaptureFixture):
    async with new_pool(Script(), 1, check=dawdles, leak_warning=2.0) as pool:
        with pytest.raises(PoolTimeout):
            await hold(pool, 0.0, timeout=5.0)
    [warning] = caplog.records
    assert "s ago at check and has not got it back" in warning.message


@virtually
async def test_cancelling_a_borrower_during_the_check_loses_nothing():
    async with new_pool(Script(), 1, check=dawdles) as pool:
        borrower = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(1.0)
        borrower.cancel()
        await asyncio.wait([borrower])
        assert borrower.cancelled()
        assert pool.available_count == 1


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_request_of_a_check_that_ran_out_of_time_is_ended_first(*, is_cancelled: bool):
    async def scenario() -> None:
        script, looks = Script(), iter([asks, dawdles])

        async def check(conn: PooledConnection) -> None:
            for look in looks:
                await look(conn)

        async with new_pool(script, 1, check=check) as pool:
            borrower = asyncio.create_task(hold(pool, 0.0, timeout=2.0))
            await asyncio.sleep(1.0)
            if is_cancelled:
                borrower.cancel()
            with pytest.raises(asyncio.CancelledError if is_cancelled else PoolTimeout):
                await borrower
            assert await hold(pool, 0.0) == "scripted-0"
            assert script.sessions[0].interrupted == ["scripted-0/1"]

    run_virtual(scenario())


@virtually
async def test_a_check_is_about_its_connection_and_gets_no_other():
    script = Script()

    async def kills(conn: PooledConnection) -> None:
        if conn.connection_id == "scripted-0":
            await script.sessions[0].close()
            await asks(conn)

    async with new_pool(script, 2, check=kills) as pool:
        assert await hold(pool, 0.0) == "scripted-1"
