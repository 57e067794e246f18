"""Whether a pool's numbers can work, and what follows from them."""

from __future__ import annotations

from avatarpool.arguments import is_number

SHORTEST_LIFE = 0.9
"""Of ``max_lifetime``: each session's own life is drawn between this part of it and all."""


def interval(*limits: float) -> float:
    """A twentieth of the shortest limit: late by 5 % at most, at no cost worth naming."""
    return min(1.0, max(0.01, min(limits) / 20.0))


def negative(**limits: float) -> list[str]:
    """Name the limits that cannot be kept."""
    return [
        f"{name} {limit!r} is negative or no number"
        for name, limit in limits.items()
        if not (is_number(limit) and limit >= 0)
    ]


def problems(
    ttl_minutes: float, max_lifetime: float, request_timeout: float, num_workers: int
) -> list[str]:
    """Name what contradicts the service, or itself."""
    found = []
    if max_lifetime * SHORTEST_LIFE <= request_timeout:
        found.append(
            f"sessions live {max_lifetime:.2f} s, less 10 %, which holds no request of "
            f"{request_timeout:.2f} s: raise session_ttl_minutes or max_lifetime, "
            "or lower request_timeout"
        )
    if not 0 < ttl_minutes <= 24 * 60:
        found.append(f"session_ttl_minutes {ttl_minutes} is not within the service's 24 h")
    if num_workers < 1:
        found.append(f"num_workers {num_workers} is not at least 1")
    return found
