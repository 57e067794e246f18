"""Audio with marks, and the marks of the frames that the echo driver makes of it."""

from __future__ import annotations

import struct

from avatarpool.lipsync import EchoDriver
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND

__all__ = ["EchoDriver", "marked_audio", "marks"]


def marked_audio(mark: int, frames: int, sample_rate: int = 16000) -> bytes:
    """Audio of so many keyframes, each sample of which is the mark."""
    return struct.pack("<h", mark) * (sample_rate // FRAMES_PER_SECOND * frames)


def marks(frames: list[object]) -> list[int]:
    """The marks that frames carry."""
    return [int(k.jaw_pose[0]) for frame in frames for k in frame.keyframes]  # type: ignore[attr-defined]
