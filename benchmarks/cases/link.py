"""Requests over a wide-area link, as callers wait for them.

Before each figure every connection makes a request that does not count, so that
TCP has found out anew what the link carries: an idle connection forgets it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from case import Case, Link, Stopwatch
from clients import CLIENTS, Ports, Request, make
from upstream import FRAMES, REQUEST_BYTES

FIGURES = {
    "single_ms": "one by one: wall ms",
    "single_cpu_ms": "CPU ms",
    "burst_ms": "in a burst: wall ms",
    "burst_cpu_ms": "CPU ms",
    "first_ms": "first frame, ms",
    "clip_first_ms": "of 558 kB, ms",
}

CASE = Case(
    "Plain, 80 ms away: the same",
    ("ours", "naive", "websockets", "picows", "tcp"),
    FIGURES,
    rounds=3,
    link=Link(80),
)

CHUNK_BYTES = 3200  # 100 ms of speech
AT_ONCE = 5
EACH = 2  # requests on each connection, in a round
AVATARS = (f"single-{FRAMES}", f"burst-{FRAMES}", "burst-1")

Timed = tuple[float, float]  # wall and CPU, in ms


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield medians of what a request takes from end to end, and the CPU time of one.

    Five requests are under way at once; a bare copy, which blocks, has one. An
    answer of one frame is over with its first.
    """
    at_once = 1 if peer in ("tcp", "ssl") else AT_ONCE
    total = at_once * (1 if is_quick else EACH)

    async def timed(request: Request, size: int, frames: int, *, is_warm: bool = False) -> Timed:
        audio = bytes(size)
        if not is_warm:
            await make(request, audio, total=at_once, at_once=at_once, frames=frames)
        watch = Stopwatch()
        taken = await make(request, audio, total=total, at_once=at_once, frames=frames)
        return 1000 * statistics.median(taken), watch.per(total)["cpu_us"] / 1000

    async with AsyncExitStack() as stack:
        clients = [CLIENTS[peer](ports, avatar_id, at_once) for avatar_id in AVATARS]
        single, burst, first = await asyncio.gather(*map(stack.enter_async_context, clients))
        while True:
            single_ms, single_cpu_ms = await timed(single, REQUEST_BYTES, FRAMES)
            burst_ms, burst_cpu_ms = await timed(burst, REQUEST_BYTES, FRAMES)
            clip_first_ms, _ = await timed(first, REQUEST_BYTES, 1)
            first_ms, _ = await timed(first, CHUNK_BYTES, 1, is_warm=True)
            yield {
                "single_ms": single_ms,
                "single_cpu_ms": single_cpu_ms,
                "burst_ms": burst_ms,
                "burst_cpu_ms": burst_cpu_ms,
                "first_ms": first_ms,
                "clip_first_ms": clip_first_ms,
            }
