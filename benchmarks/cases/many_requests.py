"""A request as the pool grows: from 10 connections to 5,000."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

from case import Case, Stopwatch, in_turn
from clients import CLIENTS, Ports, Request, make

SIZES = (10, 100, 1000, 5000)
FRAMES = 20
AT_ONCE = 10
REQUESTS = 500

CASE = Case(
    f"A request of {FRAMES} frames on each of so many connections in turn",
    ("ours", "picows"),
    {f"request_us@{size}": f"{size:,}: CPU µs" for size in SIZES},
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request at each size; pools of all sizes take turns."""
    async with AsyncExitStack() as stack:
        pools = {
            f"request_us@{size}": partial(
                _requesting,
                await stack.enter_async_context(CLIENTS[peer](ports, f"burst-{FRAMES}", size)),
            )
            for size in SIZES
        }
        yield await in_turn(pools, 3 if is_quick else 15)


async def _requesting(request: Request) -> float:
    watch = Stopwatch()
    await make(request, bytes(3200), total=REQUESTS, at_once=AT_ONCE, frames=FRAMES)
    return watch.per(REQUESTS)["cpu_us"]
