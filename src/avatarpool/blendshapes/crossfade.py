"""Poses of different origin, joined without a jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import zip_longest
from math import isfinite

from avatarpool.blendshapes.basis import unit
from avatarpool.blendshapes.idle import is_time, smooth
from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.keyframes import Keyframe

_POSES = tuple(field.name for field in fields(Keyframe) if field.name != "time")


class Crossfade:
    """Shows one source of poses after another: idle motion, speech, the next speech.

    Where the source changes, the difference between what was shown and what comes is
    kept, and fades: shown = pose + difference x (1 - s(t / seconds)), with s(u) = 3u² -
    2u³ and t the time since the change. So nothing ever jumps, a change amid a
    change included, and nothing is held back: the new source moves at once.
    Speech that begins with a shut mouth, as after idling, has its lips unchanged.
    While it fades, values that are infinite or no numbers count as 0; else a keyframe
    is shown as it is.

    Args:
        seconds: How long a difference takes to fade.

    Raises:
        ConfigurationError: That is no time.
    """

    def __init__(self, seconds: float = 0.3) -> None:
        if not (is_time(seconds) and seconds > 0):
            problem = f"a fade of {seconds!r:.60} s is no time"
            raise ConfigurationError("poses cannot be joined", [problem])
        self._seconds = seconds
        self._shown: Keyframe | None = None
        self._source: object = None
        self._difference: Keyframe | None = None
        self._changed = 0.0  # when the source did

    def pose(self, now: float, keyframe: Keyframe, source: object) -> Keyframe:
        """Return what to show, under the keyframe's own time.

        Args:
            now: Seconds of a clock that goes on from one source to the next.
            keyframe: The source's pose.
            source: Which it is: the request's id, say, or ``"idle"``.
        """
        if self._shown is not None and source != self._source:
            self._difference = _joined(self._shown, keyframe, lambda shown, new: shown - new)
            self._changed = now
        self._source = source
        share = 1.0 - smooth((now - self._changed) / self._seconds)
        if self._difference is not None and share > 0:
            keyframe = _joined(keyframe, self._difference, lambda new, lead: new + share * lead)
            keyframe = replace(keyframe, eye_lid=tuple(map(unit, keyframe.eye_lid)))
        else:
            self._difference = None
        self._shown = keyframe
        return keyframe


def _joined(one: Keyframe, other: Keyframe, how: Callable[[float, float], float]) -> Keyframe:
    """Join all values of two keyframes; those that are not there, or not finite, are 0.

    The time is the first's.
    """
    values = {
        name: tuple(
            how(a if isfinite(a) else 0.0, b if isfinite(b) else 0.0)
            for a, b in zip_longest(getattr(one, name), getattr(other, name), fillvalue=0.0)
        )
        for name in _POSES
    }
    return Keyframe(**values, time=one.time)
