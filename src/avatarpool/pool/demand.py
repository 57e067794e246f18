"""What a pool needs of the sessions that it shares with other pools. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pool has of the sessions that it shares, and what it could do with.

    Attributes:
        used: Sessions that it has, those on their way in or out included.
        closing: ... of which are on their way out.
        wanted: Sessions that it would open now, if it might.
        waiting: ... of which somebody waits for.
        turn: Since when the first of them waits, less what the priority counts.
    """

    used: int
    closing: int
    wanted: int
    waiting: int
    turn: float
