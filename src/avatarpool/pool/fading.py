"""When is a request over that its borrower left, if its service does not say so? Pure.

A service may answer an interrupt with the request's last frame, with an error, with
frames that flow on to its end, or with silence. The first two say it themselves.
"""

from __future__ import annotations

from math import inf

QUIET = 0.3
"""Seconds without a frame after which a request that had some has stopped.

Services make frames faster than they are spoken, in steps of a fraction of this.
"""

PONG_TIMEOUT = 1.0
"""Seconds for the answer to a ping, from when the peer has taken what was sent before."""

UNANSWERED = "its peer did not answer a ping"
"""Why a connection is replaced whose peer takes longer."""


class Fading:
    """The watch over one request that was left, from its connection's return on.

    Args:
        now: When it was left.
        asked_at: When its first audio was sent.
        has_frames: Whether any had come by then.
        patience: Seconds without a frame after which its connection is replaced.
        longest: Seconds after which it is replaced whatever comes.

    Attributes:
        has_alarm: Whether somebody looks again when it may be over.
    """

    __slots__ = (
        "_answered_at",
        "_has_frames",
        "_is_slow",
        "_last_chance",
        "_patience",
        "_quiet_since",
        "has_alarm",
    )

    def __init__(
        self, now: float, *, asked_at: float, has_frames: bool, patience: float, longest: float
    ) -> None:
        self._patience = patience
        self._last_chance = now + max(longest, patience)
        self._quiet_since = now
        self._has_frames = has_frames
        self._answered_at = -inf  # when the latest ping was, unless it is under way
        # Where nothing came for so long in its borrower's hands, nothing may ever come:
        # the connection is no gain to the next one.
        self._is_slow = now - asked_at >= patience
        self.has_alarm = False

    def frame_came(self, now: float, *, is_its_own: bool = True) -> None:
        """Record a frame: the service has not stopped.

        Args:
            now: When it came.
            is_its_own: Whether it is of this request, and not of one before it.
        """
        self._quiet_since = now
        self._has_frames |= is_its_own

    def peer_asked(self) -> None:
        """Record that the peer is pinged: what it answered before proves nothing more."""
        self._answered_at = -inf

    def peer_answered(self, now: float) -> None:
        """Record that the peer has answered a ping sent after the interrupt."""
        self._answered_at = now

    def is_stale(self, now: float) -> bool:
        """Whether so long ago that the peer may have vanished since."""
        return now - self._answered_at > PONG_TIMEOUT

    @property
    def give_up_at(self) -> float:
        """When its connection is to be replaced, if nothing comes until then."""
        return min(self._quiet_since + self._patience, self._last_chance)

    def over_at(self, *, is_wanted: bool) -> float:
        """Return when it is as good as over, if nothing comes until then.

        Silence and an answered ping prove nothing before the first frame: the service
        may be about to begin. Then it is over for nobody but a borrower for whom
        there is nothing else.
        """
        is_alive = self._answered_at > -inf
        if is_alive and (self._has_frames or (is_wanted and not self._is_slow)):
            return self._quiet_since + QUIET
        return inf
