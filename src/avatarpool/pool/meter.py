"""The pool's counters and latencies, and the numbers that `get_stats()` shows."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Protocol, cast

from avatarpool.pool.state import M, Phase, PoolState, W
from avatarpool.stats import ConnectionStats, Counters, Latency, PoolLatencies, PoolStats


class Counted(Protocol):
    """What the numbers tell of one connection."""

    opened_at: float
    request_count: int
    phase: Phase
    since: float

    @property
    def connection_id(self) -> str:
        """The service's name for it."""


class Meter:
    """Counts what happens in one pool."""

    def __init__(self) -> None:
        # Not the loop's clock: uvloop's counts whole milliseconds.
        self.clock = time.perf_counter
        self.counters = Counters()  # since the start, whatever is popped
        self._popped = Counters()  # what they were at the last reset
        self.wait = Latency()
        self.first_frame = Latency()
        self.duration = Latency()
        self.served = 0  # requests answered to the last frame, ever

    def request_served(self, seconds: float) -> None:
        """Count a request that was answered to its last frame."""
        self.served += 1
        self.duration.add(seconds)

    def reset(self) -> None:
        """Start anew what `snapshot` tells of counters and latencies."""
        self._popped = copy.copy(self.counters)
        for latency in (self.wait, self.first_frame, self.duration):
            latency.reset()

    def totals(self) -> dict[str, float]:
        """Return the counters since the start, whatever was popped, named as in `PoolStats`."""
        return asdict(self.counters)

    def snapshot(
        self, state: PoolState[M, W], connections: Iterable[Counted], now: float
    ) -> PoolStats:
        """Return the numbers as they stand; ``connections`` are the state's members."""
        each = [
            ConnectionStats(
                connection_id=connection.connection_id,
                request_count=connection.request_count,
                age_seconds=now - connection.opened_at,
                state=connection.phase.name.lower(),
                state_seconds=now - connection.since,
            )
            for connection in sorted(connections, key=lambda connection: connection.opened_at)
        ]
        popped = asdict(self._popped)
        counted = {name: n - popped[name] for name, n in self.totals().items()}
        return cast(
            "PoolStats",
            {
                "total_connections": len(state.members),
                "available_connections": state.idle,
                "connections_lent": state.count(Phase.LENT),
                "connections_draining": state.count(Phase.DRAINING),
                "connections_opening": state.opening,
                "requests_waiting": state.waiting,
                "pool_min": state.min_size,
                "pool_max": state.max_size,
                "connections": each,
                "total_requests_served": self.served,
                **counted,
                "latency": PoolLatencies(
                    wait_ms=self.wait.summary(),
                    first_frame_ms=self.first_frame.summary(),
                    duration_ms=self.duration.summary(),
                ),
            },
        )
