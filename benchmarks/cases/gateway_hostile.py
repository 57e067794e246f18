"""The others' first frames while a gateway gets 200 bad handshakes a second.

One request of 100 ms of speech follows the other. Quiet stretches and disturbed ones take turns,
so that no other minute of the machine's is compared.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from case import Case
from clients import Ports, Request, raw_picows
from relays import standing

CASE = Case(
    "Through a gateway: p99 of the first frame beside 200 bad handshakes a second",
    ("ours",),
    {
        "added_ms": "later than when it is quiet, ms",
        "quiet_ms": "quiet, ms",
        "beside_ms": "beside them, ms",
        "made": "handshakes made",
        "taken": "and taken",
    },
    rounds=1,
)

SCRIPT = str(Path(__file__).parents[1] / "bad_handshakes.py")
CHUNK = bytes(3200)
STRETCHES = 5


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the slowest of a hundred first frames, quiet and disturbed."""
    seconds = 1.0 if is_quick else 3.0
    async with (
        standing(peer, ports) as relay,
        raw_picows(relay.ports, "burst-1", 1) as request,
    ):
        while True:
            quiet: list[float] = []
            beside: list[float] = []
            made = taken = 0.0
            for _ in range(STRETCHES):
                quiet += await _ask(request, seconds)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, SCRIPT, str(relay.ports.ingress), str(seconds + 1.0)),
                    stdout=asyncio.subprocess.PIPE,
                )
                await _ask(request, 0.5)  # until it is at it
                beside += await _ask(request, seconds)
                told, _ = await process.communicate()
                counts = json.loads(told)
                made, taken = made + counts["made"], taken + counts["taken"]
            yield {
                "added_ms": _p99(beside) - _p99(quiet),
                "quiet_ms": _p99(quiet),
                "beside_ms": _p99(beside),
                "made": made,
                "taken": taken,
            }


async def _ask(request: Request, seconds: float) -> list[float]:
    """Make one request after the other, some 200 a second; return their milliseconds."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        await request(CHUNK)
        taken.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(0.005)
    return taken


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]
