"""What the pool does when: on a virtual clock, with sessions that follow a script."""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import weakref
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from clock import VirtualClockLoop, run_virtual
from scripted import Script, ScriptedSession, no_options, refused

from avatarpool import (
    AudioError,
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    LiveKitEgressConfig,
    PoolClosed,
    PooledConnection,
    PoolError,
    PoolEvent,
    PoolEventKind,
    PoolTimeout,
    RequestTimeout,
    SessionStateError,
    TooManyRequests,
)
from avatarpool.pool.collection import Collection

Code = AvatarSDKErrorCode
DOWN = refused(Code.connectionFailed)
NO_CREDITS = refused(Code.creditsExhausted, close_code=4001)


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on the virtual clock."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def new_pool(script: Script, size: int = 2, **options: Any) -> AvatarConnectionPool:
    options.setdefault("name", "test")
    return AvatarConnectionPool(size, no_options, session_factory=script, **options)


def now() -> float:
    return asyncio.get_running_loop().time()


async def hold(pool: AvatarConnectionPool, seconds: float, **options: Any) -> str:
    async with pool.borrow(**options) as conn:
        await asyncio.sleep(seconds)
        return conn.connection_id


# --- borrowing --------------------------------------------------------------------------


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
async def test_repr_shows_the_places():
    async with new_pool(Script(), 2, name="eu") as pool, pool.borrow() as conn:
        assert repr(pool) == "<AvatarConnectionPool 'eu' 1 idle, 1 lent, 0 waiting>"
        assert repr(conn) == "<PooledConnection scripted-0 lent>"
        assert repr(conn.session) == "<LentSession of <PooledConnection scripted-0 lent>>"
    assert repr(conn) == "<PooledConnection scripted-0 returned>"


# --- growing, shrinking, ageing -----------------------------------------------------------


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


def test_a_lifetime_that_holds_no_request_is_refused():
    with pytest.raises(ConfigurationError, match="raise session_ttl_minutes"):
        new_pool(Script(), session_ttl_minutes=0.5)
    with pytest.raises(ConfigurationError) as caught:
        new_pool(Script(), session_ttl_minutes=2000.0, num_workers=0)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_limits_that_cannot_be_kept_are_all_named(wrong: float):
    limits = {
        "timeout": wrong,
        "request_timeout": wrong,
        "first_frame_timeout": wrong,
        "frame_gap_timeout": wrong,
        "max_waiting": wrong,
        "max_lifetime": wrong,
        "max_idle": wrong,
        "quarantine_timeout": wrong,
        "reconnect_timeout": wrong,
        "leak_warning": wrong,
    }
    with pytest.raises(ConfigurationError) as caught:
        new_pool(Script(), **limits)
    for name in limits:
        assert f"{name} {wrong} is negative or no number" in caught.value.problems


def test_a_pool_without_a_config_factory_is_refused():
    with pytest.raises(ConfigurationError, match="config_factory is missing"):
        AvatarConnectionPool(3)


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
async def test_a_borrower_with_a_wrong_priority_harms_nobody_else():
    async with new_pool(Script(), 1) as pool:
        wrong: Any = "high"
        async with pool.borrow():
            with pytest.raises(ConfigurationError, match="priority 'high' must be a number"):
                await hold(pool, 0.0, priority=wrong)
        assert await hold(pool, 0.0) == "scripted-0"


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


# --- opening --------------------------------------------------------------------------------


def slow(seconds: float) -> Callable[[ScriptedSession], Coroutine[Any, Any, None]]:
    return lambda session: asyncio.sleep(seconds)


@virtually
async def test_opens_side_by_side_but_not_more_than_num_workers():
    pool = new_pool(Script(*[slow(1.0)] * 4), 4, num_workers=2)
    await pool.initialize()
    assert now() == pytest.approx(2.0)
    await pool.close()


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
async def test_a_size_that_is_no_whole_number_is_told():
    with pytest.raises(ConfigurationError, match=r"pool_size 2\.5 is no whole number"):
        new_pool(Script(), 2.5)  # type: ignore[arg-type]


@virtually
async def test_a_close_with_no_time_at_all_changes_nothing():
    async with new_pool(Script(), 1) as pool:
        with pytest.raises(ConfigurationError, match="timeout None must be a number"):
            await pool.close(timeout=None)  # type: ignore[arg-type]
        await hold(pool, 0.0)


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
async def test_a_session_that_ends_as_it_opens_is_not_lent():
    script = Script(None)
    async with new_pool(script, 1) as pool:
        script.openings = [lambda session: session.close()]
        await script.sessions[0].close()
        await asyncio.sleep(10.0)
        assert pool.total_count == 1
        assert await hold(pool, 0.0) == script.sessions[-1].name


# --- requests -----------------------------------------------------------------------------


@virtually
async def test_a_request_that_nobody_waits_for_drains_before_the_next_borrower():
    script = Script()
    async with new_pool(script, 1) as pool:
        [session] = script.sessions
        session.answers_abandoned = False
        async with pool.borrow() as conn:
            old = await conn.session.send_audio(b"\0\0", end=True)
            with pytest.raises(RequestTimeout, match=r"within 1\.00 s \(0 frames so far\)"):
                await conn.collector.wait(1.0)
        assert pool.get_stats()["connections_draining"] == 1
        waiting = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        assert session.interrupted == [old]
        session.frame(old)
        session.frame(old, end=True)
        assert await waiting == "scripted-0"
        assert pool.get_stats()["frames_dropped"] == 2


@virtually
async def test_a_request_that_does_not_end_in_quarantine_costs_its_session():
    script = Script()
    async with new_pool(script, 1, quarantine_timeout=5.0) as pool:
        script.sessions[0].answers_abandoned = False
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() - began == pytest.approx(5.0, abs=0.5)
        assert script.sessions[0].is_closed


@virtually
async def test_a_session_that_cannot_be_drained_is_replaced_at_once():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = script.sessions[0]

        async def broken() -> str:
            raise OSError("no route")

        session.interrupt = broken  # type: ignore[method-assign]
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == began


@virtually
async def test_leaving_the_block_never_waits():
    script = Script()
    async with new_pool(script, 1) as pool:
        script.sessions[0].answers_abandoned = False
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0")
            began = now()
        assert now() == began


def answer_at(session: ScriptedSession, times: dict[float, bool], req_id: str) -> None:
    """Deliver frames at these times from now; True: the last one."""
    for seconds, end in times.items():
        asyncio.get_running_loop().call_later(
            seconds, lambda end=end: session.frame(req_id, end=end)
        )


@virtually
async def test_a_first_frame_that_does_not_come_in_time_ends_the_waiting():
    script = Script()
    async with new_pool(script, 1, first_frame_timeout=2.0) as pool, pool.borrow() as conn:
        await conn.session.send_audio(b"\0\0", end=True)
        with pytest.raises(RequestTimeout, match=r"no first frame within 2\.00 s") as caught:
            await conn.collector.wait()
        assert caught.value.awaited == "first frame"
        assert now() == pytest.approx(2.0)


@virtually
async def test_a_gap_between_frames_ends_the_waiting():
    script = Script()
    async with new_pool(script, 1, frame_gap_timeout=2.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {5.0: False, 6.5: False, 9.0: True}, req_id)
        with pytest.raises(RequestTimeout, match=r"no next frame within 2\.00 s .2 frames"):
            await conn.collector.wait()
        assert now() == pytest.approx(8.5)
        await conn.session.interrupt()


@virtually
async def test_the_watchdogs_leave_a_steady_request_alone_and_the_total_holds():
    script = Script()
    async with (
        new_pool(script, 1, first_frame_timeout=2.0, frame_gap_timeout=2.0) as pool,
        pool.borrow() as conn,
    ):
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 2.0: False, 3.0: True}, req_id)
        assert len(await conn.collector.wait()) == 3
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 2.0: False, 3.0: False, 4.0: True}, req_id)
        with pytest.raises(RequestTimeout, match=r"no last frame within 2\.50 s"):
            await conn.collector.wait(2.5)
        assert len(await conn.collector.wait()) == 4


@virtually
async def test_a_frame_in_the_very_moment_of_the_limit_counts():
    script = Script()
    async with new_pool(script, 1, first_frame_timeout=2.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {2.0: False, 3.0: True}, req_id)
        assert len(await conn.collector.wait()) == 2


@virtually
async def test_a_first_frame_watchdog_alone_lets_frames_take_their_time():
    script = Script()
    async with new_pool(script, 1, first_frame_timeout=2.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 30.0: True}, req_id)
        assert len(await conn.collector.wait()) == 2


async def taken(frames):
    """The moments at which frames were given, and how it ended."""
    moments = []
    try:
        async for _ in frames:
            moments.append(now())  # noqa: PERF401 - what came before an error counts
    except RequestTimeout as error:
        return moments, str(error).partition(" gave ")[2], now()
    return moments, "", now()


@virtually
async def test_iterating_keeps_the_pools_limits():
    script = Script()
    limits = {"request_timeout": 9.0, "first_frame_timeout": 2.0, "frame_gap_timeout": 4.0}
    answers = (
        ({}, ([], "no first frame within 2.00 s (0 frames so far)", 2.0)),
        ({1.0: False}, ([1.0], "no next frame within 4.00 s (1 frames so far)", 5.0)),
        (
            {1.0: False, 4.0: False, 7.0: False, 10.0: True},
            ([1.0, 4.0, 7.0], "no last frame within 9.00 s (3 frames so far)", 9.0),
        ),
        ({1.0: False, 5.0: False, 8.9: True}, ([1.0, 5.0, 8.9], "", 8.9)),
    )
    async with new_pool(script, 1, **limits) as pool:
        for frames, (moments, sentence, ended) in answers:
            async with pool.borrow() as conn:
                began = now()
                req_id = await conn.session.send_audio(b"\0\0", end=True)
                answer_at(script.sessions[0], frames, req_id)
                seen, said, when = await taken(conn.collector)
                await conn.session.interrupt()
            assert [moment - began for moment in seen] == pytest.approx(moments)
            assert (said, when - began) == (sentence, pytest.approx(ended))


@virtually
async def test_a_stream_may_have_other_limits_than_the_pool():
    script = Script()
    async with (
        new_pool(script, 1, request_timeout=3.0, first_frame_timeout=1.0) as pool,
        pool.borrow() as conn,
    ):
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {4.0: False, 8.0: False, 13.0: True}, req_id)
        moments, sentence, ended = await taken(conn.collector.stream(math.inf, patience=4.5))
        assert moments == pytest.approx([4.0, 8.0])
        assert (sentence, ended) == ("no next frame within 4.50 s (2 frames so far)", 12.5)


@virtually
async def test_frames_that_have_come_are_given_however_late():
    script = Script()
    async with new_pool(script, 1, request_timeout=3.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 2.0: True}, req_id)
        count = 0
        async for _ in conn.collector:
            count += 1
            await asyncio.sleep(10.0)
        assert count == 2


# --- closing --------------------------------------------------------------------------------


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


# --- left, and no end to be seen ------------------------------------------------------------


def mute(session: ScriptedSession) -> ScriptedSession:
    """Have a session that does not answer an interrupt."""
    session.answers_abandoned = False
    return session


def answer_pings(session: ScriptedSession, seconds: float = 0.0, *, alive: bool = True) -> None:
    """Give a vendor's session what only ours has."""

    async def proves_alive(patience: float) -> bool:
        assert patience == 1.0
        await asyncio.sleep(seconds)
        return alive

    session.options["on_close"].__self__.sink.proves_alive = proves_alive


async def leave(pool: AvatarConnectionPool, session: ScriptedSession, *, frames: int = 1) -> str:
    """Leave a request of which so many frames had come; return its id."""
    async with pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        for _ in range(frames):
            session.frame(req_id)
        return req_id


@virtually
async def test_a_left_request_that_had_frames_is_over_after_a_moment_of_silence():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session, 0.1)
        old = await leave(pool, session)
        await asyncio.sleep(0.25)
        assert pool.available_count == 0
        await asyncio.sleep(0.1)
        assert pool.available_count == 1
        async with pool.borrow() as conn:
            new = await conn.session.send_audio(b"\0\0", end=True)
            for req_id, end in ((old, False), (new, False), (old, True), (new, True)):
                session.frame(req_id, end=end)
            assert {frame.req_id for frame in await conn.collector.wait()} == {new}
            assert len(conn.collector.frames) == 2
        assert pool.available_count == 1
        stats = pool.get_stats()
        assert stats["frames_dropped"] == 2
        assert stats["connections_retired"] == stats["protocol_errors"] == 0


@virtually
async def test_a_moment_of_silence_is_no_end_before_the_ping_is_answered():
    script = Script()
    async with new_pool(script, 1) as pool:
        answer_pings(mute(script.sessions[0]), 0.8)
        await leave(pool, script.sessions[0])
        await hold(pool, 0.0)
        assert now() == pytest.approx(0.8)


@virtually
async def test_frames_that_flow_on_are_waited_for_to_their_end():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session)
        for end in (True, False):
            began = now()
            req_id = await leave(pool, session)
            answer_at(session, {n / 5: end and n == 10 for n in range(1, 11)}, req_id)
            await hold(pool, 0.0)
            assert now() - began == pytest.approx(2.0 if end else 2.3)


@virtually
async def test_without_pings_each_frame_begins_the_quarantine_anew():
    script = Script()
    async with new_pool(script, 1, quarantine_timeout=5.0) as pool:
        session = mute(script.sessions[0])
        req_id = await leave(pool, session)
        answer_at(session, {4.0: False, 8.0: False, 12.0: True}, req_id)
        assert await hold(pool, 0.0) == "scripted-0"
        assert now() == pytest.approx(12.0)


@virtually
async def test_frames_without_end_are_not_waited_for_longer_than_a_request_may_take():
    script = Script()
    limits = {"quarantine_timeout": 5.0, "request_timeout": 20.0, "max_lifetime": 1000.0}
    async with new_pool(script, 1, **limits) as pool:
        session = mute(script.sessions[0])
        answer_pings(session)
        req_id = await leave(pool, session)
        answer_at(session, dict.fromkeys([n / 5 for n in range(1, 200)], False), req_id)
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == pytest.approx(20.0, abs=0.5)


@virtually
async def test_before_its_first_frame_a_left_request_is_waited_for_while_nobody_wants_it():
    script = Script()
    async with new_pool(script, 1, quarantine_timeout=5.0) as pool:
        answer_pings(mute(script.sessions[0]))
        await leave(pool, script.sessions[0], frames=0)
        await asyncio.sleep(4.0)
        assert pool.get_stats()["connections_draining"] == 1
        await asyncio.sleep(1.5)
        assert script.sessions[0].is_closed
        assert pool.available_count == 1


@virtually
async def test_before_its_first_frame_it_is_lent_to_who_has_nothing_else():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session, 0.1)
        old = await leave(pool, session, frames=0)
        waiting = asyncio.create_task(hold(pool, 1.0))
        await asyncio.sleep(0.29)
        assert pool.get_stats()["requests_waiting"] == 1
        assert await waiting == "scripted-0"
        assert now() == pytest.approx(1.3)
        await leave(pool, session, frames=0)
        await asyncio.sleep(2.0)  # whoever comes later has it at once
        async with pool.borrow() as conn:
            assert now() == pytest.approx(3.4)
            new = await conn.session.send_audio(b"\0\0", end=True)
            session.frame(old, end=True)  # it had only been slow
            session.frame(new, end=True)
            assert [frame.req_id for frame in await conn.collector.wait()] == [new]
        assert pool.get_stats()["connections_retired"] == 0


@virtually
async def test_before_its_first_frame_it_is_lent_to_nobody_for_whom_another_opens():
    script = Script()
    async with new_pool(script, 1, max_size=2, quarantine_timeout=9.0) as pool:
        answer_pings(mute(script.sessions[0]))
        script.openings = [slow(2.0)]
        await leave(pool, script.sessions[0], frames=0)
        await asyncio.sleep(1.0)
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == pytest.approx(3.0)


@virtually
async def test_before_its_first_frame_it_is_lent_once_no_other_could_be_opened():
    async def down(session: ScriptedSession) -> None:
        await asyncio.sleep(2.0)
        raise DOWN

    script = Script()
    async with new_pool(script, 1, max_size=2, quarantine_timeout=9.0) as pool:
        answer_pings(mute(script.sessions[0]))
        script.openings = [down] * 50
        await leave(pool, script.sessions[0], frames=0)
        await asyncio.sleep(1.0)
        assert await hold(pool, 0.0) == "scripted-0"
        assert now() == pytest.approx(3.0)


@virtually
async def test_one_borrower_that_waits_takes_one_of_several_that_fade():
    script = Script()
    async with new_pool(script, 3) as pool:
        for session in script.sessions:
            answer_pings(mute(session))
        async with asyncio.TaskGroup() as group:
            for session in script.sessions:
                group.create_task(leave(pool, session, frames=0))
        await hold(pool, 1.0)
        assert now() == pytest.approx(1.3)
        assert pool.available_count == 1
        assert pool.get_stats()["connections_draining"] == 2


@virtually
@pytest.mark.parametrize("frames", [0, 1])
async def test_a_peer_that_does_not_answer_a_ping_after_the_interrupt_is_replaced_at_once(
    frames: int,
):
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append) as pool:
        answer_pings(mute(script.sessions[0]), 1.0, alive=False)
        await leave(pool, script.sessions[0], frames=frames)
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == pytest.approx(1.0)
    retired = [event.reason for event in events if event.kind is PoolEventKind.RETIRED]
    assert retired[0] == "its peer did not answer a ping"


@virtually
async def test_a_ping_is_no_matter_any_more_once_the_request_has_ended():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session, 1.0, alive=False)

        async def leave_and_end() -> None:
            req_id = await leave(pool, session)
            await asyncio.sleep(0.1)  # it was pinged
            session.frame(req_id, end=True)

        await leave_and_end()
        await hold(pool, 2.0)
        assert not session.is_closed
        await leave_and_end()
        await leave(pool, session)  # another one fades, with a ping of its own
        answer_pings(session, 9.0)
        await asyncio.sleep(2.0)
        assert not session.is_closed


@virtually
async def test_a_pool_closes_at_once_though_a_ping_is_not_answered_yet():
    script = Script()
    async with new_pool(script, 1) as pool:
        answer_pings(mute(script.sessions[0]), 60.0)
        await leave(pool, script.sessions[0])
        await asyncio.sleep(0.1)
    assert now() == pytest.approx(0.1)
    assert script.sessions[0].is_closed


@virtually
async def test_what_is_as_good_as_over_is_reset_before_it_is_lent():
    async def reset(conn: PooledConnection) -> None:
        resets.append(now())

    resets: list[float] = []
    script = Script()
    async with new_pool(script, 1, reset=reset) as pool:
        answer_pings(mute(script.sessions[0]))
        await leave(pool, script.sessions[0])
        await hold(pool, 1.0)
        assert resets == [pytest.approx(0.3)]


@virtually
async def test_an_error_that_may_be_a_left_requests_is_the_cause_of_the_next_ones_timeout():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session)
        await leave(pool, session)
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
            doubted = refused(Code.upstreamError)
            session.fail(doubted)
            assert not conn.collector.is_done
            with pytest.raises(RequestTimeout) as caught:
                await conn.collector.wait(2.0)
            assert caught.value.__cause__ is doubted
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
            session.fail(refused(Code.upstreamError))  # of the one that timed out, maybe
            assert not conn.collector.is_done
            session.fail(refused(Code.upstreamError))
            with pytest.raises(AvatarSDKError, match="upstreamError"):
                await conn.collector.wait()


# --- the end of a request, and what is counted of it ------------------------------------------


async def is_answered(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.frame(conn.collector.req_id or "", end=True)


async def fails(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.fail(refused(Code.upstreamError, req_id=conn.collector.req_id))


async def is_interrupted(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    await conn.session.interrupt()


async def is_left(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.frame(conn.collector.req_id or "")


async def times_out(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    with pytest.raises(RequestTimeout):
        await conn.collector.wait(1.0)


async def is_lost(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    await session.close()


async def is_cut(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    await pool.close(timeout=0.0)


async def brings_too_much(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    for end in (False,) * 11 + (True,):
        session.frame(conn.collector.req_id or "", end=end)


async def brings_too_much_with_its_end(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    for end in (False,) * 10 + (True,):
        session.frame(conn.collector.req_id or "", end=end)


async def breaks_the_protocol(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.frame("of nobody")


@pytest.mark.parametrize("is_last", [True, False], ids=["sent", "half-sent"])
@pytest.mark.parametrize(
    ("ends", "error"),
    [
        (is_answered, ""),
        (fails, "upstreamError"),
        (is_interrupted, ""),
        (is_left, "was returned before the last frame"),
        (times_out, "was returned before the last frame"),
        (is_lost, "was closed before the last frame"),
        (is_cut, "pool 'test' was closed before the last frame"),
        (brings_too_much, "gave more than 10 frames"),
        (brings_too_much_with_its_end, "gave more than 10 frames"),
        (breaks_the_protocol, "never made"),
    ],
)
@virtually
async def test_borrower_events_and_statistics_agree_how_a_request_ended(
    ends: Any, error: str, *, is_last: bool
):
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append, max_frames=10) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=is_last)
            await ends(pool, script.sessions[0], conn)
        await asyncio.sleep(1.0)
        stats = pool.get_stats()
    [ended] = [event for event in events if event.kind is PoolEventKind.REQUEST_ENDED]
    assert ended.error is conn.collector.error
    assert (ended.error is not None) is bool(error)
    assert error in str(ended.error)
    assert ended.reason == ("interrupted" if ends is is_interrupted else "")
    assert conn.collector.is_done
    assert stats["requests_num"] == 1
    assert stats["requests_errors"] == bool(error)
    assert stats["total_requests_served"] == (ends is is_answered)
    assert stats["latency"]["duration_ms"]["count"] == (ends is is_answered)
    served = sum(connection["request_count"] for connection in stats["connections"])
    assert served == (ends is is_answered)


@pytest.mark.parametrize("ends", [is_answered, is_interrupted, is_left, is_lost])
@virtually
async def test_with_egress_they_agree_too(ends: Any):
    events: list[PoolEvent] = []
    options = {"livekit_egress": LiveKitEgressConfig(url="wss://rooms.example")}
    script = Script()
    async with AvatarConnectionPool(
        1, lambda: options, session_factory=script, on_event=events.append
    ) as pool:
        async with pool.borrow() as conn:
            is_answer = ends is is_answered
            await conn.session.send_audio(b"\0\0", end=is_answer)
            await ends(pool, script.sessions[0], conn)
        stats = pool.get_stats()
    [ended] = [event for event in events if event.kind is PoolEventKind.REQUEST_ENDED]
    assert ended.error is conn.collector.error
    assert (ended.error is None) is (ends in (is_answered, is_interrupted))
    assert stats["requests_errors"] == (ended.error is not None)
    assert stats["total_requests_served"] == is_answer


@virtually
async def test_no_frame_of_its_requests_stays_with_a_connection_that_came_back():
    def every() -> list[Collection]:
        gc.collect()
        return [each for each in gc.get_objects() if type(each) is Collection and each.frames]

    others = every()  # of tests before this one

    def collections() -> list[Collection]:
        return [each for each in every() if all(each is not other for other in others)]

    script = Script()
    async with new_pool(script, 1) as pool:
        assert collections() == []
        session = mute(script.sessions[0])
        async with pool.borrow() as conn:
            for _ in range(2):
                req_id = await conn.session.send_audio(b"\0\0", end=True)
                session.frame(req_id, end=True)
                await conn.collector.wait()
            assert len(collections()) == 1  # its borrower's, of the latest
        del conn
        assert pool.available_count == 1
        assert collections() == []
        await leave(pool, session)
        assert pool.get_stats()["connections_draining"] == 1
        assert collections() == []


# --- numbers ----------------------------------------------------------------------------------


@virtually
async def test_stats_count_and_pop_stats_starts_anew():
    script = Script()
    async with new_pool(script, 1) as pool:
        pool.meter.clock = now
        async with pool.borrow() as conn:
            asyncio.get_running_loop().call_later(
                1.0, lambda: script.sessions[0].frame(conn.collector.req_id or "")
            )
            asyncio.get_running_loop().call_later(
                3.0, lambda: script.sessions[0].frame(conn.collector.req_id or "", end=True)
            )
            await conn.session.send_audio(b"\0\0", end=True)
            assert len(await conn.collector.wait()) == 2
        await asyncio.gather(hold(pool, 2.0), hold(pool, 0.0))
        stats = pool.pop_stats()
        assert stats["total_requests_served"] == 1
        assert stats["connections"] == [
            {"connection_id": "scripted-0", "request_count": 1, "age_seconds": pytest.approx(5.0)}
        ]
        assert (stats["borrows_num"], stats["borrows_queued"]) == (3, 1)
        assert stats["borrows_wait_ms"] == pytest.approx(2000.0)
        assert stats["usage_ms"] == pytest.approx(5000.0)
        assert stats["latency"]["first_frame_ms"]["p50"] == pytest.approx(1000.0)
        assert stats["latency"]["duration_ms"]["p99"] == pytest.approx(3000.0)
        assert stats["latency"]["wait_ms"]["max"] == pytest.approx(2000.0)
        again = pool.get_stats()
        assert (again["borrows_num"], again["usage_ms"]) == (0, 0.0)
        assert again["latency"]["wait_ms"]["count"] == 0
        assert again["total_requests_served"] == 1
        assert pool.meter.totals()["borrows_num"] == 3


@virtually
async def test_a_frame_right_after_the_return_reaches_nobody():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
        script.sessions[0].frame(req_id)
        assert conn.collector.frames == []
        assert pool.get_stats()["frames_dropped"] == 1


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
async def test_a_connection_in_cleaning_is_lent_to_nobody_though_its_last_frame_came():
    script = Script()
    async with new_pool(script, 1) as pool:
        [session] = script.sessions
        session.answers_abandoned = False
        interrupt = session.interrupt

        async def slow_interrupt() -> str:
            await asyncio.sleep(3.0)  # the peer reads slowly
            return await interrupt()

        session.interrupt = slow_interrupt  # type: ignore[method-assign]
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
        await asyncio.sleep(1.0)
        session.frame(req_id, end=True)
        assert pool.available_count == 0
        await hold(pool, 0.0)
        assert now() == pytest.approx(3.0)


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
async def test_an_sdk_that_raises_cancelled_error_is_tried_again():
    script = Script()
    async with new_pool(script, 1) as pool:
        script.openings = [DOWN, asyncio.CancelledError()]
        await script.sessions[0].close()
        await asyncio.sleep(60.0)
        assert pool.total_count == 1


@virtually
async def test_lent_sessions_beyond_the_new_size_are_closed_on_their_return():
    script = Script()
    async with new_pool(script, 3) as pool:
        holding = [asyncio.create_task(hold(pool, 1.0)) for _ in range(3)]
        await asyncio.sleep(0.5)
        pool.resize(1)
        await asyncio.gather(*holding)
        assert pool.total_count == 1


def test_a_lifetime_that_its_jitter_may_cut_below_a_request_is_refused():
    with pytest.raises(ConfigurationError, match="less 10 %"):
        new_pool(Script(), max_lifetime=49.0)


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
async def test_returned_frames_are_freed_without_the_garbage_collector():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            script.sessions[0].frame(req_id, end=True)
            await conn.collector.wait()
            frames = weakref.ref(conn.collector)
        gc.disable()
        try:
            del conn
            assert frames() is None
        finally:
            gc.enable()


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
async def test_draining_a_pool_that_is_not_open_says_so():
    with pytest.raises(PoolClosed, match="call initialize"):
        new_pool(Script(), 1).drain()


# --- odd moments ------------------------------------------------------------------------------


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
async def test_a_session_that_dies_after_the_last_frame_fails_nothing():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            script.sessions[0].frame(req_id, end=True)
            await script.sessions[0].close()
            assert len(await conn.collector.wait()) == 1
        assert pool.get_stats()["requests_errors"] == 0


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


@virtually
async def test_a_pool_can_be_resized_before_it_opens():
    script = Script()
    pool = new_pool(script, 3)
    pool.resize(1)
    async with pool:
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
async def test_a_borrower_that_is_cancelled_in_the_tick_of_a_refusal_is_cancelled():
    async with new_pool(Script(), 1) as pool, pool.borrow():
        waiting = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(0)
        waiting.cancel()
        pool._state.fail_waiters(NO_CREDITS)
        await asyncio.wait([waiting])
        assert waiting.cancelled()


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


# --- misuse ------------------------------------------------------------------------------------


def test_a_pool_in_a_forked_process_says_so():
    program = Path(__file__).with_name("forked_pool.py")
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(program)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stderr == ""
    says_so = "pool 'eu' belongs to another event loop or process: "
    child, child_with_a_loop, parent = done.stdout.splitlines()
    assert child.startswith(f"child: {says_so}")
    assert child_with_a_loop.startswith(f"child of its own loop: {says_so}")
    assert parent == "parent: served"
    assert done.returncode == 0


def test_a_pool_of_another_event_loop_says_so():
    pool = new_pool(Script(), 1, name="eu")
    loop = VirtualClockLoop()
    loop.run_until_complete(pool.initialize())
    with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
        run_virtual(hold(pool, 0.0))

    with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
        run_virtual(pool.close())
    assert pool.total_count == 1
    loop.run_until_complete(pool.close())
    loop.close()


def test_a_pool_whose_loop_has_moved_to_another_thread_lends_nothing_in_the_first():
    is_inside, may_go_on = Event(), Event()

    async def block() -> None:
        is_inside.set()
        may_go_on.wait(10.0)

    pool = new_pool(Script(), 1, name="eu")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(pool.initialize())
    thread = Thread(target=loop.run_until_complete, args=(block(),))
    thread.start()
    try:
        assert is_inside.wait(10.0)
        with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
            run_virtual(hold(pool, 0.0))
    finally:
        may_go_on.set()
        thread.join()
        loop.run_until_complete(pool.close())
        loop.close()


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
async def test_a_task_that_waits_for_a_connection_while_it_holds_the_last_is_warned(
    caplog: pytest.LogCaptureFixture,
):
    async with new_pool(Script(), 1, name="eu") as pool:
        async with pool.borrow():
            with pytest.raises(PoolTimeout):
                await hold(pool, 0.0, timeout=1.0)
        [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "'eu': the task that borrowed at" in warning.message
        assert warning.message.count("test_pool_timing.py") >= 2, "both places are named"
        caplog.clear()
        await hold(pool, 0.0)  # it holds none any more
        async with pool.borrow() as conn:
            other = asyncio.create_task(hold(pool, 0.0))  # another task may well wait
            await asyncio.sleep(1.0)
            del conn
        await other
        assert caplog.records == []


@virtually
async def test_holding_one_connection_and_taking_another_is_no_deadlock(
    caplog: pytest.LogCaptureFixture,
):
    async with new_pool(Script(), 1, max_size=2) as pool:
        async with pool.borrow():
            async with pool.borrow():
                pass
        async with pool.borrow():
            pass
    assert caplog.records == []


@virtually
async def test_a_connection_that_is_held_for_long_is_logged_once_with_its_place(
    caplog: pytest.LogCaptureFixture,
):
    async with new_pool(Script(), 2, leak_warning=10.0) as pool:
        async with pool.borrow():
            await asyncio.sleep(8.0)
            assert caplog.records == []
            await asyncio.sleep(60.0)
        [warning] = caplog.records
        assert "pool_timing.py:" in warning.message
        assert "scripted-0 10 s ago" in warning.message


# --- events ------------------------------------------------------------------------------------


@virtually
async def test_events_tell_what_happens_to_each_connection():
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, name="eu", on_event=events.append) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0")
        await asyncio.sleep(1.0)
        script.openings = [NO_CREDITS]
        await script.sessions[0].close()
        await asyncio.sleep(30.0)
    assert {event.pool for event in events} == {"eu"}
    assert [(event.kind.value, event.connection_id) for event in events] == [
        ("opened", "scripted-0"),
        ("lent", "scripted-0"),
        ("request_began", "scripted-0"),
        ("request_ended", "scripted-0"),
        ("returned", "scripted-0"),
        ("quarantined", "scripted-0"),
        ("lost", "scripted-0"),
        ("refused", ""),
        ("breaker_open", ""),
        ("breaker_closed", ""),
        ("opened", "scripted-2"),
        ("retired", "scripted-2"),
    ]
    assert events[7].reason == str(NO_CREDITS)
    assert events[-1].reason == "the pool closes"


@virtually
async def test_events_tell_how_long_things_took_and_why_they_failed():
    events: list[PoolEvent] = []
    script = Script(lambda session: asyncio.sleep(2.0))
    async with new_pool(script, 1, on_event=events.append) as pool:
        pool.meter.clock = now
        async with pool.borrow() as conn:
            waiting = asyncio.create_task(hold(pool, 0.0))
            with pytest.raises(PoolTimeout) as too_late:
                await hold(pool, 0.0, timeout=1.0)
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            for is_last in (False, True):
                await asyncio.sleep(3.0)
                script.sessions[0].frame(req_id, end=is_last)
            await conn.session.send_audio(b"\0\0", end=True)
            await conn.session.interrupt()
            failed_id = await conn.session.send_audio(b"\0\0")
        await waiting
    told = [(event.kind.value, event.seconds, event.reason, event.error) for event in events]
    assert [each for each in told if each[0] not in ("quarantined", "retired")] == [
        ("opened", pytest.approx(2.0), "", None),
        ("lent", pytest.approx(0.0), "", None),
        ("not_lent", pytest.approx(1.0), "", too_late.value),
        ("request_began", 0.0, req_id, None),
        ("first_frame", pytest.approx(3.0), "", None),
        ("request_ended", pytest.approx(6.0), "", None),
        ("request_began", 0.0, events[6].reason, None),
        ("request_ended", pytest.approx(0.0), "interrupted", None),
        ("request_began", 0.0, failed_id, None),
        ("request_ended", pytest.approx(0.0), "", conn.collector.error),
        ("returned", pytest.approx(7.0), "", None),
        ("lent", pytest.approx(7.0), "", None),
        ("returned", pytest.approx(0.0), "", None),
    ]
    assert isinstance(conn.collector.error, SessionStateError)


@virtually
async def test_every_lent_connection_is_told_to_be_returned_an_exchanged_one_too():
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 2, on_event=events.append, timeout=3.0) as pool:
        async with pool.borrow() as conn:
            await asyncio.sleep(2.0)
            await script.sessions[0].close()
            await conn.session.send_audio(b"\0\0", end=True)
        async with pool.borrow() as conn:
            script.openings = [DOWN] * 50
            for session in script.sessions:
                await session.close()
            with pytest.raises(PoolTimeout):
                await conn.session.send_audio(b"\0\0")
        assert pool.get_stats()["usage_ms"] == pytest.approx(5000.0)
    names = [(event.kind.value, event.connection_id) for event in events]
    lent = [name for kind, name in names if kind == "lent"]
    assert lent[:2] == ["scripted-0", "scripted-1"]
    assert [name for kind, name in names if kind == "returned"] == lent


@virtually
async def test_a_request_that_a_failed_collection_left_behind_ends_as_the_next_one_begins():
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append, max_frames=1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0")
            script.sessions[0].frame(req_id)
            script.sessions[0].frame(req_id)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.session.send_audio(b"\0\0", end=True)
            await conn.session.send_audio(b"\0\0", end=True)
            ends = [event.error for event in events if event.kind.value == "request_ended"]
            assert ends == [caught.value]


@pytest.mark.parametrize(
    ("happens", "has_failed"),
    [
        (lambda session, req_id: session.frame(req_id, end=True), False),
        (lambda session, req_id: session.fail(DOWN), True),
        (lambda session, req_id: session.options["on_close"](), True),
    ],
    ids=["last frame", "refusal", "death"],
)
@virtually
async def test_a_requests_end_is_told_as_it_comes_and_once(happens: Any, has_failed: Any):
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append) as pool:
        pool.meter.clock = now
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            asyncio.get_running_loop().call_later(1.0, happens, script.sessions[0], req_id)
            await asyncio.sleep(3.0)
    [ended] = [event for event in events if event.kind is PoolEventKind.REQUEST_ENDED]
    assert ended.seconds == pytest.approx(1.0)
    assert (ended.error is not None) is has_failed
    assert ended.error is conn.collector.error


@virtually
async def test_with_egress_a_request_ends_as_its_audio_does():
    events: list[PoolEvent] = []
    options = {"livekit_egress": LiveKitEgressConfig(url="wss://rooms.example")}
    async with AvatarConnectionPool(
        1, lambda: options, session_factory=Script(), on_event=events.append
    ) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
            assert events[-1].kind is PoolEventKind.REQUEST_ENDED
            assert events[-1].error is None


@virtually
async def test_listeners_come_and_go():
    first: list[PoolEvent] = []
    second: list[PoolEvent] = []
    async with new_pool(Script(), 1, on_event=first.append) as pool:
        pool.add_listener(second.append)
        await hold(pool, 0.0)
        pool.remove_listener(second.append)
        pool.remove_listener(second.append)
        await hold(pool, 0.0)
    assert [event.kind.value for event in second] == ["lent", "returned"]
    assert [event.kind.value for event in first].count("lent") == 2


@virtually
async def test_an_on_event_that_raises_is_logged(caplog: pytest.LogCaptureFixture):
    def raising(event: PoolEvent) -> None:
        raise RuntimeError("no room")

    async with new_pool(Script(), 1, on_event=raising) as pool:
        assert await hold(pool, 0.0) == "scripted-0"
    assert "no room" in caplog.text
