"""CPU of opening a connection: token, upgrade, handshake."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import CLIENTS, Ports

CASE = Case(
    "Opening a connection, token included",
    ("ours", "naive", "websockets", "picows"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per connection; a pool is opened in every round."""
    count = 50 if is_quick else 100
    async with CLIENTS[peer](ports, "burst-1", 8):  # imports, caches
        while True:
            watch = Stopwatch()
            async with CLIENTS[peer](ports, "burst-1", count):
                figures = watch.per(count)
            yield figures
