"""What pool and session add to the time to the first frame, over raw picows.

Both are asked in turn, request by request, in one process: what disturbs one
disturbs the other. The answer is a single frame, so that the first frame is
what a caller waits for; the wait is the caller's, from before the borrow to
holding the frames.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import Ports, Request, ours, raw_picows

CASE = Case(
    "First frame as the caller waits for it, one request at a time",
    ("ours",),
    {
        "added_us": "added by ours, µs",
        "ours_us": "ours, µs",
        "picows_us": "raw picows, µs",
        "ours_cpu_us": "CPU of ours, µs",
        "picows_cpu_us": "CPU of raw picows, µs",
        "large_added_us": "added with 558 kB of audio, µs",
    },
)

CHUNK = bytes(3200)  # 100 ms of speech
CLIP = bytes(558_000)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield medians of wall and CPU time per request."""
    del peer
    count = 50 if is_quick else 300
    async with ours(ports, "burst-1", 1) as by_us, raw_picows(ports, "burst-1", 1) as by_picows:
        while True:
            small = await _medians(by_us, by_picows, CHUNK, count)
            large = await _medians(by_us, by_picows, CLIP, count // 3)
            yield {
                "ours_us": small[0]["wall_us"],
                "picows_us": small[1]["wall_us"],
                "added_us": small[0]["wall_us"] - small[1]["wall_us"],
                "ours_cpu_us": small[0]["cpu_us"],
                "picows_cpu_us": small[1]["cpu_us"],
                "large_added_us": large[0]["wall_us"] - large[1]["wall_us"],
            }


async def _medians(
    first: Request, second: Request, audio: bytes, count: int
) -> list[dict[str, float]]:
    taken: tuple[list[dict[str, float]], ...] = ([], [])
    for _ in range(count):
        for request, times in zip((first, second), taken, strict=True):
            watch = Stopwatch()
            await request(audio)
            times.append(watch.per(1))
    return [
        {name: statistics.median(each[name] for each in times) for name in ("wall_us", "cpu_us")}
        for times in taken
    ]
