"""A pool that nobody holds any more, and one whose closing is cut short: nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clock import VirtualClockLoop, now, run_virtual, virtually
from scripted import Script, ScriptedSession, hold, new_pool

from avatarpool import AvatarConnectionPool, PoolClosed, PooledConnection

AUDIO = b"\0\0" * 640


@contextlib.contextmanager
def told() -> Iterator[list[str]]:
    """Catch warnings' words; the warnings themselves hold what they are about."""
    seen: list[str] = []

    def note(message: Warning | str, category: type[Warning], *_: object) -> None:
        seen.append(f"{category.__name__}: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        yield seen


async def forget(script: Script, use: Callable[..., Any] = hold, **options: Any) -> Any:
    """Open a pool, use it, and keep no more than a weak reference."""
    pool = new_pool(script, 2, **options)
    await pool.initialize()
    await use(pool, 1.0)
    return weakref.ref(pool)


async def collected() -> None:
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(1.0)


async def hook(conn: PooledConnection) -> None:
    await asyncio.sleep(0)


async def leaves_a_request(pool: AvatarConnectionPool, seconds: float) -> None:
    async with pool.borrow() as conn:
        await conn.session.send_audio(AUDIO)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"check": hook, "reset": hook, "configure": hook},
        {"on_event": print, "reconnect_failed": print},
    ],
    ids=["plain", "hooks", "listeners"],
)
@pytest.mark.parametrize("use", [hold, leaves_a_request])
def test_a_pool_that_nobody_holds_is_told_and_renews_nothing(
    use: Callable[..., Any], options: dict[str, Any]
):
    async def scenario() -> None:
        script = Script()
        with told() as seen:
            pool = await forget(script, use, **options)
            await collected()
        assert pool() is None
        [warning] = seen
        assert "ResourceWarning: pool 'test' was forgotten with 2 sessions open" in warning
        assert len(script.sessions) == 2
        assert all(session.is_closed for session in script.sessions)
        await asyncio.sleep(3600.0)
        assert len(script.sessions) == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


@virtually
async def test_a_pool_that_is_forgotten_in_an_outage_is_collected_and_tries_no_more():
    script = Script()

    async def dies(pool: AvatarConnectionPool, seconds: float) -> None:
        script.openings = [TimeoutError()] * 1000
        for session in script.sessions:
            await session.close()
        await asyncio.sleep(100.0)

    with told() as seen:
        pool = await forget(script, dies)
        await collected()
    assert pool() is None
    assert len(seen) == 1
    attempts = script.attempts
    await asyncio.sleep(3600.0)
    assert script.attempts == attempts


@virtually
async def test_where_warnings_are_errors_a_forgotten_pools_sessions_are_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
):
    script = Script()
    raised: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda info: raised.append(info.exc_type))
    await forget(script)
    await collected()
    assert raised == [ResourceWarning]
    assert all(session.is_closed for session in script.sessions)


@virtually
async def test_a_pool_that_lends_is_not_forgotten():
    script = Script()
    with told() as seen:
        pool = new_pool(script, 1)
        await pool.initialize()
        held = weakref.ref(pool)
        async with pool.borrow() as conn:
            del pool
            await collected()
            req_id = await conn.session.send_audio(AUDIO, end=True)
            script.sessions[0].frame(req_id, end=True)
            assert len(await conn.collector.wait()) == 1
            assert held() is not None
        assert seen == []
        del conn
        await collected()
    assert held() is None
    assert len(seen) == 1


@virtually
async def test_a_borrower_that_waits_holds_its_pool():
    script = Script(*[lambda session: asyncio.sleep(10.0)] * 10)
    with told() as seen:
        pool = new_pool(script, 0, min_size=0, max_size=1)
        await pool.initialize()
        waiting = asyncio.create_task(hold(pool, 0.0, timeout=100.0))
        del pool
        await collected()
        assert seen == []
        assert await waiting == "scripted-0"
        del waiting
        await collected()
    assert len(seen) == 1


@virtually
async def test_a_pool_that_was_closed_or_never_opened_is_no_loss():
    with told() as seen:
        new_pool(Script(), 1)
        async with new_pool(Script(), 1) as pool:
            pass
        del pool
        failing = new_pool(Script(*[TimeoutError()] * 100), 1)
        with contextlib.suppress(Exception):
            await failing.initialize(timeout=1.0)
        del failing
        with contextlib.suppress(ValueError):
            AvatarConnectionPool(0)
        await collected()
    assert seen == []


def test_a_pool_that_is_forgotten_with_its_loop_is_told():
    loop = VirtualClockLoop()
    pool = new_pool(Script(), 1)
    loop.run_until_complete(pool.initialize())
    loop.close()
    with told() as seen:
        del pool, loop
        gc.collect()
    assert "was forgotten" in seen[0]


# --- a close that is cancelled -----------------------------------------------------------------


async def takes_its_time(session: ScriptedSession) -> None:
    plain = session.close

    async def close() -> None:
        try:
            await asyncio.sleep(5.0)
        finally:
            await plain()

    session.close = close  # type: ignore[method-assign]


async def hangs(session: ScriptedSession) -> None:
    await asyncio.sleep(1000.0)


CANCELLED_AT = [0.0, 0.5, 2.0, 3.5, 6.0]


@pytest.mark.parametrize("seconds", CANCELLED_AT)
@pytest.mark.parametrize("is_lent", [True, False])
def test_a_close_that_is_cancelled_leaves_no_task_and_no_session(seconds: float, *, is_lent: bool):
    async def scenario() -> None:
        script = Script(*[takes_its_time] * 3, *[hangs] * 5)  # type: ignore[arg-type]
        pool = new_pool(script, 3, max_size=6, reset=hook)
        await pool.initialize()
        borrowers = []
        if is_lent:
            borrowers = [asyncio.create_task(hold(pool, 100.0)) for _ in range(5)]
            await asyncio.sleep(0.1)
        closing = asyncio.create_task(pool.close(timeout=3.0))
        await asyncio.sleep(seconds)
        was_over = closing.done()
        closing.cancel()
        began = now()
        await pool.close()
        assert now() - began <= 0.01, "whoever calls second waits for the first, which cuts"
        await asyncio.wait([closing])
        assert closing.cancelled() is not was_over
        for borrower in borrowers:
            borrower.cancel()
        await asyncio.gather(*borrowers, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(session.is_closed for session in script.sessions)
        assert pool.total_count == pool.get_stats()["connections_opening"] == 0

    run_virtual(scenario())


@virtually
async def test_wait_for_bounds_a_close_and_nothing_is_left():
    script = Script(*[takes_its_time] * 3)  # type: ignore[arg-type]
    pool = new_pool(script, 3)
    await pool.initialize()
    async with pool.borrow():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.close(timeout=30.0), 0.2)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(session.is_closed for session in script.sessions)
        with pytest.raises(PoolClosed):
            await hold(pool, 0.0)


@virtually
async def test_a_close_that_is_cancelled_twice_does_not_hang():
    async def heeds_nothing(session: ScriptedSession) -> None:
        async def close() -> None:
            for _ in range(3):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(100.0)

        session.close = close  # type: ignore[method-assign]

    script = Script(heeds_nothing)  # type: ignore[arg-type]
    pool = new_pool(script, 1)
    await pool.initialize()
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0.1)
    began = now()
    for _ in range(2):
        closing.cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait([closing])
    assert now() - began < 3.0
    await pool.close()
