"""Outages and refusals: what is tried again when, and who is told."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, virtually
from scripted import DOWN, NO_CREDITS, Code, Script, hold, new_pool, refused, slow

from avatarpool import AvatarConnectionPool, AvatarSDKError, PoolTimeout


@virtually
async def test_an_outage_is_probed_with_growing_pauses_and_ends_by_itself():
    script = Script(None, None)
    async with new_pool(script, 2) as pool:
        script.openings = [DOWN] * 12
        for session in list(script.sessions):
            await session.close()
        assert pool.total_count == 0
        began = script.attempts
        await asyncio.sleep(10.0)
        # Steps at about 0, .4, 1.1, 2.6, 5.6 s, two attempts in each.
        assert 6 <= script.attempts - began <= 12
        await asyncio.sleep(60.0)
        assert pool.total_count == 2
        assert pool.last_open_error is None


@virtually
async def test_a_refusal_fails_borrowers_at_once_and_is_probed_one_at_a_time():
    script = Script(None, None)
    async with new_pool(script, 2) as pool:
        script.openings = [NO_CREDITS] * 8
        waiting: list[asyncio.Task[str]] = []
        async with pool.borrow(), pool.borrow():
            waiting = [asyncio.create_task(hold(pool, 0.0)) for _ in range(3)]
            await asyncio.sleep(0)
            for session in list(script.sessions):
                await session.close()
            began, attempts = now(), script.attempts
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [str(result) for result in results] == [str(NO_CREDITS)] * 3
            assert NO_CREDITS not in results, "each has an error of its own"
            with pytest.raises(AvatarSDKError, match="creditsExhausted"):
                await hold(pool, 0.0)
            assert now() == began
        await asyncio.sleep(10.0)
        assert script.attempts - attempts <= 2 + 6  # both at once, then probes
        await asyncio.sleep(120.0)
        assert pool.total_count == 2
        assert await hold(pool, 0.0)


@virtually
async def test_borrowers_wait_for_what_is_open_while_the_service_refuses_more():
    script = Script(None, refused(Code.concurrencyLimit, close_code=4003))
    script.openings += [refused(Code.concurrencyLimit, close_code=4003)] * 50
    async with new_pool(script, 2) as pool:
        names = await asyncio.gather(*(hold(pool, 1.0) for _ in range(3)))
        assert names == ["scripted-0"] * 3


@virtually
async def test_reconnect_failed_is_called_once_per_outage():
    told: list[AvatarConnectionPool] = []
    script = Script()
    async with new_pool(
        script, 1, max_lifetime=1e6, reconnect_timeout=20.0, reconnect_failed=told.append
    ) as pool:
        for outage in (1, 2):
            script.openings = [DOWN] * 8
            await script.sessions[-1].close()
            await asyncio.sleep(300.0)
            assert told == [pool] * outage
            assert pool.total_count == 1


@virtually
async def test_a_reconnect_failed_that_raises_is_logged(caplog: pytest.LogCaptureFixture):
    def raising(pool: AvatarConnectionPool) -> None:
        raise RuntimeError("pager is down")

    script = Script()
    async with new_pool(
        script, 1, reconnect_timeout=5.0, max_lifetime=1e6, reconnect_failed=raising
    ) as pool:
        script.openings = [DOWN] * 8
        await script.sessions[-1].close()
        await asyncio.sleep(300.0)
        assert pool.total_count == 1
    assert "pager is down" in caplog.text


@virtually
async def test_an_outage_without_anyone_to_tell_heals_all_the_same():
    script = Script()
    async with new_pool(script, 1, reconnect_timeout=5.0, max_lifetime=1e6) as pool:
        script.openings = [DOWN] * 8
        await script.sessions[-1].close()
        await asyncio.sleep(300.0)
        assert pool.total_count == 1


@virtually
async def test_an_sdk_that_raises_cancelled_error_is_tried_again():
    script = Script()
    async with new_pool(script, 1) as pool:
        script.openings = [DOWN, asyncio.CancelledError()]
        await script.sessions[0].close()
        await asyncio.sleep(60.0)
        assert pool.total_count == 1


@virtually
async def test_borrowers_that_come_in_a_pause_do_not_shorten_it():
    script = Script()
    async with new_pool(script, 1) as pool:
        script.openings = [DOWN, DOWN]
        await script.sessions[0].close()
        await asyncio.sleep(0.1)
        attempts = script.attempts
        for _ in range(2):
            with pytest.raises(PoolTimeout):
                await hold(pool, 0.0, timeout=0.05)
        assert script.attempts == attempts
        assert await hold(pool, 0.0)


@virtually
async def test_a_success_ends_the_pause_that_a_failure_began():
    pool = new_pool(Script(DOWN, slow(0.1), DOWN), 2)
    await pool.initialize()
    assert 0.1 + 0.25 <= now() <= 0.1 + 0.5
    assert pool.total_count == 2
    await pool.close()


@virtually
async def test_one_warning_per_outage(caplog: pytest.LogCaptureFixture):
    script = Script()
    async with new_pool(script, 1) as pool:
        script.openings = [DOWN] * 5
        await script.sessions[0].close()
        await asyncio.sleep(60.0)
        assert pool.total_count == 1
    warnings = [r for r in caplog.records if r.levelname == "WARNING" and "could not" in r.message]
    assert len(warnings) == 1
