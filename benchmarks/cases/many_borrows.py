"""Borrow and return as the pool grows: from 10 connections to 5,000."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from case import SIZES, Case, Stopwatch, as_it_grows, at_sizes
from clients import Ports
from handoffs import HANDOFFS, Borrow

BORROWS = 5000

CASE = Case(
    "Borrow and return, of so many connections",
    ("ours", "bare"),
    at_sizes("borrow_us", SIZES),
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow at each size."""
    pool_of = partial(HANDOFFS[peer], ports)
    yield await as_it_grows("borrow_us", pool_of, _borrowing, rounds=3 if is_quick else 15)


async def _borrowing(borrow: Borrow) -> dict[str, float]:
    watch = Stopwatch()
    for _ in range(BORROWS):
        async with borrow():
            pass
    return watch.per(BORROWS)
