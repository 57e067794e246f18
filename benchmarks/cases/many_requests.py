"""A request as the pool grows: from 10 connections to 5,000."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from case import SIZES, Case, Stopwatch, as_it_grows, at_sizes
from clients import CLIENTS, Ports, Request, make

FRAMES = 20
AT_ONCE = 10
REQUESTS = 500

CASE = Case(
    f"A request of {FRAMES} frames on each of so many connections in turn",
    ("ours", "picows"),
    at_sizes("request_us", SIZES),
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request at each size."""
    pool_of = partial(CLIENTS[peer], ports, f"burst-{FRAMES}")
    yield await as_it_grows("request_us", pool_of, _requesting, rounds=3 if is_quick else 15)


async def _requesting(request: Request) -> dict[str, float]:
    watch = Stopwatch()
    await make(request, bytes(3200), total=REQUESTS, at_once=AT_ONCE, frames=FRAMES)
    return watch.per(REQUESTS)
