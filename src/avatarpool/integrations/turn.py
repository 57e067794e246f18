"""One turn of an agent: what goes out of it, and what is known of it. Pure.

Media time counts a turn's audio, whatever pauses there are between its pieces.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import inf

from avatarpool.exceptions import PoolError
from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.keyframes import FRAME_MS

# Of the face, how much there is before a voice begins, or goes on after a gap. Where audio
# comes at the pace of speech, its face is as much ahead of it from then on, and comes later
# by as much as a service looks ahead (the local one: 110 ms) and as a piece is long. Where
# audio comes faster, this much is there at once.
_CUSHION_MS = 5 * FRAME_MS

_MISSED_MS = 500  # of a face that was not just late at its end

_ROUNDING_MS = 0.5  # of sums of pieces


@dataclass(frozen=True, slots=True)
class Voice:
    """Audio to play after what was given before.

    Attributes:
        turn: The turn's name.
        audio: 16-bit PCM.
        sample_rate: Samples per second.
        channels: Side by side.
        origin: What was pushed along with the piece.
        is_whole: Whether this is the piece as it was pushed, and no part of it.
    """

    turn: str | None
    audio: bytes
    sample_rate: int
    channels: int
    origin: object = None
    is_whole: bool = True

    @property
    def duration_ms(self) -> float:
        """How long it plays."""
        return len(self.audio) / (2 * self.channels) / self.sample_rate * 1000

    def cut(self, after_ms: float) -> tuple[Voice, Voice]:
        """Return it in two parts, cut at a sample."""
        samples = max(1, int(after_ms * self.sample_rate / 1000))
        at = samples * 2 * self.channels
        return (
            replace(self, audio=self.audio[:at], is_whole=False),
            replace(self, audio=self.audio[at:], is_whole=False),
        )


@dataclass(frozen=True, slots=True)
class Face:
    """The face of the voice that is given next.

    Attributes:
        turn: The turn's name.
        start_ms: Media time of the first keyframe; each of them lasts 40 ms.
        frames: The service's, as they came.
    """

    turn: str | None
    start_ms: int
    frames: tuple[AnimationFrame, ...]


@dataclass(frozen=True, slots=True)
class VoiceEnd:
    """A turn's voice and face have been given out, if not heard yet; `origin` as of `Voice`."""

    turn: str | None
    origin: object = None


@dataclass(frozen=True, slots=True)
class Aside:
    """What stands between the pieces and is passed on in its place."""

    payload: object


@dataclass(frozen=True, slots=True)
class FaceLost:
    """A turn goes on without a face or the rest of it, or is over, and its face came too late."""

    turn: str | None
    error: Exception


@dataclass(frozen=True, slots=True)
class Finished:
    """A turn is over: told once of each.

    Attributes:
        turn: The turn's name.
        played_ms: How much of its voice was heard.
        is_interrupted: Whether it was cut off.
        error: Why it had no face, or lost it.
    """

    turn: str | None
    played_ms: int
    is_interrupted: bool
    error: Exception | None


Item = Voice | Face | VoiceEnd | Aside | FaceLost | Finished


class Turn:
    """What is known of one turn; `Playout` alone changes it."""

    __slots__ = (
        "came_at",
        "covered_ms",
        "error",
        "face",
        "given_ms",
        "has_ended",
        "heard_at",
        "is_over",
        "is_protected",
        "last_shown",
        "late_ms",
        "may_have_face",
        "name",
        "voice_ms",
    )

    def __init__(self, name: str | None, *, is_protected: bool) -> None:
        self.name = name
        self.is_protected = is_protected  # whether interruptions pass it by
        self.came_at = -inf  # its latest voice
        self.voice_ms = 0.0  # that came
        self.given_ms = 0.0  # of it
        self.has_ended = False  # its voice
        self.heard_at = inf  # all of it
        self.is_over = False  # whether its end was told
        self.may_have_face = False  # more of it than came
        self.covered_ms = 0  # of media time, by the face that came
        # That was not given: from when, until when, and what.
        self.face: deque[tuple[int, int, AnimationFrame]] = deque()
        self.last_shown: AnimationFrame | None = None  # that was
        self.late_ms = 0  # of it, that could not be
        self.error: Exception | None = None

    def __repr__(self) -> str:
        return f"<Turn {self.name} {self.given_ms:.0f} of {self.voice_ms:.0f} ms given>"

    def needs_face(self, piece: Voice, *, is_dry: bool = False) -> bool:
        """Whether its next voice had better wait for its face.

        Args:
            piece: Of the voice.
            is_dry: Whether the listener has nothing to hear meanwhile.
        """
        until_ms = self.given_ms + (_CUSHION_MS if is_dry else piece.duration_ms)
        if self.has_ended:
            until_ms = min(until_ms, self.voice_ms)
        return self.may_have_face and self.covered_ms + _ROUNDING_MS < until_ms

    def face_until(self, until_ms: float) -> tuple[Face, ...]:
        """Take what begins to be shown by a media time; what is over by now is dropped."""
        start_ms = 0
        frames: list[AnimationFrame] = []
        while self.face and self.face[0][0] + FRAME_MS <= until_ms + _ROUNDING_MS:
            begins_ms, ends_ms, frame = self.face.popleft()
            if ends_ms > self.given_ms + _ROUNDING_MS:
                start_ms = start_ms if frames else begins_ms
                frames.append(frame)
            else:
                self.late_ms += ends_ms - begins_ms
        if not frames:
            return ()
        self.last_shown = frames[-1]
        return (Face(self.name, start_ms, tuple(frames)),)

    def last_face(self) -> tuple[Face, ...]:
        """Take what is left of the face; who was shown some of it learns of its end."""
        left = self.face_until(inf)
        last = self.last_shown
        if last is None or last.end:
            return left
        end = AnimationFrame(last.req_id, True, b"", last.connection_id, last.avatar_id)
        if left:
            return (replace(left[0], frames=(*left[0].frames, end)),)
        return (Face(self.name, round(self.given_ms), (end,)),)

    def missed_face(self) -> tuple[FaceLost, ...]:
        """Say of a turn that was heard if its face has not come, or not in time."""
        missed_ms = _MISSED_MS if self.covered_ms else FRAME_MS
        if self.may_have_face and self.covered_ms + missed_ms <= self.voice_ms:
            self.error = PoolError("the voice was over before its face came")
        elif self.error is None and self.late_ms > self.voice_ms / 2:
            self.error = PoolError(
                f"most of its face came too late: {self.late_ms} of {self.voice_ms:.0f} ms"
            )
        else:
            return ()
        return (FaceLost(self.name, self.error),)

    def finished(self, now: float, played_ms: float) -> Finished:
        """Return what is told of its end."""
        self.is_over = True
        self.may_have_face = False
        return Finished(self.name, round(played_ms), self.heard_at > now, self.error)
