"""What happens in a pool, as values for whoever wants to follow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from inspect import iscoroutinefunction

from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.messages import AnimationFrame, Interrupt, PlaybackState, ServerError
from avatarpool.untrusted import raised

log = logging.getLogger("avatarpool.pool")


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
    PLAYBACK = "playback"
    REFUSED = "refused"
    BREAKER_OPEN = "breaker_open"
    BREAKER_CLOSED = "breaker_closed"


Playback = PlaybackState | AnimationFrame | Interrupt | ServerError
"""What tells how a room plays a request."""


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One event of a pool.

    Attributes:
        kind: What happened.
        pool: The pool's name.
        connection_id: The connection concerned; empty where there is none yet.
        reason: Why it was retired or lost, or why an opening was refused; a
            request's id as it begins and as a room plays it, ``interrupted`` as it ends by
            that.
        seconds: What it took: to open it; to wait for it, in vain too; how long it
            was lent; from a request's first audio to its first frame, to its end.
        error: Why nothing was lent, why the request failed, why an opening was refused, or
            why a connection was lost.
        playback: How a room plays a request: what the service told (whose frames only mark
            the playback there, and whose error ends it), or the interrupt that it was sent.
    """

    kind: PoolEventKind
    pool: str
    connection_id: str = ""
    reason: str = ""
    seconds: float = 0.0
    error: BaseException | None = None
    playback: Playback | None = None


Listener = Callable[[PoolEvent], object]


class Listeners:
    """Who follows one pool; `each` is empty while nobody does.

    Args:
        pool: The pool's name.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.each: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        """Have one more called with each event.

        Raises:
            ConfigurationError: It cannot be called, or would have to be awaited.
        """
        if not callable(listener):
            problem = f"{listener!r} cannot be called"
        elif iscoroutinefunction(listener) or iscoroutinefunction(type(listener).__call__):
            problem = "it is a coroutine function, which nobody would await: start a task in it"
        else:
            problem = ""
        if problem:
            raise ConfigurationError(f"on_event of pool {self._pool!r} cannot work", [problem])
        self.each = (*self.each, listener)

    def remove(self, listener: Listener) -> None:
        """Call one no more; harmless if it was not there."""
        self.each = tuple(each for each in self.each if each != listener)

    def tell(
        self,
        kind: PoolEventKind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
        *,
        playback: Playback | None = None,
    ) -> None:
        """Pass an event on, if anybody follows; what a listener raises goes no further."""
        if not self.each:
            return
        event = PoolEvent(kind, self._pool, connection_id, reason, seconds, error, playback)
        for listener in self.each:
            failure = raised(listener, event)
            if failure is not None:
                log.error("on_event of pool %r failed", self._pool, exc_info=failure)
