"""A driver whose keyframes carry the audio that they were made from."""

from __future__ import annotations

import struct

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

_MARK = struct.Struct("<3h")


class EchoDriver:
    """One keyframe per 40 ms, whose jaw pose is the first three samples of them.

    Audio with marks in it comes back as frames with the same marks, so that
    whoever sent it can tell whose frames arrived, and whether all of them did.

    Args:
        sample_rate: Samples per second.
        seed: Decides nothing here.
    """

    def __init__(self, sample_rate: int, seed: int) -> None:
        del seed
        self._step = sample_rate // FRAMES_PER_SECOND * 2
        self._rest = b""

    def feed(self, pcm: bytes) -> list[Keyframe]:
        """Take samples; the newest keyframe is held back."""
        self._rest += pcm
        ready = []
        while len(self._rest) > self._step:
            ready.append(self._keyframe())
            self._rest = self._rest[self._step :]
        return ready

    def finish(self) -> list[Keyframe]:
        """Return the last keyframe; of silence, if its samples are too few."""
        return [self._keyframe()] if self._rest else []

    def _keyframe(self) -> Keyframe:
        return Keyframe(jaw_pose=_MARK.unpack(self._rest[: _MARK.size].ljust(_MARK.size, b"\0")))
