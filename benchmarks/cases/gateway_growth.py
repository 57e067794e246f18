"""A gateway that gets more and more clients: what opening one, and a request, costs it then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from case import Case
from clients import Ports, make, raw_picows
from relays import standing

SIZES = (10, 100, 1000, 2000)
FRAMES = 20
REQUESTS = 400

CASE = Case(
    "Through a gateway: as its clients grow from 10 to 2,000",
    ("ours",),
    {
        **{f"open_cpu_us@{size}": f"{size:,} clients: CPU to open one, µs" for size in SIZES},
        **{f"open_us@{size}": f"{size:,} clients: time to open one, µs" for size in SIZES},
        **{f"request_us@{size}": f"{size:,} clients: CPU of a 20-frame request" for size in SIZES},
        **{f"mb@{size}": f"{size:,} clients: memory of the process, MB" for size in SIZES},
    },
    rounds=3,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the gateway's CPU and memory at each size."""
    total = 100 if is_quick else REQUESTS
    figures: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(standing(peer, ports))
        opened = 0
        for size in SIZES:
            count, cpu, began = size - opened, relay.cpu_seconds, time.perf_counter()
            # Each lends its connections first in, first out: a request is on one that has waited.
            request = await stack.enter_async_context(
                raw_picows(relay.ports, f"burst-{FRAMES}", count)
            )
            figures[f"open_us@{size}"] = 1e6 * (time.perf_counter() - began) / count
            figures[f"open_cpu_us@{size}"] = 1e6 * (relay.cpu_seconds - cpu) / count
            opened = size
            await make(request, bytes(3200), total=10, at_once=5, frames=FRAMES)
            await asyncio.sleep(0.2)
            figures[f"mb@{size}"] = relay.resident_mb
            cpu = relay.cpu_seconds
            await make(request, bytes(3200), total=total, at_once=5, frames=FRAMES)
            figures[f"request_us@{size}"] = 1e6 * (relay.cpu_seconds - cpu) / total
        yield figures
