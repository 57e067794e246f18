"""Borrow and return while nobody else wants anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import Ports
from handoffs import HANDOFFS

CASE = Case(
    "Borrow and return, uncontended, through `async with`",
    ("ours", "naive", "psycopg", "asyncpg", "sqlalchemy", "bare", "none"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
)

CONNECTIONS = 10


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow."""
    count = 2_000 if is_quick else 10_000
    async with HANDOFFS[peer](ports, CONNECTIONS) as borrow:
        while True:
            watch = Stopwatch()
            for _ in range(count):
                async with borrow():
                    pass
            yield watch.per(count)
