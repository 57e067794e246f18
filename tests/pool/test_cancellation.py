"""Everything that waits, cancelled at every tick of the loop: nothing is lost or lent twice.

The first half steps through scripted sessions, where ticks are exact, the second
through real requests.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from echo import EchoDriver, marked_audio, marks
from scripted import Script, ScriptedSession, no_options

from avatarpool import AvatarConnectionPool, AvatarSDKError, PoolClosed, PooledConnection
from avatarpool.service import LocalAvatarService

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
AUDIO = b"\0\0" * 640


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a scenario on one of the loops; at its end no task may be left but its own."""

    async def alone(scenario: Coroutine[Any, Any, None]) -> None:
        await scenario
        for _ in range(5):  # what was just cancelled has its last steps
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def run(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(alone(scenario))

    return run


async def cancelled_after(ticks: int, work: Coroutine[Any, Any, object]) -> bool:
    """Start work and cancel it so many ticks later; return whether it was over by then."""
    task = asyncio.create_task(work)
    for _ in range(ticks):
        await asyncio.sleep(0)
    was_over = not task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # raises what it failed with
    return was_over


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


# --- scripted sessions: every tick ----------------------------------------------------------


def new_pool(script: Script, size: int = 1, **options: Any) -> AvatarConnectionPool:
    return AvatarConnectionPool(size, no_options, session_factory=script, **options)


async def whole(pool: AvatarConnectionPool, size: int) -> None:
    """See that every connection is back and accounted for."""
    await until(lambda: pool.available_count == size)
    stats = pool.get_stats()
    assert stats["total_connections"] == size
    assert stats["connections_opening"] == stats["requests_waiting"] == 0
    opened = stats["connections_num"] - stats["connections_errors"]
    assert opened == size + stats["connections_lost"] + stats["connections_retired"]


async def nothing(conn: PooledConnection, script: Script | None = None) -> None:
    await asyncio.sleep(0)


async def request(conn: PooledConnection, script: Script) -> None:
    await conn.session.send_audio(AUDIO)
    await asyncio.sleep(0)
    req_id = await conn.session.send_audio(AUDIO, end=True)
    session = script.named(conn.connection_id)
    asyncio.get_running_loop().call_soon(lambda: session.frame(req_id, end=True))
    await conn.collector.wait()


async def interrupted(conn: PooledConnection, script: Script) -> None:
    await conn.session.send_audio(AUDIO)
    await conn.session.interrupt()
    await request(conn, script)


async def dies_unused(conn: PooledConnection, script: Script) -> None:
    await script.named(conn.connection_id).close()
    await request(conn, script)


USES = [nothing, request, interrupted, dies_unused]


@pytest.mark.parametrize("hooks", [(), ("check",), ("reset",), ("check", "reset", "configure")])
@pytest.mark.parametrize("use", USES)
def test_borrowing_using_and_returning(
    run: Callable[..., None], use: Callable[..., Awaitable[None]], hooks: tuple[str, ...]
):
    async def borrower(pool: AvatarConnectionPool, script: Script) -> None:
        async with pool.borrow() as conn:
            await use(conn, script)

    async def scenario() -> None:
        script = Script()
        async with new_pool(script, 1, **dict.fromkeys(hooks, nothing)) as pool:
            for ticks in range(200):
                # Its first half finds the connection lent, and is handed it over.
                holding = asyncio.create_task(borrower(pool, script))
                await asyncio.sleep(0)
                if await cancelled_after(ticks, borrower(pool, script)):
                    break
                await holding
                await whole(pool, 1)
            else:
                pytest.fail("it never ended")
            assert ticks > 1
            await holding
            await whole(pool, 1)

    run(scenario())


def test_initialize(run: Callable[..., None]):
    async def slowly(session: ScriptedSession) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def scenario() -> None:
        for ticks in range(100):
            script = Script(slowly, slowly, slowly)
            pool = new_pool(script, 3, configure=nothing)
            was_over = await cancelled_after(ticks, pool.initialize())
            await pool.close()
            assert all(session.is_closed for session in script.sessions)
            if was_over:
                return
            with pytest.raises(PoolClosed):
                await pool.initialize()
        pytest.fail("it never ended")

    run(scenario())


def test_close(run: Callable[..., None]):
    async def borrower(pool: AvatarConnectionPool) -> None:
        with suppress(PoolClosed, AvatarSDKError):
            async with pool.borrow() as conn:
                await conn.session.send_audio(AUDIO)
                for _ in range(5):
                    await asyncio.sleep(0)

    async def scenario() -> None:
        for ticks in range(100):
            script = Script()
            pool = new_pool(script, 2, reset=nothing)
            await pool.initialize()
            borrowers = [asyncio.create_task(borrower(pool)) for _ in range(4)]
            await asyncio.sleep(0)
            was_over = await cancelled_after(ticks, pool.close(timeout=10.0))
            await pool.close()
            await asyncio.wait(borrowers)
            await until(lambda: all(session.is_closed for session in script.sessions))  # noqa: B023
            assert pool.total_count == pool.get_stats()["requests_waiting"] == 0
            if was_over:
                return
        pytest.fail("it never ended")

    run(scenario())


# --- the real service ---------------------------------------------------------------------


def sockets() -> int:
    """Count this process's sockets."""
    gc.collect()
    kinds = []
    for name in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            kinds.append(str(name.readlink()))
    return sum(kind.startswith("socket:") for kind in kinds)


async def at_every_tick(step: Callable[[int], Awaitable[bool]]) -> None:
    """Take a step with 0, 1, 2... ticks, until it was over in time ten times: sockets vary."""
    over = 0
    for ticks in range(5000):
        over += await step(ticks)
        if over == 10:
            return
    pytest.fail("it never ended")


@asynccontextmanager
async def echo_service() -> AsyncIterator[LocalAvatarService]:
    async with LocalAvatarService(driver=EchoDriver) as service:
        yield service
        await until(lambda: not service.counters.connections_open)
        assert service.counters.requests_open == 0


def test_a_real_request(run: Callable[..., None]):
    async def borrower(pool: AvatarConnectionPool, mark: int) -> None:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(mark, 20))
            await conn.session.send_audio(marked_audio(mark, 20), end=True)
            await conn.session.interrupt()
            await conn.session.send_audio(marked_audio(mark, 20), end=True)
            assert marks([*await conn.collector.wait()]) == [mark] * 20

    async def scenario() -> None:
        async with echo_service() as service:
            async with AvatarConnectionPool(1, service.config_factory) as pool:

                async def step(ticks: int) -> bool:
                    was_over = await cancelled_after(ticks, borrower(pool, 1 + ticks))
                    await borrower(pool, 10_000 + ticks)
                    return was_over

                await at_every_tick(step)
                await whole(pool, 1)
                assert pool.get_stats()["connections_lost"] == 0
                await until(lambda: not service.counters.requests_open)

    run(scenario())


def test_a_real_opening_and_closing(run: Callable[..., None]):
    async def opened(pool: AvatarConnectionPool) -> None:
        async with pool, pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 2), end=True)
            await conn.collector.wait()

    async def scenario() -> None:
        async with echo_service() as service:
            before = sockets()

            async def step(ticks: int) -> bool:
                pool = AvatarConnectionPool(2, service.config_factory)
                was_over = await cancelled_after(ticks, opened(pool))
                await pool.close()
                return was_over

            await at_every_tick(step)
            await until(lambda: not service.counters.connections_open)
            await until(lambda: sockets() <= before)

    run(scenario())
