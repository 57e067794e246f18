"""What every benchmark says of itself, and the clocks they share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


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
    """

    title: str
    peers: tuple[str, ...]
    figures: dict[str, str]
    rounds: int = 5
    is_fresh: bool = False
    is_together: bool = False


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


async def in_turn(
    figures: Mapping[str, Callable[[], Awaitable[float]]], rounds: int
) -> dict[str, float]:
    """Measure figures round by round, each once a round; return their medians."""
    taken: dict[str, list[float]] = {name: [] for name in figures}
    for _ in range(rounds):
        for name, measured in figures.items():
            taken[name].append(await measured())
    return {name: statistics.median(values) for name, values in taken.items()}


def resident_kb() -> float:
    """Return this process's resident memory, in kB of 1000 bytes."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1.024
    raise OSError("no Rss in /proc/self/smaps_rollup")
