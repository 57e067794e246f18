"""A pool that opens in the background, and those who wait until it is whole."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from clock import now, virtually
from scripted import (
    DOWN,
    NO_CREDITS,
    Code,
    Script,
    ScriptedSession,
    hold,
    new_pool,
    no_options,
    refused,
    slow,
)

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    ConfigurationError,
    PoolClosed,
    PoolError,
    PoolTimeout,
    SessionConfig,
)
from avatarpool.service import LocalAvatarService

# --- wait ---------------------------------------------------------------------------------


@virtually
async def test_wait_returns_once_every_connection_is_there():
    async def slow(session: object) -> None:
        await asyncio.sleep(3.0)

    async with new_pool(Script(None, slow), 2, timeout=9.0) as pool:
        await pool.wait(timeout=0.0)  # initialize() had waited for both
        assert (pool.min_size, pool.max_size) == (2, 2)
        pool.resize(3, 4)
        began = now()
        await pool.wait()
        assert pool.total_count == 3
        assert now() == began
        assert (pool.min_size, pool.max_size) == (3, 4)


@virtually
async def test_wait_is_content_with_no_fewer_and_says_what_is_missing_and_why():
    down = [DOWN] * 100
    async with new_pool(Script(None, *down), 2, name="eu") as pool:
        assert pool.total_count == 1  # with which initialize() was content
        began = now()
        with pytest.raises(PoolTimeout) as caught:
            await pool.wait(timeout=4.0)
        assert str(caught.value) == (
            "pool 'eu' had 1 of 2 connections after 4.00 s: connectionFailed: as the script says"
        )
        assert caught.value.__cause__ is pool.last_open_error
        assert now() - began == pytest.approx(4.0)
        assert not pool.closed
        assert await hold(pool, 0.0) == "scripted-0"


@virtually
async def test_lent_connections_count_for_wait():
    async with new_pool(Script(), 1) as pool, pool.borrow():
        await pool.wait(timeout=0.0)


@virtually
async def test_wait_ends_with_the_pool_and_needs_one_that_is_open():
    pool = new_pool(Script(*[DOWN] * 100), 1)
    with pytest.raises(PoolClosed, match="call initialize"):
        await pool.wait()
    await pool.initialize(wait=False)
    waiting = [asyncio.create_task(pool.wait()) for _ in range(2)]
    await asyncio.sleep(1.0)
    await pool.close()
    for each in waiting:
        with pytest.raises(PoolClosed, match="was closed while it opened: connectionFailed"):
            await each


@virtually
async def test_a_pool_is_closed_before_it_opens_and_after_it_closes():
    pool = new_pool(Script())
    assert pool.closed
    async with pool:
        assert not pool.closed
    assert pool.closed


# --- initialize(wait=False) ------------------------------------------------------------------


@virtually
async def test_a_pool_opens_in_the_background_while_its_borrowers_wait():
    pool = new_pool(Script(*[DOWN] * 4), 2, timeout=20.0)
    began = now()
    await pool.initialize(wait=False)
    assert now() == began
    assert not pool.closed
    assert pool.total_count == 0
    assert await hold(pool, 0.0) == "scripted-5"  # 0 was made to try the configuration
    await pool.wait()
    await pool.close()


@virtually
async def test_one_who_waits_after_all_learns_that_nothing_opens_and_the_pool_goes_on():
    async with new_pool(Script(*[DOWN] * 3), 1) as pool:  # entering it waits
        assert pool.total_count == 1
    pool = new_pool(Script(*[DOWN] * 12), 1)
    await pool.initialize(wait=False)
    with pytest.raises(PoolError, match="none of its 1 connections"):
        await pool.initialize(timeout=2.0)
    assert not pool.closed
    await pool.initialize(timeout=500.0)
    await pool.initialize()  # which does nothing any more
    await pool.close()


@virtually
async def test_borrowers_are_told_a_refusal_in_the_background_too():
    pool = new_pool(Script(*[NO_CREDITS] * 100), 1)
    await pool.initialize(wait=False)
    with pytest.raises(AvatarSDKError, match="creditsExhausted"):
        await hold(pool, 0.0)
    await pool.close()


async def test_a_configuration_that_cannot_work_is_told_at_once():
    pool = AvatarConnectionPool(1, lambda: SessionConfig(avatar_id="a"), name="eu")
    with pytest.raises(ConfigurationError, match="api_key is missing"):
        await pool.initialize(wait=False)
    assert pool.closed
    await pool.close()


async def test_a_factory_that_fails_otherwise_is_tried_again(
    service: LocalAvatarService, caplog: pytest.LogCaptureFixture
):
    calls = 0

    def factory() -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("no vault")
        return service.config_factory()

    pool = AvatarConnectionPool(1, factory)
    with caplog.at_level(logging.WARNING, "avatarpool.pool"):
        await pool.initialize(wait=False)
    assert "config_factory or session_factory failed" in caplog.text
    assert "OSError('no vault')" in caplog.text
    await pool.wait(timeout=20)
    await pool.close()


async def test_a_pool_opened_while_the_service_is_down_serves_once_it_is_up():
    async with LocalAvatarService() as former:
        port = int(former.console_url.split(":")[2].split("/")[0])
    service = LocalAvatarService(port=port)
    pool = AvatarConnectionPool(2, service.config_factory)
    await pool.initialize(wait=False)
    borrower = asyncio.create_task(hold(pool, 0.0))
    with pytest.raises(PoolTimeout, match=r"had 0 of 2 connections after 0\.10 s"):
        await pool.wait(timeout=0.1)
    async with service:
        assert await borrower
        await pool.wait(timeout=20)
        await pool.close()


@virtually
async def test_the_borrower_that_is_one_too_many_hears_of_its_pool_and_the_limit():
    pool = AvatarConnectionPool(
        1, no_options, session_factory=Script(), max_waiting=1, name="checkout"
    )
    async with pool, pool.borrow():
        waiting = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(0)
        with pytest.raises(PoolError) as caught:
            await hold(pool, 0.0)
        waiting.cancel()
    assert str(caught.value) == (
        "pool 'checkout' has 1 borrowers waiting already, and max_waiting is 1"
    )


# --- initialize --------------------------------------------------------------------------


@virtually
async def test_initialize_returns_with_fewer_when_its_time_is_up_and_heals_later():
    async def never(session: ScriptedSession) -> None:
        await asyncio.sleep(60.0)

    pool = new_pool(Script(None, never, None), 3)
    await pool.initialize(timeout=5.0)
    assert (now(), pool.total_count) == (pytest.approx(5.0), 2)
    await asyncio.sleep(60.0)
    assert pool.total_count == 3
    await pool.close()


@virtually
async def test_initialize_again_does_nothing():
    script = Script()
    async with new_pool(script, 1) as pool:
        await pool.initialize()
        assert script.attempts == 1


@virtually
async def test_initialize_says_why_nothing_opened():
    pool = new_pool(Script(*[DOWN] * 100), 2, name="eu")
    with pytest.raises(PoolError, match=r"'eu' could open none of its 2 connections: .*script"):
        await pool.initialize(timeout=5.0)
    assert now() == pytest.approx(5.0)
    with pytest.raises(PoolClosed):
        await hold(pool, 0.0)


@virtually
async def test_initialize_says_that_nothing_answered():
    pool = new_pool(Script(slow(60.0)), 1)
    with pytest.raises(PoolError, match=r"no answer within 5\.00 s"):
        await pool.initialize(timeout=5.0)


@virtually
async def test_initialize_does_not_wait_where_the_service_refuses():
    pool = new_pool(Script(*[NO_CREDITS] * 100), 3)
    with pytest.raises(PoolError, match="creditsExhausted") as caught:
        await pool.initialize()
    assert caught.value.__cause__ is NO_CREDITS
    assert now() == 0.0


@virtually
async def test_initialize_takes_what_the_plan_allows():
    pool = new_pool(Script(None, None, *[refused(Code.concurrencyLimit, close_code=4003)] * 9), 3)
    await pool.initialize()
    assert pool.total_count == 2
    assert pool.last_open_error is not None
    assert await hold(pool, 0.0)
    await pool.close()


@virtually
async def test_a_factory_that_raises_fails_initialize_with_its_reason():
    def factory() -> dict[str, Any]:
        raise RuntimeError("no such tenant")

    pool = AvatarConnectionPool(1, factory, session_factory=Script())
    with pytest.raises(PoolError, match="no such tenant"):
        await pool.initialize()


@virtually
async def test_a_second_initialize_waits_for_the_first():
    async def slowly(session: ScriptedSession) -> None:
        await asyncio.sleep(2.0)

    pool = new_pool(Script(slowly, slowly), 2)
    opening = asyncio.create_task(pool.initialize())
    await asyncio.sleep(1.0)
    with pytest.raises(PoolError, match=r"no answer within 0\.50 s"):
        await pool.initialize(timeout=0.5)
    impatient = asyncio.create_task(pool.initialize())
    await asyncio.sleep(0)
    impatient.cancel()  # the pool is not its own
    await pool.initialize()
    assert now() == 2.0
    assert pool.total_count == 2
    await opening
    await pool.initialize()
    assert now() == 2.0
    await pool.close()


@virtually
async def test_a_second_initialize_learns_why_the_first_failed():
    pool = new_pool(Script(*[NO_CREDITS] * 9), 1)
    outcomes = await asyncio.gather(pool.initialize(), pool.initialize(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PoolError, PoolClosed]
    assert all("creditsExhausted" in str(outcome) for outcome in outcomes)


@virtually
async def test_cancelling_initialize_closes_everything():
    script = Script(None, slow(60.0))
    pool = new_pool(script, 2)
    opening = asyncio.create_task(pool.initialize())
    await asyncio.sleep(1.0)
    opening.cancel()
    await asyncio.wait([opening])
    assert all(session.is_closed for session in script.sessions)
    with pytest.raises(PoolClosed):
        await hold(pool, 0.0)


@virtually
async def test_closing_while_initialize_runs_ends_both():
    script = Script(slow(60.0))
    pool = new_pool(script, 1)
    opening = asyncio.create_task(pool.initialize())
    await asyncio.sleep(1.0)
    await pool.close()
    with pytest.raises(PoolClosed):
        await opening
    assert all(session.is_closed for session in script.sessions)
    assert now() == pytest.approx(1.0)


@virtually
async def test_two_that_initialize_at_once_without_waiting_open_each_session_once():
    script = Script()

    async def asks_a_vault() -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return {}

    pool = AvatarConnectionPool(2, asks_a_vault, session_factory=script)
    await asyncio.gather(*(pool.initialize(wait=False) for _ in range(2)))
    await pool.wait()
    await asyncio.sleep(10.0)
    assert script.attempts == 2
    await pool.close()


@virtually
async def test_a_pool_that_is_closed_while_its_configuration_is_tried_stays_closed():
    script = Script()

    async def asks_a_vault() -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return {}

    pool = AvatarConnectionPool(2, asks_a_vault, session_factory=script)
    initializing = asyncio.create_task(pool.initialize(wait=False))
    await asyncio.sleep(0.5)
    await pool.close()
    with pytest.raises(PoolClosed, match="is closed: make a new one"):
        await initializing
    assert script.attempts == 0
