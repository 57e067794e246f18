"""What cannot work is refused where it is given, and not first where somebody has to wait."""

from __future__ import annotations

import asyncio
from math import inf, nan
from typing import Any

import pytest
from clock import virtually
from scripted import Script, hold, new_pool

from avatarpool import ConfigurationError

NO_NUMBERS: list[Any] = ["5", nan, [], b"1", 1j]


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["timeout", "priority"])
def test_what_a_borrow_is_given_is_checked_before_it_is_entered(name: str, wrong: Any):
    pool = new_pool(Script(), 1)
    with pytest.raises(ConfigurationError, match=f"{name} .* must be a number") as caught:
        pool.borrow(**{name: wrong})
    assert isinstance(caught.value, ValueError)
    assert "pool 'test' cannot lend a connection" in str(caught.value)


@virtually
async def test_numbers_of_all_kinds_are_taken():
    async with new_pool(Script(), 1) as pool:
        for timeout in (0, 0.0, 5, inf, True, -1.0, None):
            assert await hold(pool, 0.0, timeout=timeout) == "scripted-0"
        for priority in (0, 3, -2.5, inf, -inf):
            assert await hold(pool, 0.0, priority=priority) == "scripted-0"
        async with pool.borrow():
            waiting = [asyncio.create_task(hold(pool, 0.0, priority=p)) for p in (-inf, 0, inf)]
            await asyncio.sleep(1.0)
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, None], ids=repr)
@pytest.mark.parametrize("call", ["initialize", "close"])
def test_how_long_opening_and_closing_may_take_is_checked_first(call: str, wrong: Any):
    @virtually
    async def scenario() -> None:
        script = Script()
        pool = new_pool(script, 1)
        with pytest.raises(ConfigurationError, match=r"timeout .* must be a number"):
            await getattr(pool, call)(timeout=wrong)
        assert script.attempts == 0
        await pool.initialize()  # nothing has happened to it
        assert await hold(pool, 0.0) == "scripted-0"
        await pool.close()

    scenario()
