"""What every benchmark says of itself, and the clocks they share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

SIZES = (10, 100, 1000, 5000)  # of pools that grow, in connections

LOOPS = ("asyncio", "uvloop")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Link:
    """A wide-area link between client and service: see `wan`."""

    rtt_ms: float
    loss_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark: ``measure()`` beside it yields one round's figures at a time.

    Attributes:
        title: What is measured, for the table.
        peers: Who is measured, in turn.
        figures: The figures of a round and their headings; names and headings
            carry the units. Figures without a heading are for curves and checks.
        rounds: Rounds per peer and event loop; medians are taken over them.
        is_fresh: Whether every round has a process of its own.
        is_together: Whether all peers are measured at the same time.
        is_secure: Whether the service speaks TLS.
        link: What lies between; loopback alone without one.
        loops: The event loops that all of them are measured on.
    """

    title: str
    peers: tuple[str, ...]
    figures: dict[str, str]
    rounds: int = 5
    is_fresh: bool = False
    is_together: bool = False
    is_secure: bool = False
    link: Link | None = None
    loops: tuple[str, ...] = LOOPS


class Stopwatch:
    """CPU time of this process, and wall time, since it was made."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def per(self, count: int) -> dict[str, float]:
        """Return both, in microseconds for each of so many."""
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        return {"cpu_us": 1e6 * cpu / count, "wall_us": 1e6 * wall / count}


def at_sizes(figure: str, sizes: Iterable[int]) -> dict[str, str]:
    """Return a figure's names and headings at each size, for `Case.figures`.

    Each is CPU time, and has its wall time beside it under `wall_of` its name.
    """
    return {f"{figure}@{size}": f"{size:,}: CPU, wall µs" for size in sizes}


def wall_of(name: str) -> str:
    """Return the name of the wall time that belongs to a figure of CPU time."""
    return f"wall_{name}"


def sized(figure: str, size: int, rounds: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the medians of what `Stopwatch.per` gave at a size, under its figures' names."""
    name, taken = f"{figure}@{size}", list(rounds)
    return {
        name: statistics.median(each["cpu_us"] for each in taken),
        wall_of(name): statistics.median(each["wall_us"] for each in taken),
    }


async def as_it_grows(
    figure: str,
    pool_of: Callable[[int], AbstractAsyncContextManager[T]],
    cost: Callable[[T], Awaitable[dict[str, float]]],
    *,
    rounds: int,
) -> dict[str, float]:
    """Open pools of all `SIZES`, measure one after the other round by round; return medians."""
    async with AsyncExitStack() as stack:
        pools = {size: await stack.enter_async_context(pool_of(size)) for size in SIZES}
        taken: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
        for _ in range(rounds):
            for size, pool in pools.items():
                taken[size].append(await cost(pool))
    figures: dict[str, float] = {}
    for size, costs in taken.items():
        figures |= sized(figure, size, costs)
    return figures


def resident_kb() -> float:
    """Return this process's resident memory, in kB of 1000 bytes."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1.024
    raise OSError("no Rss in /proc/self/smaps_rollup")
