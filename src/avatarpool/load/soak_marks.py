"""Requests whose frames can be told apart: audio with marks, and the judge of its answer. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from avatarpool.load.soak_report import Violation
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.protocol.messages import AnimationFrame

SAMPLE_RATE = 16000
MAX_FRAMES = 2**15 - 1
"""Keyframes of one request: their numbers are samples of 16 bits."""

_MARK = struct.Struct("<3h")
_REST = bytes(SAMPLE_RATE // FRAMES_PER_SECOND * 2 - _MARK.size)


@dataclass(frozen=True, slots=True)
class MarkedRequest:
    """A request for an echo: each 40 ms of its audio say whose they are and which.

    The service's driver must be one that gives the first three samples of each
    40 ms back as the jaw pose of their keyframe.

    Attributes:
        number: The request's own, below 2**30.
        frames: Its length in keyframes.
    """

    number: int
    frames: int

    def audio(self) -> bytes:
        """The whole request's audio: 16 kHz, mono, s16le."""
        return b"".join(_MARK.pack(*mark) + _REST for mark in self._marks())

    def judge(
        self, answer: Sequence[AnimationFrame], *, is_whole: bool, may_have_gaps: bool = False
    ) -> tuple[Violation, str] | None:
        """Say what is wrong with an answer; None: nothing.

        Args:
            answer: The frames that arrived.
            is_whole: Whether all are to be there, or the first ones at least.
            may_have_gaps: Whether the service has left frames out, which nobody
                can see who does not know how many there are.
        """
        indices = []
        for mark in (tuple(map(int, k.jaw_pose)) for frame in answer for k in frame.keyframes):
            if mark[:-1] != self._owner:
                other = f"request {mark[0] << 15 | mark[1]}" if len(mark) == 3 else "nobody"
                return Violation.MIXED, f"request {self.number} was given a frame of {other}"
            indices.append(mark[-1])
        expected = list(range(1, (self.frames if is_whole else len(indices)) + 1))
        if may_have_gaps:
            expected = sorted(set(indices) & set(range(1, self.frames + 1)))
        if indices != expected:
            return Violation.WRONG_FRAMES, (
                f"request {self.number} of {self.frames} frames was given {indices[:20]}"
            )
        return None

    @property
    def _owner(self) -> tuple[int, int]:
        return self.number >> 15, self.number & 0x7FFF

    def _marks(self) -> list[tuple[int, int, int]]:
        return [(*self._owner, index) for index in range(1, self.frames + 1)]
