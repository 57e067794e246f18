"""Requests whose frames can be told apart: audio with marks, and the judge of its answer. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE
from avatarpool.soak.tally import Violation

NUMBERS = 2**26
"""Requests that can be told apart."""

_SAMPLES = DEFAULT_SAMPLE_RATE // FRAMES_PER_SECOND  # of a keyframe
_BITS = 13  # of a sample, below the two that say which part of the mark it is
_REST = 2**_BITS - 1
_MARK = struct.Struct("<3h")


@dataclass(frozen=True, slots=True)
class MarkedRequest:
    """A request for an echo: any three samples of its audio say whose they are and where.

    The service's driver must be one that gives the first three samples of each
    40 ms back as the jaw pose of their keyframe.

    Attributes:
        number: The request's own, below `NUMBERS`.
        frames: Its length in keyframes, below 8,192.
    """

    number: int
    frames: int

    def audio(self) -> bytes:
        """The whole request's audio: mono, s16le."""
        # Two samples of the number and one of the keyframe's, over and over: also where
        # a hole has shifted the audio, the mark can be read.
        pieces = []
        for index in range(self.frames):
            shift = 2 * (_SAMPLES * index % 3)
            mark = _MARK.pack(
                self.number >> _BITS, 1 << _BITS | self.number & _REST, 2 << _BITS | index
            )
            pieces.append((mark * (_SAMPLES // 3 + 2))[shift : shift + 2 * _SAMPLES])
        return b"".join(pieces)

    def judge(
        self, answer: Sequence[AnimationFrame], *, is_whole: bool
    ) -> tuple[Violation, str] | None:
        """Say what is wrong with an answer; None: nothing.

        Args:
            answer: The frames that arrived.
            is_whole: Whether all are to be there, or the first ones at least.
        """
        indices = []
        for mark in (k.jaw_pose for frame in answer for k in frame.keyframes):
            read = _read(mark)
            if read is None or read[0] != self.number:
                other = f"request {read[0]}" if read else "nobody"
                return Violation.MIXED, f"request {self.number} was given a frame of {other}"
            indices.append(read[1])
        expected = list(range(self.frames if is_whole else len(indices)))
        if indices != expected:
            return Violation.WRONG_FRAMES, (
                f"request {self.number} of {self.frames} frames was given {indices[:20]}"
            )
        return None


def _read(mark: Sequence[float]) -> tuple[int, int] | None:
    """Return the number of the request and of the keyframe; None: it is no mark."""
    parts = {int(sample) >> _BITS: int(sample) & _REST for sample in mark}
    if parts.keys() != {0, 1, 2}:
        return None
    return parts[0] << _BITS | parts[1], parts[2]
