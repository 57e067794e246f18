"""Borrow and return while 500 tasks share 10 connections."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case, Stopwatch
from clients import Ports
from handoffs import HANDOFFS, lend

CASE = Case(
    "Borrow and return, 500 tasks on 10 connections",
    ("ours", "naive", "psycopg", "asyncpg", "sqlalchemy", "bare", "none"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
)

CONNECTIONS = 10
TASKS = 500


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow."""
    each = 5 if is_quick else 20
    async with HANDOFFS[peer](ports, CONNECTIONS) as borrow:
        while True:
            watch = Stopwatch()
            await lend(borrow, tasks=TASKS, each=each)
            yield watch.per(TASKS * each)
