"""What a borrower holds: entered once, returned once, and exchanged while it may be."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest
from clock import VirtualClockLoop, now, run_virtual, virtually
from echo import EchoDriver, marked_audio
from scripted import DOWN, Code, Script, hold, new_pool, refused, slow

from avatarpool import (
    AudioError,
    AvatarConnectionPool,
    AvatarSDKError,
    PooledConnection,
    PoolError,
    PoolEvent,
    PoolEventKind,
    PoolTimeout,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService


@virtually
async def test_a_borrow_that_is_returned_twice_takes_nothing_from_the_next_borrower():
    async with new_pool(Script(), 1) as pool:
        first, second = pool.borrow(), pool.borrow()
        await first.__aenter__()
        await first.__aexit__(None, None, None)
        await second.__aenter__()
        with pytest.raises(SessionStateError, match="was returned to pool 'test'"):
            await first.__aexit__(None, None, None)
        assert pool.available_count == 0
        await second.__aexit__(None, None, None)
        assert pool.available_count == 1


@virtually
async def test_two_tasks_of_a_borrower_that_exchange_at_once_take_one_connection():
    script = Script()
    async with new_pool(script, 2) as pool:
        async with pool.borrow() as conn:
            holding = asyncio.create_task(hold(pool, 1.0))
            await asyncio.sleep(0)
            script.openings = [slow(1.0)]
            await script.sessions[0].close()
            sending = [asyncio.create_task(conn.session.send_audio(b"\0\0")) for _ in range(2)]
            await asyncio.gather(*sending)
            await holding
        await asyncio.sleep(20.0)
        assert pool.available_count == 2
        assert pool.get_stats()["requests_num"] == 1


@virtually
async def test_two_tasks_of_a_borrower_do_not_wait_for_each_other_to_exchange(
    caplog: pytest.LogCaptureFixture,
):
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            script.openings = [slow(2.0)]
            await script.sessions[0].close()
            first = asyncio.create_task(conn.session.send_audio(b"\0\0"))
            await asyncio.sleep(0)
            assert await conn.session.send_audio(b"\0\0", end=True) == await first
            assert now() == pytest.approx(2.0)
            await asyncio.sleep(5.0)
        assert not [record for record in caplog.records if "wait for" in record.message]


@virtually
async def test_a_connection_that_is_exchanged_after_the_return_goes_back():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            script.openings = [slow(1.0)]
            await script.sessions[0].close()
            sending = asyncio.create_task(conn.session.send_audio(b"\0\0", end=True))
            await asyncio.sleep(0)
        with pytest.raises(SessionStateError, match="was returned"):
            await sending
        assert pool.available_count == 1
        assert script.sessions[1].sent == []


@virtually
async def test_a_collector_that_is_first_touched_after_the_return_is_over():
    async with new_pool(Script(), 1) as pool:
        async with pool.borrow() as conn:
            pass
        with pytest.raises(SessionStateError, match="was returned"):
            await conn.collector.wait()
        with pytest.raises(SessionStateError):
            async for _ in conn.collector:
                pass


@virtually
async def test_audio_that_is_refused_does_not_bring_back_an_old_error():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        script.sessions[0].fail(refused(Code.upstreamError, req_id=req_id))
        with pytest.raises(AvatarSDKError):
            await conn.collector.wait()
        with pytest.raises(AudioError):
            await conn.session.send_audio(b"\0")
        await conn.session.send_audio(b"\0\0", end=True)


@virtually
async def test_two_tasks_cannot_enter_one_borrow():
    async with new_pool(Script(), 1) as pool, pool.borrow():
        borrow = pool.borrow(timeout=1.0)
        first = asyncio.create_task(borrow.__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(SessionStateError, match="entered already"):
            await borrow.__aenter__()
        with pytest.raises(PoolTimeout):
            await first
        with pytest.raises(PoolTimeout):
            await borrow.__aenter__()  # free again


@virtually
async def test_an_exchange_that_fails_tells_the_borrower():
    script = Script()
    async with new_pool(script, 1, timeout=3.0) as pool:
        async with pool.borrow() as conn:
            script.openings = [DOWN] * 50
            await script.sessions[0].close()
            with pytest.raises(PoolTimeout, match="0 open; connectionFailed"):
                await conn.session.send_audio(b"\0\0")
        assert pool.get_stats()["connections_lent"] == 0


@virtually
async def test_reading_the_collector_of_an_unused_connection_that_died_is_no_error():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        assert conn.collector.frames == []
        await script.sessions[0].close()
        assert conn.collector.error is None
        assert conn.session.connection_id == "scripted-0"


@virtually
async def test_waiting_for_a_request_that_was_never_sent_ends_with_the_return():
    async with new_pool(Script(), 1) as pool:
        async with pool.borrow() as conn:
            waiting = asyncio.create_task(conn.collector.wait())
            await asyncio.sleep(0)
        with pytest.raises(SessionStateError, match="was returned"):
            await waiting


@virtually
async def test_a_borrow_is_entered_once():
    async with new_pool(Script(), 2) as pool:
        borrow = pool.borrow()
        assert repr(borrow) == "<PooledConnection new>"
        with pytest.raises(SessionStateError, match="no connection yet"):
            borrow.collector  # noqa: B018
        async with borrow as conn:
            assert conn is borrow
            with pytest.raises(SessionStateError, match="entered already"):
                await borrow.__aenter__()
        with pytest.raises(SessionStateError, match="entered already"):
            await borrow.__aenter__()
        assert pool.available_count == 2


@virtually
async def test_a_borrow_that_got_nothing_may_be_tried_again():
    async with new_pool(Script(), 1) as pool:
        borrow = pool.borrow(timeout=1.0)
        async with pool.borrow():
            with pytest.raises(PoolTimeout):
                await borrow.__aenter__()
        async with borrow as conn:
            assert conn.connection_id == "scripted-0"


def test_a_connection_is_exchanged_in_its_pools_loop_alone():
    script = Script()
    pool = new_pool(script, 2, name="eu")
    loop = VirtualClockLoop()
    loop.run_until_complete(pool.initialize())
    conn = pool.borrow()
    loop.run_until_complete(conn.__aenter__())
    loop.run_until_complete(script.sessions[0].close())
    with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
        run_virtual(conn.session.send_audio(b"\0\0"))
    loop.run_until_complete(conn.__aexit__(None, None, None))
    loop.run_until_complete(pool.close())
    loop.close()


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
