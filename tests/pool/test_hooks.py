"""``configure``, ``check`` and ``reset``: a user's own code around the lending."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, run_virtual, virtually
from echo import EchoDriver, marked_audio, marks
from scripted import Hook, Script, asks, dawdles, hold, new_pool, no_options

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    PooledConnection,
    PoolError,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService

HOOKS = ["configure", "check", "reset"]


# --- configure -------------------------------------------------------------------------------


async def test_hooks_make_requests_of_their_own_which_no_borrower_sees():
    warm: list[str] = []

    async def warm_up(conn: PooledConnection) -> None:
        await conn.session.send_audio(marked_audio(-1, 3), end=True)
        assert marks([*await conn.collector.wait()]) == [-1] * 3
        warm.append(conn.connection_id)

    async with LocalAvatarService(driver=EchoDriver) as service:
        hooks = dict.fromkeys(HOOKS, warm_up)
        async with AvatarConnectionPool(2, service.config_factory, **hooks) as pool:
            assert len(warm) == len(set(warm)) == 2
            async with pool.borrow() as conn:
                assert warm[2:] == [conn.connection_id]
                await conn.session.send_audio(marked_audio(7, 2), end=True)
                assert marks([*await conn.collector.wait()]) == [7, 7]
                request = conn.collector.req_id
            async with asyncio.timeout(20):
                while pool.available_count < 2:
                    await asyncio.sleep(0.002)
            assert warm[3:] == [conn.connection_id]
            assert conn.collector.req_id == request
            assert pool.get_stats()["requests_errors"] == 0


@virtually
async def test_every_new_connection_is_configured_before_anybody_gets_it():
    hook = Hook()
    async with new_pool(Script(), 2, configure=hook) as pool:
        assert hook.seen == ["scripted-0", "scripted-1"]
        pool.drain()
        assert await hold(pool, 0.0) == "scripted-2"
        assert hook.seen[2] == "scripted-2"


@virtually
async def test_a_connection_that_cannot_be_configured_is_closed_and_tried_again_later():
    script, hook = Script(), Hook(failures=1)
    async with new_pool(script, 1, configure=hook):
        assert now() >= 0.25
        assert [session.is_closed for session in script.sessions] == [True, False]


@virtually
async def test_initialize_says_why_no_connection_could_be_configured():
    script = Script()
    with pytest.raises(PoolError, match=r"configure failed: ValueError\('not to my taste'\)"):
        await new_pool(script, 1, configure=Hook(failures=1000)).initialize(timeout=60.0)
    assert all(session.is_closed for session in script.sessions)
    assert script.attempts < 15


@virtually
async def test_cancelling_initialize_while_a_hook_runs_closes_its_session():
    script = Script()
    pool = new_pool(script, 1, configure=dawdles)
    opening = asyncio.create_task(pool.initialize())
    await asyncio.sleep(1.0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert script.sessions[0].is_closed


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("which", HOOKS)
def test_a_hook_that_leaves_a_request_open_costs_its_connection(which: str):
    async def scenario() -> None:
        script, left = Script(), iter([asks])

        async def hook(conn: PooledConnection) -> None:
            for leave in left:
                await leave(conn)

        async with new_pool(script, 1, **{which: hook}) as pool:
            await hold(pool, 0.0)
            assert await hold(pool, 0.0) == "scripted-1"
            assert script.sessions[0].is_closed

    run_virtual(scenario())


@pytest.mark.parametrize("which", HOOKS)
def test_a_hook_that_takes_longer_than_a_request_costs_its_connection(which: str):
    async def scenario() -> None:
        script, slow = Script(), iter([dawdles])

        async def hook(conn: PooledConnection) -> None:
            for dawdle in slow:
                await dawdle(conn)

        options = {which: hook, "request_timeout": 1.0, "timeout": 100.0}
        async with new_pool(script, 1, **options) as pool:
            await hold(pool, 0.0)
            assert await hold(pool, 0.0) == "scripted-1"
            assert script.sessions[0].is_closed

    run_virtual(scenario())


@pytest.mark.parametrize("which", HOOKS)
def test_what_a_hook_was_given_is_dead_afterwards(which: str):
    kept: list[PooledConnection] = []

    async def keeps(conn: PooledConnection) -> None:
        kept.append(conn)

    async def scenario() -> None:
        pool = AvatarConnectionPool(1, no_options, session_factory=Script(), **{which: keeps})
        async with pool:
            await hold(pool, 0.0)
            await asyncio.sleep(1.0)
            with pytest.raises(SessionStateError, match="was returned"):
                await asks(kept[0])

    run_virtual(scenario())


@pytest.mark.parametrize("which", HOOKS)
def test_a_connection_that_dies_under_a_hook_is_replaced(which: str):
    script = Script()

    async def kills(conn: PooledConnection) -> None:
        if conn.connection_id == "scripted-0":
            await script.sessions[0].close()
            with pytest.raises(AvatarSDKError):
                await asks(conn)

    async def scenario() -> None:
        async with new_pool(script, 1, **{which: kills}) as pool:
            await hold(pool, 0.0)
            assert await hold(pool, 0.0) == "scripted-1"
            await asyncio.sleep(1.0)
            assert pool.available_count == 1

    run_virtual(scenario())
