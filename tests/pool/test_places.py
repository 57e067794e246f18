"""First come, first served: whoever gets a connection that is none keeps its place."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from clock import now, run_virtual, virtually
from scripted import Script, hold, new_pool, no_options

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    PooledConnection,
    PoolTimeout,
)

AUDIO = b"\0\0" * 640


class Line:
    """Borrowers, and the order in which they are served."""

    def __init__(self, pool: AvatarConnectionPool) -> None:
        self.pool = pool
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def join(self, name: str, **options: Any) -> None:
        async def borrower() -> None:
            async with self.pool.borrow(**options):
                self.served.append(name)
                await asyncio.sleep(0.1)

        self.tasks.append(asyncio.create_task(borrower()))
        await asyncio.sleep(0)

    async def everybody(self) -> list[str]:
        await asyncio.gather(*self.tasks)
        return self.served


def failing_check(failures: int) -> Any:
    left = iter(range(failures))

    async def check(conn: PooledConnection) -> None:
        if holding_is_over.is_set() and next(left, None) is not None:
            raise RuntimeError("stale")

    holding_is_over = asyncio.Event()
    check.begin = holding_is_over.set  # type: ignore[attr-defined]
    return check


@pytest.mark.parametrize("failures", [1, 2, 5])
@pytest.mark.parametrize("together", [True, False])
def test_who_gets_a_connection_that_fails_its_check_is_served_before_those_behind(
    failures: int, *, together: bool
):
    async def scenario() -> None:
        check = failing_check(failures)
        async with new_pool(Script(), 1, check=check) as pool:
            line = Line(pool)
            async with pool.borrow():
                for number in range(10):
                    await line.join(str(number))
                    await asyncio.sleep(0.0 if together else 0.1)
                check.begin()
            assert await line.everybody() == [str(number) for number in range(10)]

    run_virtual(scenario())


@virtually
async def test_a_check_that_fails_takes_no_priority_away():
    check = failing_check(1)
    async with new_pool(Script(), 1, check=check) as pool:
        line = Line(pool)
        async with pool.borrow():
            await line.join("patient")
            await line.join("urgent", priority=1.0)
            await line.join("more urgent", priority=2.0)
            check.begin()
        assert await line.everybody() == ["more urgent", "urgent", "patient"]


async def borrows_what_dies(
    pool: AvatarConnectionPool, script: Script, line: Line, name: str, **options: Any
) -> None:
    async with pool.borrow(**options) as conn:
        await asyncio.sleep(1.0)
        await script.named(conn.connection_id).close()
        await conn.session.send_audio(AUDIO)
        line.served.append(name)


@pytest.mark.parametrize(
    ("priority", "others", "order"),
    [
        (0.0, [0.0, 0.0], ["unlucky", "0", "1"]),
        (5.0, [0.0, 4.0], ["unlucky", "1", "0"]),
        (-5.0, [0.0, 0.0], ["0", "1", "unlucky"]),
        (0.0, [0.0, 5.0], ["1", "unlucky", "0"]),
    ],
)
def test_who_was_lent_a_connection_that_dies_keeps_its_place_and_priority(
    priority: float, others: list[float], order: list[str]
):
    async def scenario() -> None:
        script = Script()
        async with new_pool(script, 1) as pool:
            line = Line(pool)
            unlucky = borrows_what_dies(pool, script, line, "unlucky", priority=priority)
            task = asyncio.create_task(unlucky)
            await asyncio.sleep(0.5)
            for number, each in enumerate(others):
                await line.join(str(number), priority=each)
            line.tasks.append(task)
            assert await line.everybody() == order

    run_virtual(scenario())


@virtually
async def test_who_waited_long_for_a_connection_that_dies_is_before_those_who_came_meanwhile():
    script = Script()
    async with new_pool(script, 1) as pool:
        line = Line(pool)
        async with pool.borrow():
            unlucky = asyncio.create_task(borrows_what_dies(pool, script, line, "unlucky"))
            await asyncio.sleep(1.0)
            await line.join("second")
            await asyncio.sleep(5.0)
        # It is the unlucky one's now, who came first, and will die in a second.
        await asyncio.sleep(0.5)
        await line.join("third")
        line.tasks.append(unlucky)
        assert await line.everybody() == ["unlucky", "second", "third"]


@virtually
async def test_a_place_is_kept_through_several_connections_that_die():
    script = Script()
    async with new_pool(script, 1) as pool:
        line = Line(pool)

        async def unlucky() -> None:
            async with pool.borrow() as conn:
                await asyncio.sleep(0.1)
                for _ in range(3):
                    session = script.named(conn.connection_id)
                    await session.close()
                    req_id = await conn.session.send_audio(AUDIO, end=True)
                    script.named(conn.connection_id).frame(req_id, end=True)
                line.served.append("unlucky")

        line.tasks.append(asyncio.create_task(unlucky()))
        await asyncio.sleep(0.05)
        await line.join("second")
        assert await line.everybody() == ["unlucky", "second"]


@virtually
async def test_a_connection_that_dies_as_it_is_handed_over_costs_no_place():
    script = Script()
    async with new_pool(script, 1) as pool:
        line = Line(pool)

        async def unlucky() -> None:
            async with pool.borrow() as conn:
                await conn.session.send_audio(AUDIO)
                line.served.append("unlucky")

        async with pool.borrow():
            line.tasks.append(asyncio.create_task(unlucky()))
            await asyncio.sleep(1.0)
            await line.join("second")
        await script.sessions[0].close()  # handed over, and nobody has looked at it
        assert await line.everybody() == ["unlucky", "second"]


@virtually
async def test_a_borrow_that_got_nothing_comes_again_at_the_end_of_the_queue():
    async with new_pool(Script(), 1) as pool:
        line = Line(pool)
        async with pool.borrow():
            late = pool.borrow(timeout=1.0)
            with pytest.raises(PoolTimeout):
                await late.__aenter__()
            late.timeout = 30.0
            await line.join("second")
            await asyncio.sleep(1.0)

            async def again() -> None:
                async with late:
                    line.served.append("late")

            line.tasks.append(asyncio.create_task(again()))
            await asyncio.sleep(0)
        assert await line.everybody() == ["second", "late"]


# --- a connection that dies between two requests -------------------------------------------------


async def answered(conn: PooledConnection, script: Script) -> str:
    req_id = await conn.session.send_audio(AUDIO, end=True)
    script.named(conn.connection_id).frame(req_id, end=True)
    await conn.collector.wait()
    return conn.connection_id


@virtually
async def test_a_connection_that_dies_between_two_requests_of_a_borrow_is_exchanged():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        assert await answered(conn, script) == "scripted-0"
        assert await answered(conn, script) == "scripted-0"
        await script.sessions[0].close()
        assert await answered(conn, script) == "scripted-1"
        await script.sessions[1].close()
        assert await answered(conn, script) == "scripted-2"
        assert pool.get_stats()["requests_errors"] == 0
        assert pool.get_stats()["connections_lent"] == 1


@virtually
async def test_a_connection_that_dies_after_an_interrupt_is_exchanged():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        await conn.session.send_audio(AUDIO)
        await conn.session.interrupt()
        await script.sessions[0].close()
        assert await answered(conn, script) == "scripted-1"


@pytest.mark.parametrize("end", [True, False])
def test_a_connection_that_dies_with_audio_under_way_is_not_exchanged(*, end: bool):
    async def scenario() -> None:
        script = Script()
        async with new_pool(script, 1) as pool:
            async with pool.borrow() as conn:
                await answered(conn, script)
                await conn.session.send_audio(AUDIO, end=end)
                await script.sessions[0].close()
                with pytest.raises(AvatarSDKError, match="closed before the last frame"):
                    await conn.collector.wait()
                if not end:  # its rest must not become a request of its own
                    with pytest.raises(AvatarSDKError, match="closed before the last frame"):
                        await conn.session.send_audio(AUDIO, end=True)
                    assert conn.connection_id == "scripted-0"
            assert await hold(pool, 0.0) == "scripted-1"

    run_virtual(scenario())


@virtually
async def test_a_failed_request_whose_connection_died_makes_room_for_another_one():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        await conn.session.send_audio(AUDIO, end=True)
        await script.sessions[0].close()
        with pytest.raises(AvatarSDKError):
            await conn.collector.wait()
        assert await answered(conn, script) == "scripted-1"


@virtually
async def test_a_reader_waits_through_the_exchange_for_the_next_requests_frames():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        await answered(conn, script)

        async def read() -> list[str]:
            return [frame.req_id async for frame in conn.collector]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        await script.sessions[0].close()
        await answered(conn, script)
        assert await reader == ["scripted-1/1"]


@virtually
async def test_an_interrupt_waits_for_no_other_connection():
    script = Script()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        await answered(conn, script)
        script.openings = [TimeoutError()] * 100
        await script.sessions[0].close()
        began = now()
        await conn.session.interrupt()  # an SDK's own session need not mind that it is closed
        assert now() == began
        assert conn.connection_id == "scripted-0"


@virtually
async def test_a_borrow_of_a_connection_that_died_ends_in_its_pools_patience():
    script = Script()
    async with new_pool(script, 1, timeout=7.0) as pool, pool.borrow() as conn:
        await answered(conn, script)
        script.openings = [TimeoutError()] * 100
        await script.sessions[0].close()
        began = now()
        with pytest.raises(PoolTimeout):
            await conn.session.send_audio(AUDIO)
        assert now() - began == pytest.approx(7.0)


# --- who nobody waits for --------------------------------------------------------------------


async def slowly(session: object) -> None:
    await asyncio.sleep(3.0)


def elastic(script: Script, **options: Any) -> AvatarConnectionPool:
    options = {"min_size": 1, "max_size": 10, **options}
    return AvatarConnectionPool(config_factory=no_options, session_factory=script, **options)


@virtually
async def test_a_spike_of_short_borrows_does_not_grow_the_pool():
    script = Script()
    async with elastic(script) as pool:
        script.openings = [slowly] * 100  # type: ignore[list-item]
        await asyncio.gather(*(hold(pool, 0.1) for _ in range(20)))
        await asyncio.sleep(4.0)
        assert pool.total_count == 1
        assert sum(not session.is_closed for session in script.sessions) == 1


@virtually
async def test_a_load_that_lasts_grows_the_pool_and_keeps_it():
    script = Script()
    async with elastic(script, num_workers=16, session_ttl_minutes=60) as pool:
        script.openings = [slowly] * 100  # type: ignore[list-item]
        await asyncio.gather(*(hold(pool, 5.0) for _ in range(10)))
        assert pool.total_count == 10
        await asyncio.sleep(500.0)
        assert pool.total_count == 10, "for max_idle"
        await asyncio.sleep(110.0)
        assert pool.total_count == 1


@virtually
async def test_borrowers_that_wait_for_less_than_an_opening_takes_have_a_connection_in_the_end():
    script = Script(*[slowly] * 100)  # type: ignore[arg-type]
    async with elastic(script, min_size=0) as pool:
        with pytest.raises(PoolTimeout):
            await hold(pool, 0.0, timeout=2.0)
        await asyncio.sleep(2.0)
        assert await hold(pool, 0.0, timeout=0.0) == "scripted-0"


# --- the next attempt -----------------------------------------------------------------------


@virtually
async def test_with_borrowers_waiting_the_next_attempt_is_never_more_than_5_s_away():
    for seed in range(20):
        script = Script()
        async with new_pool(script, 1) as pool:
            assert pool._keeper is not None
            pool._keeper.policy._rng.seed(seed)
            tried: list[float] = []

            async def fails(session: object, tried: list[float] = tried) -> None:
                tried.append(now())
                raise TimeoutError

            script.openings = [fails] * 1000  # type: ignore[list-item]
            await script.sessions[0].close()
            await asyncio.sleep(120.0 + seed)
            assert max(b - a for a, b in pairwise(tried)) > 10.0
            tried.clear()
            began = now()
            with pytest.raises(PoolTimeout):
                await hold(pool, 0.0, timeout=60.0)
            times = [began, *tried]
            assert max(b - a for a, b in pairwise(times)) <= 5.0
            tried.clear()
            await asyncio.sleep(120.0)
            assert max(b - a for a, b in pairwise(tried)) > 10.0, "nobody waits any more"


@virtually
async def test_a_borrower_that_comes_once_the_service_is_back_waits_for_5_s_at_the_most():
    script = Script()
    async with new_pool(script, 1) as pool:
        script.openings = [TimeoutError()] * 12
        await script.sessions[0].close()
        while script.openings:
            await asyncio.sleep(1.0)
        began = now()
        await hold(pool, 0.0)
        assert now() - began <= 5.0
