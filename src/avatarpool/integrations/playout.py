"""The turns of one agent: what goes out, and when; voice and face in step, one end a turn. Pure.

All times but media times are seconds of one clock, which the caller has.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import inf

from avatarpool.integrations.turn import (
    Aside,
    FaceLost,
    Finished,
    Item,
    Turn,
    Voice,
    VoiceEnd,
)
from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.keyframes import FRAME_MS

# Voice that the listener has yet to hear when more is given, at the least: what waits for its
# face no longer leaves no gap, on a busy machine either.
_LEAD = 0.06

# Of voice that goes without its face: so little that a late face comes in soon.
_SLICE_MS = 100.0


@dataclass(frozen=True, slots=True)
class _Held:
    """Something that waits for its time, and the turn that it belongs to."""

    item: Voice | VoiceEnd | Aside
    turn: Turn | None
    is_protected: bool
    came_at: float = -inf  # of an end: its last voice


class Playout:
    """The turns of one agent: what comes goes in, and `take` gives what is to go out.

    Voice waits for its face: for as long as the listener still has something to hear, and for
    ``face_wait`` at most since it came where there is nothing, as at a turn's start and after
    a gap. Then it goes alone, and the part of the face that is late is dropped. So it is never
    heard later by more than ``face_wait`` than it would be alone. Nothing overtakes anything.

    Args:
        face_wait: Seconds.

    Attributes:
        heard_until: When the listener will have heard all voice that was given: an estimate,
            as if each piece were played when it is given. Who knows better may set it.
    """

    def __init__(self, face_wait: float) -> None:
        self._face_wait = face_wait
        self._turns: deque[Turn] = deque()  # that are not finished
        self._held: deque[_Held] = deque()
        self._told: deque[FaceLost | Finished] = deque()  # which waits for nothing
        self._open: Turn | None = None  # whose voice comes
        self.heard_until = 0.0

    def __repr__(self) -> str:
        return f"<Playout {len(self._turns)} turns, {len(self._held)} held>"

    @property
    def open(self) -> Turn | None:
        """The turn whose voice comes now."""
        return self._open

    @property
    def is_idle(self) -> bool:
        """Whether all that came was given out, and all turns are finished."""
        return not (self._turns or self._held or self._told)

    # --- what comes -----------------------------------------------------------------------

    def begin(self, name: str | None = None, *, is_protected: bool = False) -> Turn:
        """Begin a turn; one that is open has ended by that."""
        self.end()
        self._open = turn = Turn(name, is_protected=is_protected)
        self._turns.append(turn)
        return turn

    def voice(self, piece: Voice, now: float) -> None:
        """Take a piece of the open turn's voice: whole samples of each channel."""
        turn = self._open
        assert turn is not None, "a turn was begun"
        if not turn.voice_ms:
            turn.may_have_face = True
        turn.voice_ms += piece.duration_ms
        turn.came_at = now
        self._held.append(_Held(piece, turn, turn.is_protected, now))

    def end(self, origin: object = None) -> None:
        """The open turn's voice is complete; without an open one nothing happens."""
        turn, self._open = self._open, None
        if turn is not None:
            turn.has_ended = True
            end = VoiceEnd(turn.name, origin)
            self._held.append(_Held(end, turn, turn.is_protected, turn.came_at))

    def aside(self, payload: object, *, is_protected: bool = False) -> None:
        """Take what is to keep its place among the pieces.

        Args:
            payload: Anything.
            is_protected: Whether interruptions pass it by.
        """
        self._held.append(_Held(Aside(payload), None, is_protected))

    def face(self, turn: Turn, frame: AnimationFrame, keyframes: int) -> None:
        """Take a frame of a turn's face, which has so many keyframes."""
        if turn.may_have_face:
            ends_ms = turn.covered_ms + max(1, keyframes) * FRAME_MS
            turn.face.append((turn.covered_ms, ends_ms, frame))
            turn.covered_ms += keyframes * FRAME_MS

    def face_over(self, turn: Turn, error: Exception | None = None) -> None:
        """No more of a turn's face comes; an error is why that is too early."""
        if turn.may_have_face:
            turn.may_have_face = False
            if error is not None:
                turn.error = error
                self._told.append(FaceLost(turn.name, error))

    def interrupt(self, now: float, *, everything: bool = False) -> None:
        """Cut off all turns, and drop what is held.

        Args:
            now: When.
            everything: Whether what is protected ends as well.
        """
        finished: list[Finished] = []
        unheard_ms = max(0.0, self.heard_until - now) * 1000
        is_heard_on = False
        for turn in reversed(self._turns):  # of what was given, the latest is heard last
            lost_ms = min(unheard_ms, turn.given_ms)
            unheard_ms -= lost_ms
            if everything or not turn.is_protected:
                finished.append(turn.finished(now, turn.given_ms - lost_ms))
            else:
                is_heard_on = is_heard_on or lost_ms > 0
        self._turns = deque(turn for turn in self._turns if not turn.is_over)
        if self._open is not None and self._open.is_over:
            self._open = None
        self._held = deque(each for each in self._held if each.is_protected and not everything)
        self._told.extend(reversed(finished))
        if not is_heard_on:
            self.heard_until = min(self.heard_until, now)

    # --- what goes out --------------------------------------------------------------------

    def take(self, now: float) -> tuple[Item, ...]:
        """Return what goes out next, all of it at once; nothing, if nothing does yet."""
        if self._told:
            return (self._told.popleft(),)
        if self._turns and self._turns[0].heard_at <= now:
            turn = self._turns.popleft()
            return (*turn.missed_face(), turn.finished(now, turn.given_ms))
        if self._held and self._goes_at(self._held[0], now) <= now:
            held = self._held.popleft()
            match held.item, held.turn:
                case Voice() as piece, Turn() as turn:
                    return self._give(held, piece, turn, now)
                case VoiceEnd() as end, Turn() as turn:
                    turn.heard_at = max(self.heard_until, now)
                    return (*turn.last_face(), end)
                case item, _:
                    return (item,)
        return ()

    def next_at(self, now: float) -> float:
        """Return when `take` has something, unless more comes before; long ago if it has now."""
        if self._told:
            return -inf
        heard_at = self._turns[0].heard_at if self._turns else inf
        return min(heard_at, self._goes_at(self._held[0], now) if self._held else inf)

    def _goes_at(self, held: _Held, now: float) -> float:
        """When something goes, unless its face comes before."""
        turn, item = held.turn, held.item
        if turn is None:
            return -inf
        if isinstance(item, Voice):
            is_waiting = turn.needs_face(item, is_dry=self.heard_until <= now)
        else:  # the last frame may say no more than that it is the last
            is_waiting = turn.may_have_face
        if not is_waiting:
            return -inf
        # Of voice that comes at the pace of speech, what waited is heard by then. That a piece
        # of it was a little late is no reason for a gap.
        latest = held.came_at + self._face_wait
        return self.heard_until - _LEAD if self.heard_until + _LEAD >= latest else latest

    def _give(self, held: _Held, piece: Voice, turn: Turn, now: float) -> tuple[Item, ...]:
        if turn.needs_face(piece):  # its time is over
            part_ms = max(turn.covered_ms - turn.given_ms, _SLICE_MS)
            if part_ms < piece.duration_ms:
                piece, rest = piece.cut(part_ms)
                self._held.appendleft(replace(held, item=rest))
        until_ms = turn.given_ms + piece.duration_ms
        face = turn.face_until(until_ms)
        turn.given_ms = until_ms
        self.heard_until = max(self.heard_until, now) + piece.duration_ms / 1000
        return (*face, piece)
