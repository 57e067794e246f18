"""What pools signal: names, units, and where each number is read. Pure.

Names that begin with ``db.client.connection`` are the OpenTelemetry semantic
conventions' for client connection pools, so that what was made to watch any pool
can watch this one; what they lack is named ``avatarpool``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from avatarpool.exceptions import AvatarSDKError
from avatarpool.pool import AvatarConnectionPool, PoolEventKind

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"
ERROR_TYPE = "error.type"

BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper limits of the histograms' buckets in seconds: from a borrow that need not
wait to the longest requests."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One number of every pool.

    Attributes:
        name: As OpenTelemetry writes it.
        unit: What is counted, in braces as UCUM has it.
        description: One sentence.
        fields: The fields of `PoolStats` that hold it, by the connections' state;
            by an empty one where states play no part.
    """

    name: str
    unit: str
    description: str
    fields: Mapping[str, str]

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What tells its series apart."""
        return (POOL_NAME,) if "" in self.fields else (POOL_NAME, STATE)


@dataclass(frozen=True, slots=True)
class Duration:
    """One duration of every pool, in seconds.

    Attributes:
        name: As OpenTelemetry writes it.
        description: One sentence.
        has_errors: Whether failures count too, told apart by ``error.type``.
    """

    name: str
    description: str
    has_errors: bool = False

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What tells its series apart."""
        return (POOL_NAME, ERROR_TYPE) if self.has_errors else (POOL_NAME,)


def _signal(name: str, unit: str, field: str, description: str) -> Signal:
    return Signal(name, unit, description, {"": field})


# What is so now.
GAUGES = (
    Signal(
        "db.client.connection.count",
        "{connection}",
        "Open connections, by state.",
        {
            "idle": "available_connections",
            "used": "connections_lent",
            # The conventions name two states and allow others.
            "draining": "connections_draining",
        },
    ),
    _signal(
        "db.client.connection.idle.min", "{connection}", "pool_min", "Connections to keep open."
    ),
    _signal("db.client.connection.max", "{connection}", "pool_max", "Connections to grow to."),
    _signal(
        "db.client.connection.pending_requests",
        "{request}",
        "requests_waiting",
        "Borrowers that wait for a connection.",
    ),
    _signal(
        "avatarpool.connection.opening",
        "{connection}",
        "connections_opening",
        "Connections being opened.",
    ),
)

# What has happened since the pool was made.
COUNTERS = (
    _signal(
        "db.client.connection.timeouts",
        "{timeout}",
        "borrows_timeouts",
        "Borrowers that got no connection in time.",
    ),
    _signal(
        "avatarpool.connection.attempts",
        "{attempt}",
        "connections_num",
        "Attempts to open a connection.",
    ),
    _signal(
        "avatarpool.connection.errors",
        "{attempt}",
        "connections_errors",
        "Attempts to open a connection that failed.",
    ),
    _signal(
        "avatarpool.connection.lost", "{connection}", "connections_lost", "Connections that died."
    ),
    _signal(
        "avatarpool.connection.retired",
        "{connection}",
        "connections_retired",
        "Connections that the pool closed.",
    ),
    _signal("avatarpool.borrow.attempts", "{borrow}", "borrows_num", "Connections asked for."),
    _signal(
        "avatarpool.borrow.queued",
        "{borrow}",
        "borrows_queued",
        "Borrowers that had to wait.",
    ),
    _signal(
        "avatarpool.borrow.errors",
        "{borrow}",
        "borrows_errors",
        "Borrowers that got no connection, for whatever reason.",
    ),
    _signal(
        "avatarpool.borrow.unsettled",
        "{borrow}",
        "returns_unsettled",
        "Connections returned before their request was over.",
    ),
    _signal("avatarpool.request.begun", "{request}", "requests_num", "Requests begun."),
    _signal(
        "avatarpool.request.errors",
        "{request}",
        "requests_errors",
        "Requests that failed or were cut off.",
    ),
    _signal("avatarpool.frame.received", "{frame}", "frames_received", "Frames of requests."),
    _signal(
        "avatarpool.frame.dropped",
        "{frame}",
        "frames_dropped",
        "Frames of interrupted, abandoned or unknown requests.",
    ),
)

# Histograms, made of the events that bring each duration.
DURATIONS = {
    PoolEventKind.OPENED: Duration(
        "db.client.connection.create_time", "Time to open a connection."
    ),
    PoolEventKind.LENT: Duration(
        "db.client.connection.wait_time", "Time from asking for a connection to having it."
    ),
    PoolEventKind.RETURNED: Duration(
        "db.client.connection.use_time", "Time from having a connection to its return."
    ),
    PoolEventKind.FIRST_FRAME: Duration(
        "avatarpool.request.time_to_first_frame",
        "Time from a request's first audio to its first frame.",
    ),
    PoolEventKind.REQUEST_ENDED: Duration(
        "avatarpool.request.duration",
        "Time from a request's first audio to its last frame, or to its failure.",
        has_errors=True,
    ),
}

INTERRUPTED = "interrupted"
"""The reason of a request's end that is neither an answer nor a failure."""


def read(pool: AvatarConnectionPool) -> Mapping[str, float]:
    """Return the fields of `PoolStats`, counters since the pool was made.

    ``pop_stats()`` sets nothing back here. Any thread may call it: exporters
    have their own.
    """
    return {**cast("Mapping[str, float]", pool.get_stats()), **pool.meter.totals()}


def error_type(error: BaseException) -> str:
    """Return the stable name of a failure: one of few, as an attribute's values must be."""
    return error.code.value if isinstance(error, AvatarSDKError) else type(error).__name__
