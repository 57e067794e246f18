"""What a gateway adds to the time to the first frame.

The same upstream is asked with and without it in turn, request by request: what disturbs one
disturbs the other. The answer is a single frame, and the clients are raw picows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator

from case import Case
from clients import Ports, Request, raw_picows
from relays import standing

CASE = Case(
    "Through a gateway: first frame of a request, 100 ms of speech up",
    ("ours", "haproxy"),
    {"added_ms": "added at the median, ms", "through_ms": "through it, ms", "direct_ms": "direct"},
    rounds=5,
)

CHUNK = bytes(3200)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield medians of the time that a request takes."""
    count = 50 if is_quick else 300
    async with (
        standing(peer, ports) as relay,
        raw_picows(ports, "burst-1", 1) as directly,
        raw_picows(relay.ports, "burst-1", 1) as through,
    ):
        await _medians((directly, through), 5)  # its session upstream is open from then on
        while True:
            direct_ms, through_ms = await _medians((directly, through), count)
            yield {
                "added_ms": through_ms - direct_ms,
                "through_ms": through_ms,
                "direct_ms": direct_ms,
            }


async def _medians(ways: tuple[Request, ...], count: int) -> list[float]:
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(count):
        for request, times in zip(ways, taken, strict=True):
            began = time.perf_counter()
            await request(CHUNK)
            times.append(1000 * (time.perf_counter() - began))
    return [statistics.median(times) for times in taken]
