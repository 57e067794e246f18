"""A driver whose keyframes carry the audio they were made from."""

from __future__ import annotations

import struct

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe


class EchoDriver:
    """One keyframe per 40 ms; its jaw is the first sample of those 40 ms."""

    def __init__(self, sample_rate: int, seed: int) -> None:
        self._step = sample_rate // FRAMES_PER_SECOND * 2
        self._rest = b""

    def feed(self, pcm: bytes) -> list[Keyframe]:
        self._rest += pcm
        ready = []
        while len(self._rest) > self._step:
            ready.append(self._keyframe())
            self._rest = self._rest[self._step :]
        return ready

    def finish(self) -> list[Keyframe]:
        return [self._keyframe()] if self._rest else []

    def _keyframe(self) -> Keyframe:
        return Keyframe(jaw_pose=struct.unpack_from("<h", self._rest))


def marked_audio(mark: int, frames: int, sample_rate: int = 16000) -> bytes:
    """Audio of so many keyframes, each sample of which is the mark."""
    return struct.pack("<h", mark) * (sample_rate // FRAMES_PER_SECOND * frames)


def marks(frames: list[object]) -> list[int]:
    """The marks that frames carry."""
    return [int(k.jaw_pose[0]) for frame in frames for k in frame.keyframes]  # type: ignore[attr-defined]
