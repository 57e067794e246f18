"""A whole request: 558 kB of audio up, 436 frames down in a burst."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import CLIENTS, Ports, make
from upstream import FRAMES, REQUEST_BYTES

CASE = Case(
    "A request: 558 kB of audio up, 436 frames of 500 bytes down in a burst",
    ("ours", "naive", "websockets", "picows", "tcp"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
)

AT_ONCE = 8
EACH = 12  # requests on each connection, in a round


async def measure(
    peer: str,
    ports: Ports,
    *,
    is_quick: bool = False,
    style: str = "burst",
    at_once: int = AT_ONCE,
    each: int = EACH,
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request, and the median of what a request takes from end to end."""
    total = at_once * (min(each, 4) if is_quick else each)
    audio = bytes(REQUEST_BYTES)
    async with CLIENTS[peer](ports, f"{style}-{FRAMES}", at_once) as request:
        await make(request, audio, total=at_once, at_once=at_once, frames=FRAMES)
        while True:
            watch = Stopwatch()
            taken = await make(request, audio, total=total, at_once=at_once, frames=FRAMES)
            yield {**watch.per(total), "request_ms": 1000 * statistics.median(taken)}
