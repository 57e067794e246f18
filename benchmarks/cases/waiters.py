"""What a borrow costs while others wait: from 1 to 10,000 waiters on 10 connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from case import Case, Stopwatch, at_sizes, sized
from clients import Ports
from handoffs import HANDOFFS, Borrow

COUNTS = (1, 10, 100, 1000, 10_000)
CONNECTIONS = 10
REPEATS = 3

CASE = Case(
    "Borrow and return on 10 connections while so many wait",
    ("ours", "naive", "bare"),
    at_sizes("borrow_us", COUNTS),
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow at each number of waiters."""
    async with HANDOFFS[peer](ports, CONNECTIONS) as borrow:
        figures: dict[str, float] = {}
        for count in COUNTS:
            taken = [
                await _borrowing(borrow, count, 20_000 if is_quick else 30_000)
                for _ in range(2 if is_quick else REPEATS)
            ]
            figures |= sized("borrow_us", count, taken)
        yield figures


async def _borrowing(borrow: Borrow, waiters: int, total: int) -> dict[str, float]:
    """Return the time of a borrow, from when all of them wait until the first has to stop."""
    left = iter(range(total))
    taken: list[dict[str, float]] = []

    async def one_after_another() -> None:
        for _ in left:
            async with borrow():
                await asyncio.sleep(0)
        if not taken:
            taken.append(watch.per(total))

    tasks = [asyncio.create_task(one_after_another()) for _ in range(CONNECTIONS + waiters)]
    await asyncio.sleep(0)
    watch = Stopwatch()
    await asyncio.gather(*tasks)
    return taken[0]
