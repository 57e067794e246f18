"""``configure``, ``check`` and ``reset``: a user's own code around the lending."""

from __future__ import annotations

import asyncio
from math import nan

import pytest
from clock import run_virtual
from echo import EchoDriver, marked_audio, marks
from scripted import Script, no_options
from test_pool_timing import hold, new_pool, now, virtually

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    PoolClosed,
    PooledConnection,
    PoolError,
    PoolEvent,
    PoolEventKind,
    PoolTimeout,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService

HOOKS = ["configure", "check", "reset"]


class Hook:
    """Notes whom it was called with, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.seen: list[str] = []

    async def __call__(self, conn: PooledConnection) -> None:
        self.seen.append(conn.connection_id)
        await asyncio.sleep(0)
        if len(self.seen) <= self.failures:
            raise ValueError("not to my taste")


async def asks(conn: PooledConnection) -> None:
    await conn.session.send_audio(b"\0\0", end=True)


async def dawdles(conn: PooledConnection) -> None:
    await asyncio.sleep(1000.0)


# --- configure --------------------------------------------------------------------------


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
            async with asyncio.timeout(5):
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


# --- check ------------------------------------------------------------------------------


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


# --- reset ------------------------------------------------------------------------------


@virtually
async def test_a_connection_is_reset_after_its_request_and_before_its_next_borrower():
    script, hook = Script(), Hook()
    async with new_pool(script, 1, reset=hook) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0")
            script.sessions[0].answers_abandoned = False
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, lambda: script.sessions[0].frame("scripted-0/1", end=True))
        loop.call_later(0.9, lambda: hook.seen.append("its request is not over"))
        async with pool.borrow():
            assert hook.seen == ["its request is not over", "scripted-0"]


@virtually
async def test_a_connection_that_cannot_be_reset_is_replaced():
    script = Script()
    async with new_pool(script, 1, reset=Hook(failures=1)) as pool:
        assert [await hold(pool, 0.0) for _ in range(3)] == ["scripted-0"] + ["scripted-1"] * 2
        assert pool.get_stats()["connections_retired"] == 1


@virtually
async def test_a_reset_that_takes_too_long_costs_its_connection():
    async with new_pool(Script(), 1, reset=dawdles, quarantine_timeout=3.0) as pool:
        await hold(pool, 0.0)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() - began == pytest.approx(3.0, abs=0.2)


@virtually
async def test_a_reset_that_ends_as_its_connection_is_given_up_changes_nothing():
    given_up = asyncio.get_running_loop().create_future()

    async def waits(conn: PooledConnection) -> None:
        await given_up

    def notice(event: PoolEvent) -> None:
        if event.kind is PoolEventKind.RETIRED and not given_up.done():
            given_up.set_result(None)

    async with new_pool(Script(), 1, reset=waits, on_event=notice) as pool:
        await hold(pool, 0.0)
        assert await hold(pool, 0.0) == "scripted-1"
        assert pool.total_count == 1


@virtually
async def test_closing_waits_for_no_reset():
    async with new_pool(Script(), 1, reset=dawdles) as pool:
        await hold(pool, 0.0)
        began = now()
        await pool.close()
        assert now() == began


# --- all of them ------------------------------------------------------------------------


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
