"""What idle connections cost that are watched for liveness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import CLIENTS, Ports

CASE = Case(
    "CPU of 2,000 idle pooled connections, liveness on, over 20 s",
    ("ours", "naive"),
    {"core_percent": "% of a core"},
    rounds=1,
    is_fresh=True,
    is_together=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the share of a core: each connection is pinged once, as its default has it."""
    async with CLIENTS[peer](ports, "burst-1", 200 if is_quick else 2000):
        await asyncio.sleep(1)
        watch = Stopwatch()
        await asyncio.sleep(20)
        figures = watch.per(1)
        yield {"core_percent": 100 * figures["cpu_us"] / figures["wall_us"]}
