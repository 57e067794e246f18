"""A pool that grows to 5,000 connections: what a borrow and a request cost at each size."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

from case import Case, Stopwatch
from clients import Ports, make, our_pool

from avatarpool import AvatarConnectionPool

CASE = Case(
    "5,000 pooled connections in one process",
    ("ours",),
    {
        "errors": "errors",
        "open_s": "opened in, s",
        "serve_s": "a request on each, s",
        "close_s": "closed in, s",
    },
    rounds=1,
    is_fresh=True,
)

SIZES = (10, 100, 1000, 5000)
FRAMES = 20
AT_ONCE = 10
REPEATS = 7


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the cost per borrow and request at each size, and how the largest went."""
    del peer
    pool = our_pool(ports.config(f"burst-{FRAMES}"), SIZES[0])
    sizes = SIZES[:-1] if is_quick else SIZES
    figures: dict[str, float] = {}
    sockets = _sockets()
    try:
        await pool.initialize(timeout=60)
        began = time.perf_counter()
        for size in sizes:
            await _grow(pool, size)
            figures["open_s"] = time.perf_counter() - began
            figures[f"borrow_us@{size}"] = await _borrowing(pool)
            figures[f"request_us@{size}"] = await _requesting(pool, 500)
        began = time.perf_counter()
        await _requesting(pool, sizes[-1], repeats=1)
        figures["serve_s"] = time.perf_counter() - began
        stats = pool.get_stats()
        unserved = sum(not each["request_count"] for each in stats["connections"])
        errors = ("connections_errors", "connections_lost", "requests_errors", "borrows_errors")
        figures["errors"] = unserved + sum(stats[name] for name in errors)
    finally:
        began = time.perf_counter()
        await pool.close(timeout=30)
    figures["close_s"] = time.perf_counter() - began
    figures["errors"] += abs(_sockets() - sockets)
    yield figures


async def _grow(pool: AvatarConnectionPool, size: int) -> None:
    pool.resize(size)
    async with asyncio.timeout(120):
        while pool.available_count < size:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)


async def _borrowing(pool: AvatarConnectionPool) -> float:
    taken = []
    for _ in range(REPEATS):
        watch = Stopwatch()
        for _ in range(5000):
            async with pool.borrow():
                pass
        taken.append(watch.per(5000)["cpu_us"])
    return statistics.median(taken)


async def _requesting(pool: AvatarConnectionPool, total: int, repeats: int = REPEATS) -> float:
    async def request(audio: bytes) -> int:
        async with pool.borrow() as conn:
            await conn.session.send_audio(audio, end=True)
            return len(await conn.collector.wait())

    taken = []
    for _ in range(repeats):
        watch = Stopwatch()
        await make(request, bytes(3200), total=total, at_once=AT_ONCE, frames=FRAMES)
        taken.append(watch.per(total)["cpu_us"])
    return statistics.median(taken)


def _sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(_is_socket(link) for link in Path("/proc/self/fd").iterdir())


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:  # the listing's own
        return False
