"""What a pool is made from: its numbers, names and hooks, as one value that can work."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from avatarpool.client.session import new_avatar_session
from avatarpool.exceptions import ConfigurationError
from avatarpool.pool.arguments import negative, out_of_bounds, uncallable, uncountable
from avatarpool.pool.collection import CollectionLimits
from avatarpool.pool.events import PoolEvent
from avatarpool.pool.factory import ConfigFactory
from avatarpool.pool.hooks import Hook

SHORTEST_LIFE = 0.9
"""Of ``max_lifetime``: each session's own life is drawn between this part of it and all."""

_pool_numbers = itertools.count(1)


def new_name() -> str:
    """Return a name for a pool whose user gave none."""
    return f"pool-{next(_pool_numbers)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """What a pool is made from, checked as it is made; `AvatarConnectionPool` describes each.

    Pools made from one value share its name: give each its own with `dataclasses.replace`.

    Raises:
        ConfigurationError: They cannot work; it names all that is wrong.
    """

    pool_size: int = 3
    config_factory: ConfigFactory
    session_ttl_minutes: float = 5
    min_size: int | None = None
    max_size: int | None = None
    timeout: float = 30.0
    request_timeout: float = 45.0
    first_frame_timeout: float | None = None
    frame_gap_timeout: float | None = None
    max_frames: int = 100_000
    max_frame_bytes: int = 64 * 1024 * 1024
    max_waiting: int = 0
    max_lifetime: float | None = None
    max_idle: float = 600.0
    quarantine_timeout: float = 5.0
    num_workers: int = 8
    configure: Hook | None = None
    check: Hook | None = None
    reset: Hook | None = None
    reconnect_timeout: float = 300.0
    reconnect_failed: Callable[..., object] | None = None  # takes the pool
    leak_warning: float | None = None
    on_event: Callable[[PoolEvent], object] | None = None
    name: str = field(default_factory=new_name)
    session_factory: Callable[..., object] = new_avatar_session

    def __post_init__(self) -> None:
        problems = self._given_wrong() or self._contradictions()
        if self.config_factory is None:  # as the pool's own signature allows
            problems.append("config_factory is missing")
        if problems:
            raise ConfigurationError(f"pool {self.name!r} cannot work", problems)

    @property
    def smallest_size(self) -> int:
        """Sessions to keep open at first."""
        return min(self.pool_size, self.largest_size) if self.min_size is None else self.min_size

    @property
    def largest_size(self) -> int:
        """Sessions to grow to at first."""
        if self.max_size is None:
            return max(self.pool_size, self.min_size or 0)
        return self.max_size

    @property
    def longest_life(self) -> float:
        """Seconds after which a session is replaced at the latest."""
        ttl = self.session_ttl_minutes * 60.0
        return ttl if self.max_lifetime is None else self.max_lifetime

    @property
    def token_ttl(self) -> timedelta:
        """Lifetime of a session's token."""
        return timedelta(minutes=self.session_ttl_minutes)

    @property
    def limits(self) -> CollectionLimits:
        """What one request may bring, and how long it may take."""
        return CollectionLimits(
            self.request_timeout,
            self.first_frame_timeout,
            self.frame_gap_timeout,
            self.max_frames,
            self.max_frame_bytes,
        )

    def _given_wrong(self) -> list[str]:
        """Name what is not of its kind."""
        return [
            *negative(
                session_ttl_minutes=self.session_ttl_minutes,
                num_workers=self.num_workers,
                timeout=self.timeout,
                request_timeout=self.request_timeout,
                first_frame_timeout=self.first_frame_timeout or 0.0,  # None: no limit
                frame_gap_timeout=self.frame_gap_timeout or 0.0,
                max_frames=self.max_frames,
                max_frame_bytes=self.max_frame_bytes,
                max_waiting=self.max_waiting,
                max_lifetime=0.0 if self.max_lifetime is None else self.max_lifetime,
                max_idle=self.max_idle,
                quarantine_timeout=self.quarantine_timeout,
                reconnect_timeout=self.reconnect_timeout,
                leak_warning=self.leak_warning or 0.0,
            ),
            *uncountable(
                pool_size=self.pool_size,
                min_size=0 if self.min_size is None else self.min_size,
                max_size=0 if self.max_size is None else self.max_size,
                num_workers=self.num_workers,
                max_waiting=self.max_waiting,
            ),
            *uncallable(
                config_factory=self.config_factory,
                configure=self.configure,
                check=self.check,
                reset=self.reset,
                reconnect_failed=self.reconnect_failed,
                session_factory=self.session_factory,
            ),
        ]

    def _contradictions(self) -> list[str]:
        """Name what contradicts the service, or itself."""
        problems = []
        if self.longest_life * SHORTEST_LIFE <= self.request_timeout:
            problems.append(
                f"sessions live {self.longest_life:.2f} s, less 10 %, which holds no request of "
                f"{self.request_timeout:.2f} s: raise session_ttl_minutes or max_lifetime, "
                "or lower request_timeout"
            )
        if not 0 < self.session_ttl_minutes <= 24 * 60:
            problems.append(
                f"session_ttl_minutes {self.session_ttl_minutes} is not within the service's 24 h"
            )
        if self.num_workers < 1:
            problems.append(f"num_workers {self.num_workers} is not at least 1")
        return problems + out_of_bounds(self.smallest_size, self.largest_size)
