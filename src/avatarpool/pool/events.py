"""What happens in a pool, as values for whoever wants to follow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PoolEventKind(str, Enum):
    """What happened."""

    OPENED = "opened"
    LENT = "lent"
    RETURNED = "returned"
    QUARANTINED = "quarantined"
    RETIRED = "retired"
    LOST = "lost"
    REFUSED = "refused"
    BREAKER_OPEN = "breaker_open"
    BREAKER_CLOSED = "breaker_closed"


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One event of a pool.

    Attributes:
        kind: What happened.
        pool: The pool's name.
        connection_id: The connection concerned; empty where there is none yet.
        reason: Why it was retired or lost, or why an opening was refused.
    """

    kind: PoolEventKind
    pool: str
    connection_id: str = ""
    reason: str = ""
