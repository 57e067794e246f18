"""Numbers about a pool, with their units in their names."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

# Percentiles speak of the most recent values only: an hour-old outage should
# not hide what happens now.
_WINDOW = 2048


class ConnectionStats(TypedDict):
    """One open connection."""

    connection_id: str
    request_count: int
    """Requests answered to the last frame."""
    age_seconds: float
    state: str
    """``idle``, ``lent`` or ``draining``."""
    state_seconds: float
    """How long it has been so."""


class LatencyStats(TypedDict):
    """Milliseconds over the last 2,048 values; zeros while there are none."""

    p50: float
    p95: float
    p99: float
    max: float
    count: int
    """Values since the start or the last ``pop_stats()``."""


class PoolLatencies(TypedDict):
    """How long things took."""

    wait_ms: LatencyStats
    """From asking for a connection to having it."""
    first_frame_ms: LatencyStats
    """From a request's first audio to its first frame."""
    duration_ms: LatencyStats
    """From a request's first audio to its last frame."""


class PoolStats(TypedDict):
    """What ``get_stats()`` returns. Counters run since the start or ``pop_stats()``."""

    # Now
    total_connections: int
    """Open connections: idle, lent and draining."""
    available_connections: int
    """Idle connections."""
    connections_lent: int
    """Lent connections, and those that are being checked."""
    connections_draining: int
    """Returned connections whose request is not known to be over, or that are being reset."""
    connections_opening: int
    requests_waiting: int
    """Borrowers in the queue."""
    pool_min: int
    pool_max: int
    connections: list[ConnectionStats]
    # Counters
    total_requests_served: int
    """Requests answered to the last frame; ``pop_stats()`` leaves it alone."""
    borrows_num: int
    """Connections asked for."""
    borrows_queued: int
    """... that had to wait."""
    borrows_wait_ms: float
    """Milliseconds waited by all of them together."""
    borrows_errors: int
    """... that got none: timeout, refusal, too many waiting, pool closed."""
    borrows_timeouts: int
    """... of these, for want of time."""
    usage_ms: float
    """Milliseconds that connections were lent."""
    usage_ms_squared: float
    """The sum of the squares of each one's: how they are spread (`avatarpool.fleet.sizing`)."""
    returns_num: int
    """Connections returned: by as many borrowers, ``usage_ms`` in all."""
    requests_num: int
    """Requests begun."""
    requests_errors: int
    """Requests that failed or were cut off."""
    frames_received: int
    frames_dropped: int
    """Frames of interrupted, abandoned or unknown requests."""
    protocol_errors: int
    """Messages that the service must not send; each costs its connection."""
    returns_unsettled: int
    """Connections returned before their request was over."""
    connections_num: int
    """Attempts to open a connection."""
    connections_ms: float
    """Milliseconds that the successful ones took together."""
    connections_errors: int
    """Attempts that failed."""
    connections_lost: int
    """Connections that died."""
    connections_retired: int
    """Connections that the pool closed: for age, idleness, size, an unfinished request, a
    check that failed."""
    latency: PoolLatencies


@dataclass(slots=True)
class Counters:
    """The counters of `PoolStats`, as the pool keeps them."""

    borrows_num: int = 0
    borrows_queued: int = 0
    borrows_wait_ms: float = 0.0
    borrows_errors: int = 0
    borrows_timeouts: int = 0
    usage_ms: float = 0.0
    usage_ms_squared: float = 0.0
    returns_num: int = 0
    requests_num: int = 0
    requests_errors: int = 0
    frames_received: int = 0
    frames_dropped: int = 0
    protocol_errors: int = 0
    returns_unsettled: int = 0
    connections_num: int = 0
    connections_ms: float = 0.0
    connections_errors: int = 0
    connections_lost: int = 0
    connections_retired: int = 0


class Latency:
    """Percentiles over the most recent values of one duration."""

    __slots__ = ("_recent", "count")

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Record one duration."""
        self._recent.append(seconds)
        self.count += 1

    @classmethod
    def merged(cls, latencies: Iterable[Latency]) -> Latency:
        """Return one of all values that several have recorded."""
        merged, each = cls(), list(latencies)
        merged._recent = deque(value for latency in each for value in latency._recent)  # noqa: SLF001
        merged.count = sum(latency.count for latency in each)
        return merged

    def reset(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self.count = 0

    def summary(self) -> LatencyStats:
        """Return the percentiles, by the nearest-rank method."""
        values = sorted(1000.0 * seconds for seconds in self._recent) or [0.0]
        p50, p95, p99 = percentiles(values)
        return LatencyStats(p50=p50, p95=p95, p99=p99, max=values[-1], count=self.count)


def percentiles(ascending: Sequence[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99 of some values, by the nearest-rank method."""
    p50, p95, p99 = (ascending[-(-p * len(ascending) // 100) - 1] for p in (50, 95, 99))
    return p50, p95, p99
