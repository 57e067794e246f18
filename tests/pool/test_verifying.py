"""Idle connections looked at on demand, and those that their borrowers distrust."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest
from echo import EchoDriver, marked_audio
from scripted import Script
from test_hooks import Hook, dawdles
from test_pool_timing import hold, new_pool, now, virtually

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    PoolClosed,
    PooledConnection,
    PoolEvent,
    PoolEventKind,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService
from avatarpool.service.faults import SessionFault


def names(pool: AvatarConnectionPool) -> set[str]:
    return {connection.connection_id for connection in pool._state.members}


# --- check --------------------------------------------------------------------------------


async def test_check_replaces_the_idle_connections_whose_peer_is_silent():
    async with (
        LocalAvatarService() as service,
        AvatarConnectionPool(4, service.config_factory) as pool,
    ):
        before = names(pool)
        await pool.check()
        assert names(pool) == before
        assert pool.available_count == 4
        service.faults.sessions = SessionFault(is_half_open=True)
        async with pool.borrow() as lent:
            began = now()
            await pool.check()
            assert now() - began < 2.5  # of a second's patience: they are pinged side by side
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


# --- discard --------------------------------------------------------------------------------


@virtually
async def test_a_discarded_connection_is_not_lent_again():
    events: list[PoolEvent] = []
    async with new_pool(Script(), 1, on_event=events.append) as pool:
        async with pool.borrow() as conn:
            conn.discard()
            conn.discard()
            request = await conn.session.send_audio(b"\0\0", end=True)  # it still serves
            assert request
        assert pool.total_count == 0
        assert await hold(pool, 0.0) == "scripted-1"
        with pytest.raises(SessionStateError, match="was returned to pool 'test'"):
            conn.discard()
    retired = [event for event in events if event.kind is PoolEventKind.RETIRED]
    assert (retired[0].connection_id, retired[0].reason) == (
        "scripted-0",
        "discarded by its borrower",
    )


def test_a_borrow_without_a_connection_has_none_to_discard():
    with pytest.raises(SessionStateError, match="has no connection yet"):
        new_pool(Script()).borrow().discard()


@pytest.mark.parametrize("which", ["configure", "check", "reset"])
def test_a_connection_that_a_hook_discards_has_failed_it(which: str):
    seen = []

    async def discards_the_first(conn: PooledConnection) -> None:
        seen.append(conn.connection_id)
        if len(seen) == 1:
            conn.discard()

    @virtually
    async def run() -> None:
        pool = new_pool(Script(), 1, **{which: discards_the_first})
        await pool.initialize(wait=False)
        await hold(pool, 0.0)
        await asyncio.sleep(5.0)
        assert await hold(pool, 0.0) == "scripted-2"  # 0 made to try the configuration
        await pool.close()

    run()


# --- what a connection tells of itself -----------------------------------------------------------


async def test_a_connection_tells_when_it_opened_and_what_it_has_answered():
    configured: list[datetime] = []

    async def configure(conn: PooledConnection) -> None:
        configured.append(conn.created_at)

    async with LocalAvatarService(driver=EchoDriver) as service:
        before = datetime.now(timezone.utc)
        pool = AvatarConnectionPool(1, service.config_factory, configure=configure)
        async with pool:
            for answered in range(3):
                async with pool.borrow() as conn:
                    assert conn.request_count == answered
                    assert conn.created_at == configured[0]
                    await conn.session.send_audio(marked_audio(1, 2), end=True)
                    await conn.collector.wait(timeout=20)
                assert conn.request_count == answered + 1
            assert before <= conn.created_at <= datetime.now(timezone.utc)
            assert conn.created_at.utcoffset() == timedelta(0)


async def test_a_send_on_a_dead_connection_of_an_sdk_is_a_value_error_as_well():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        await conn.session.send_audio(b"\0\0")
        script.sessions[0].is_closed = True  # as the SDKs have it, once they know
        with pytest.raises(ValueError, match="not established") as caught:
            await conn.session.send_audio(b"\0\0", end=True)
        assert isinstance(caught.value, AvatarSDKError)
