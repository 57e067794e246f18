"""What a soak is to do, and how long each part of it may take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

BORROW_TIMEOUT = 5.0
"""Seconds that a borrower waits; with the load's few milliseconds a request, plenty."""

REQUEST_TIMEOUT = 5.0
"""Seconds for a request's last frame, likewise."""

SEND_TIMEOUT = 2.0
"""Seconds that a peer may leave audio unread."""

HEAL_TIMEOUT = 20.0
"""Seconds from a fault's end to the pool's full size. What was sent under the fault
takes `REQUEST_TIMEOUT` to fail; and after a fault of 3 s the pool's pauses between
attempts, which double from 0.5 s, are 4 s at most, each attempt 3 s."""

LEFTOVER_TIMEOUT = 5.0
"""Seconds for the service of an idle pool to finish, and for the last tasks and sockets
after closing."""


class FaultMix(str, Enum):
    """Which faults a soak makes."""

    NONE = "none"
    OPENING = "opening"
    SESSIONS = "sessions"
    RESTARTS = "restarts"
    MIXED = "mixed"


class Through(str, Enum):
    """What stands between a soak's pools and their service."""

    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What a soak is asked to do.

    Attributes:
        seconds: How long.
        connections: Size of the pool.
        borrowers: Tasks that make requests at the same time.
        faults: Which faults.
        seed: Decides the order of faults and requests, as far as timing lets it.
        heal_timeout: Seconds that the pool has to be whole after a fault.
        through: What stands between; None: nothing.
    """

    seconds: float
    connections: int = 5
    borrowers: int = 20
    faults: FaultMix = FaultMix.MIXED
    seed: int = 0
    heal_timeout: float = HEAL_TIMEOUT
    through: Through | None = None
