from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from avatarpool.service.workers import Workers


@pytest.fixture
def workers():
    workers = Workers(1)
    yield workers
    workers.close()


@asynccontextmanager
async def held_up(workers: Workers) -> AsyncIterator[asyncio.Task[None]]:
    """The only worker is busy with the step given; it is let go in the end."""
    began, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        may_end.wait(10)

    step = asyncio.create_task(workers.run(wait, is_first=False))
    await asyncio.to_thread(began.wait, 10)
    try:
        yield step
    finally:
        may_end.set()
        await asyncio.wait([step])


async def test_a_step_s_result_or_error_is_that_of_who_awaits_it(workers):
    def fail() -> None:
        raise ValueError("no")

    assert await workers.run(lambda: 5, is_first=True) == 5
    with pytest.raises(ValueError, match="no"):
        await workers.run(fail, is_first=True)
    assert await workers.run(lambda: 6, is_first=False) == 6


async def test_a_first_step_overtakes_others_that_wait(workers):
    order: list[str] = []

    async def take(name: str, *, is_first: bool) -> None:
        await workers.run(lambda: order.append(name), is_first=is_first)

    async with asyncio.TaskGroup() as group, held_up(workers):
        group.create_task(take("a", is_first=False))
        group.create_task(take("b", is_first=False))
        group.create_task(take("first", is_first=True))
        await asyncio.sleep(0)

    assert order == ["first", "a", "b"]


async def test_a_step_that_is_no_longer_awaited_is_left_out(workers):
    done: list[str] = []
    async with held_up(workers):
        step = asyncio.create_task(workers.run(lambda: done.append("x"), is_first=True))
        await asyncio.sleep(0)
        step.cancel()
        await asyncio.wait([step])
    await workers.run(lambda: done.append("y"), is_first=False)

    assert done == ["y"]


async def test_a_step_that_is_cancelled_under_way_is_nobody_s_fault(workers, caplog):
    async with held_up(workers) as step:
        step.cancel()
        await asyncio.wait([step])

    assert await workers.run(lambda: 1, is_first=True) == 1
    assert caplog.records == []


async def test_closing_ends_the_threads():
    workers = Workers(2)
    await workers.run(lambda: None, is_first=True)
    workers.close()

    assert not [t for t in threading.enumerate() if t.name.startswith("avatarpool-lipsync")]
