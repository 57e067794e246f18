"""Numbers about a group of pools: of each key, and in all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypedDict, cast

from avatarpool.stats import Latency, PoolLatencies, PoolStats


class GroupStats(TypedDict):
    """What a group's ``get_stats()`` returns."""

    budget: int
    """Sessions that the account allows."""
    used: int
    """... of which the group has: open ones, those on their way in or out, and rooms' own."""
    total: PoolStats
    """All keys together, those included whose pools are closed."""
    keys: dict[str, PoolStats]
    """Each key's, by its name."""


class Measured(Protocol):
    """Where one pool keeps how long things took."""

    wait: Latency
    first_frame: Latency
    duration: Latency


def total(each: Iterable[PoolStats], meters: Sequence[Measured]) -> PoolStats:
    """Add up the numbers of pools; percentiles are over the recent values of all.

    Args:
        each: The pools' numbers.
        meters: Where those pools keep their latencies that are still there.
    """
    numbers: dict[str, Any] = dict.fromkeys(_NUMBERS, 0)
    connections = []
    for stats in each:
        for name in _NUMBERS:
            numbers[name] += cast("dict[str, Any]", stats)[name]
        connections += stats["connections"]
    connections.sort(key=lambda connection: -connection["age_seconds"])
    return cast(
        "PoolStats",
        {
            **numbers,
            "connections": connections,
            "latency": PoolLatencies(
                wait_ms=Latency.merged(meter.wait for meter in meters).summary(),
                first_frame_ms=Latency.merged(meter.first_frame for meter in meters).summary(),
                duration_ms=Latency.merged(meter.duration for meter in meters).summary(),
            ),
        },
    )


def counted(stats: PoolStats) -> PoolStats:
    """Return what is left of a pool's numbers once it is gone: its counters."""
    return cast("PoolStats", {**stats, **dict.fromkeys(_GAUGES, 0), "connections": []})


_GAUGES = (
    "total_connections",
    "available_connections",
    "connections_lent",
    "connections_draining",
    "connections_opening",
    "requests_waiting",
    "pool_min",
    "pool_max",
)
_NUMBERS = [name for name in PoolStats.__annotations__ if name not in ("connections", "latency")]
