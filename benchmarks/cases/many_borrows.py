"""Borrow and return as the pool grows: from 10 connections to 5,000."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

from case import Case, Stopwatch, in_turn
from clients import Ports
from handoffs import HANDOFFS, Borrow

SIZES = (10, 100, 1000, 5000)
BORROWS = 5000

CASE = Case(
    "Borrow and return, of so many connections",
    ("ours", "bare"),
    {f"borrow_us@{size}": f"{size:,}: CPU µs" for size in SIZES},
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow at each size; pools of all sizes take turns."""
    async with AsyncExitStack() as stack:
        pools = {
            f"borrow_us@{size}": partial(
                _borrowing, await stack.enter_async_context(HANDOFFS[peer](ports, size))
            )
            for size in SIZES
        }
        yield await in_turn(pools, 3 if is_quick else 15)


async def _borrowing(borrow: Borrow) -> float:
    watch = Stopwatch()
    for _ in range(BORROWS):
        async with borrow():
            pass
    return watch.per(BORROWS)["cpu_us"]
