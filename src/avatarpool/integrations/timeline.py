"""What a face looks like at any time: what it says, and idle motion between. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from avatarpool.blendshapes import Crossfade, idle
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

_FRAME = 1 / FRAMES_PER_SECOND
_SEED = 1  # of the idle motion: all look alike
_MOST = 60 * FRAMES_PER_SECOND  # of what is to come: voice is not given out so far ahead


class Timeline:
    """Keyframes by the time at which they are heard, on a clock that the caller has."""

    def __init__(self) -> None:
        self._coming: deque[tuple[float, Keyframe]] = deque(maxlen=_MOST)
        self._crossfade = Crossfade()

    def add(self, at: float, keyframes: Iterable[Keyframe]) -> None:
        """Take what is seen from a time on, behind what was taken before; each for 40 ms."""
        for number, keyframe in enumerate(keyframes):
            self._coming.append((at + number * _FRAME, keyframe))

    def clear(self) -> None:
        """Forget what was to come."""
        self._coming.clear()

    def pose(self, at: float) -> Keyframe:
        """Return what is seen at a time; times only grow."""
        while self._coming and self._coming[0][0] + _FRAME <= at:
            self._coming.popleft()
        if self._coming and self._coming[0][0] <= at:
            return self._crossfade.pose(at, self._coming[0][1], "speech")
        return self._crossfade.pose(at, idle(_SEED, at), "idle")
