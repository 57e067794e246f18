"""Who is warned of holding a connection for long, or of waiting for one beside it."""

from __future__ import annotations

import asyncio

import pytest
from clock import virtually
from scripted import Script, hold, new_pool

from avatarpool import PoolTimeout


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
        for place in ("test_custody.py:", "scripted.py:"):
            assert place in warning.message, "both places are named"
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
        assert "test_custody.py:" in warning.message
        assert "scripted-0 10 s ago" in warning.message
