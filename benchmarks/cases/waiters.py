"""What a borrow costs while others wait: from 1 to 10,000 waiters on 10 connections."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import Ports
from handoffs import HANDOFFS, Borrow

COUNTS = (1, 10, 100, 1000, 10_000)
CONNECTIONS = 10
REPEATS = 5

CASE = Case(
    "Borrow and return on 10 connections while so many wait",
    ("ours", "naive", "none"),
    {f"borrow_us@{count}": f"{count:,}: CPU µs" for count in COUNTS},
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow at each number of waiters."""
    async with HANDOFFS[peer](ports, CONNECTIONS) as borrow:
        figures = {}
        for count in COUNTS:
            taken = [
                await _borrowing(borrow, count, 10_000 if is_quick else 30_000)
                for _ in range(2 if is_quick else REPEATS)
            ]
            figures[f"borrow_us@{count}"] = statistics.median(taken)
        yield figures


async def _borrowing(borrow: Borrow, waiters: int, total: int) -> float:
    """Return the CPU time of a borrow, once all of them wait."""
    left = iter(range(total))

    async def one_after_another() -> None:
        for _ in left:
            async with borrow():
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(one_after_another()) for _ in range(CONNECTIONS + waiters)]
    await asyncio.sleep(0)
    watch = Stopwatch()
    await asyncio.gather(*tasks)
    return watch.per(total)["cpu_us"]
