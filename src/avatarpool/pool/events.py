"""What happens in a pool, as values for whoever wants to follow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PoolEventKind(str, Enum):
    """What happened."""

    OPENED = "opened"
    LENT = "lent"
    NOT_LENT = "not_lent"
    RETURNED = "returned"
    QUARANTINED = "quarantined"
    RETIRED = "retired"
    LOST = "lost"
    REQUEST_BEGAN = "request_began"
    FIRST_FRAME = "first_frame"
    REQUEST_ENDED = "request_ended"
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
        reason: Why it was retired or lost, or why an opening was refused; a
            request's id as it begins, ``interrupted`` as it ends by that.
        seconds: What it took: to open it; to wait for it, in vain too; how long it
            was lent; from a request's first audio to its first frame, to its end.
        error: Why nothing was lent, or why the request failed.
    """

    kind: PoolEventKind
    pool: str
    connection_id: str = ""
    reason: str = ""
    seconds: float = 0.0
    error: BaseException | None = None
