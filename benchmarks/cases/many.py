"""5,000 connections in one process: opened, used once each, closed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

from case import Case, Stopwatch
from clients import Ports, make, our_pool, through

CASE = Case(
    "5,000 pooled connections in one process",
    ("ours",),
    {
        "errors": "errors",
        "open_s": "opened in, s",
        "serve_s": "a request on each, s",
        "close_s": "closed in, s",
        "cpu_s": "CPU of all three, s",
    },
    rounds=1,
    is_fresh=True,
)

SIZE = 5000
FRAMES = 20
AT_ONCE = 10


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield how long each step took, and how many errors there were."""
    del peer
    size = SIZE // 5 if is_quick else SIZE
    pool = our_pool(ports.config(f"burst-{FRAMES}"), size)
    figures: dict[str, float] = {}
    sockets = _sockets()
    watch = Stopwatch()

    try:
        began = time.perf_counter()
        await pool.initialize(timeout=120)
        figures["open_s"] = time.perf_counter() - began
        began = time.perf_counter()
        await make(through(pool), bytes(3200), total=size, at_once=AT_ONCE, frames=FRAMES)
        figures["serve_s"] = time.perf_counter() - began
        stats = pool.get_stats()
        unserved = sum(not each["request_count"] for each in stats["connections"])
        errors = ("connections_errors", "connections_lost", "requests_errors", "borrows_errors")
        figures["errors"] = unserved + sum(stats[name] for name in errors)
    finally:
        began = time.perf_counter()
        await pool.close(timeout=30)
    figures["close_s"] = time.perf_counter() - began
    figures["cpu_s"] = watch.per(1)["cpu_us"] / 1e6
    figures["errors"] += abs(_sockets() - sockets)
    yield figures


def _sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(_is_socket(link) for link in Path("/proc/self/fd").iterdir())


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:  # the listing's own
        return False
