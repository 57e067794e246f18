"""What pool and session add to the time to the first frame, over raw picows.

Both are asked in turn, request by request, in one process: what disturbs one
disturbs the other. The answer is a single frame, so that the first frame is
what a caller waits for; the wait is the caller's, from before the borrow to
holding the frames.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator

from case import Case
from clients import Ports, Request, ours, raw_picows

CASE = Case(
    "First frame as the caller waits for it, one request at a time",
    ("ours",),
    {
        "added_us": "added by ours, µs",
        "ours_us": "ours, µs",
        "picows_us": "raw picows, µs",
        "large_added_us": "added with 558 kB of audio, µs",
    },
)

CHUNK = bytes(3200)  # 100 ms of speech
CLIP = bytes(558_000)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield medians of wall time per request."""
    del peer
    count = 50 if is_quick else 300
    async with ours(ports, "burst-1", 1) as by_us, raw_picows(ports, "burst-1", 1) as by_picows:
        while True:
            small = await _medians(by_us, by_picows, CHUNK, count)
            large = await _medians(by_us, by_picows, CLIP, count // 3)
            yield {
                "ours_us": small[0],
                "picows_us": small[1],
                "added_us": small[0] - small[1],
                "large_added_us": large[0] - large[1],
            }


async def _medians(
    first: Request, second: Request, audio: bytes, count: int
) -> tuple[float, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for request, taken in zip((first, second), seconds, strict=True):
            began = time.perf_counter()
            await request(audio)
            taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds[0]), 1e6 * statistics.median(seconds[1])
