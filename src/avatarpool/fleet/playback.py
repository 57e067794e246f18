"""What a room plays, request by request, each of which ends once. Pure.

A service tells of playback with `PlaybackState`, with frames that carry nothing but their
``end``, with both, more than once, or not at all; and it may die before it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from avatarpool.pool.events import Playback
from avatarpool.protocol.messages import AnimationFrame, Interrupt, PlaybackState, ServerError

MOST_OPEN = 64
"""Requests whose playback is followed; of an older one that has not ended nothing is known."""

INTERRUPT_TIMEOUT = 2.0
"""Seconds in which a service says that it has stopped; then it is taken for that."""

EXPLICIT = "explicit"
"""The vendor's reason for what an interrupt has stopped."""

_MAX_REASON = 200  # characters of what a service gives for a reason


@dataclass(frozen=True, slots=True)
class Played:
    """How the playback of one request ended.

    Attributes:
        req_id: The request.
        is_interrupted: Whether it was cut short.
        played_ms: Milliseconds of it that were played, as far as the service has told; None:
            it did not. Where it was not interrupted, all of it was played.
        reason: Why it was cut short.
    """

    req_id: str
    is_interrupted: bool
    played_ms: int | None
    reason: str = ""


@dataclass(slots=True)
class _Open:
    """A playback that has not ended."""

    connection_id: str
    played_ms: int | None = None
    due: float = inf  # when it is taken for interrupted


class Playbacks:
    """Follows the playback of a room's requests.

    Each method returns the playbacks that have ended by it: each request's once, however
    often and in whatever order it is told.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def __repr__(self) -> str:
        return f"<Playbacks {len(self._open)} open>"

    def __contains__(self, req_id: object) -> bool:
        """Whether a request has begun, and its playback has not ended."""
        return req_id in self._open

    @property
    def next_due(self) -> float:
        """When to ask `overdue`."""
        return min((each.due for each in self._open.values()), default=inf)

    def began(self, req_id: str, connection_id: str) -> list[Played]:
        """A request's first audio is about to be sent."""
        self._open[req_id] = _Open(connection_id)
        if len(self._open) <= MOST_OPEN:
            return []
        return [self._end(next(iter(self._open)), "the service did not tell")]

    def told(self, playback: Playback, now: float) -> list[Played]:
        """The service told something of a playback, or was told to end one."""
        playing = self._open.get(playback.req_id)
        if playing is None:
            return []
        match playback:
            case Interrupt():
                playing.due = min(playing.due, now + INTERRUPT_TIMEOUT)
            case AnimationFrame():
                # After an interrupt it may be the answer to that, and says nothing of how much.
                reason = EXPLICIT if playing.due < inf else ""
                return [self._end(playback.req_id, reason)] if playback.end else []
            case PlaybackState():
                is_cut = playback.state == "interrupted"
                if playback.played_ms > 0 or is_cut:  # 0 is what it says where it does not know
                    playing.played_ms = max(playing.played_ms or 0, playback.played_ms)
                if is_cut:
                    return [self._end(playback.req_id, playback.reason or EXPLICIT)]
                if playback.state == "ended":
                    return [self._end(playback.req_id)]
            case ServerError():
                return [self._end(playback.req_id, playback.message or "it failed")]
        return []

    def overdue(self, now: float) -> list[Played]:
        """Take those for interrupted of whose interrupt the service has said nothing."""
        due = [req_id for req_id, playing in self._open.items() if playing.due <= now]
        return [self._end(req_id, EXPLICIT) for req_id in due]

    def lost(self, connection_id: str, reason: str) -> list[Played]:
        """A session is gone, and with it what it played."""
        gone = [r for r, playing in self._open.items() if playing.connection_id == connection_id]
        return [self._end(req_id, reason) for req_id in gone]

    def closed(self, reason: str) -> list[Played]:
        """The room is closed."""
        return [self._end(req_id, reason) for req_id in list(self._open)]

    def _end(self, req_id: str, reason: str = "") -> Played:
        playing = self._open.pop(req_id)
        return Played(req_id, bool(reason), playing.played_ms, reason[:_MAX_REASON])
