"""What a face does while nobody speaks: it blinks, breathes and sways a little."""

from __future__ import annotations

import math
from numbers import Real

from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.keyframes import Keyframe

_CELL = 4.0  # seconds in which there is one blink
_BLINK_FROM, _BLINK_SPREAD = 0.3, 3.2  # where in them it begins
_CLOSING, _OPENING = 0.08, 0.16  # seconds

_BREATHS_HERTZ = 0.25
_BREATH_RADIANS = 0.006
_BREATH_METRES = 0.0015

# Radians and two frequencies of each of the head's angles: x, y, z.
_SWAY = ((0.012, 0.13, 0.29), (0.022, 0.11, 0.23), (0.010, 0.17, 0.37))
_GAZE = ((0.015, 0.19, 0.41), (0.03, 0.07, 0.31))

_WORD = 0xFFFFFFFF
_MOST_SECONDS = 1e12  # beyond it, a float tells no blink from the next


def idle(seed: int, seconds: float) -> Keyframe:
    """Return the idle pose at a time; the mouth is at rest, and its basis does not matter.

    The same seed and time give the same pose, in any order. Motion is continuous: poses
    a millisecond apart are all but equal. `Crossfade` joins it to speech.

    In each 4 s there is one blink, that begins 0.3 to 3.5 s into them; lids close
    within 80 ms and open within 160. Head and eyes follow two slow sines for each
    angle, breath one of 0.25 Hz (0.006 rad of the neck, 1.5 mm up and down).

    Args:
        seed: Tells one face from another: any whole number.
        seconds: Any time of up to 1e12 s before or after 0, that of a clock for one.

    Raises:
        ConfigurationError: They are none of these.
    """
    problems = []
    if not isinstance(seed, int):
        problems.append(f"seed {seed!r:.60} is no whole number")
    if not is_time(seconds):
        problems.append(f"seconds {seconds!r:.60} is no time")
    if problems:
        raise ConfigurationError("a face cannot idle", problems)
    lid = _lid(seed, seconds)
    breath = math.sin(math.tau * (_BREATHS_HERTZ * seconds + noise(seed, -1)))
    x, y, z = (_drift(seed, number, seconds, of) for number, of in enumerate(_SWAY, start=-10))
    gaze = [_drift(seed, number, seconds, of) for number, of in enumerate(_GAZE, start=-20)]
    return Keyframe(
        translation=(0.0, _BREATH_METRES * breath, 0.0),
        rotation=(x, y, z),
        neck_pose=(0.4 * x - _BREATH_RADIANS * breath, 0.4 * y, 0.4 * z),
        jaw_pose=(0.0, 0.0, 0.0),
        eye_pose=(*gaze, 0.0, *gaze, 0.0),
        eye_lid=(lid, lid),
        time=seconds,
    )


def noise(seed: int, number: int) -> float:
    """Return a number of 0 to 1 that a seed and a number decide.

    32-bit arithmetic, so that other languages can say the same: h = seed xor
    0x9E3779B1 number; twice h = (h xor h >> 16) 0x45D9F3B, once h = h xor h >> 16.
    """
    h = (seed ^ 0x9E3779B1 * number) & _WORD
    for _ in range(2):
        h = (h ^ h >> 16) * 0x45D9F3B & _WORD
    return (h ^ h >> 16) / (_WORD + 1)


def _lid(seed: int, seconds: float) -> float:
    cell = math.floor(seconds / _CELL)
    into = seconds - cell * _CELL - _BLINK_FROM - _BLINK_SPREAD * noise(seed, cell)
    if into < 0 or into >= _CLOSING + _OPENING:
        return 0.0
    share = into / _CLOSING if into < _CLOSING else 1 - (into - _CLOSING) / _OPENING
    return smooth(share)


def _drift(seed: int, number: int, seconds: float, sway: tuple[float, float, float]) -> float:
    """Two sines of other phases; the fast one has a third of the slow one's size."""
    size, slow, fast = sway
    first = math.sin(math.tau * (slow * seconds + noise(seed, 2 * number)))
    second = math.sin(math.tau * (fast * seconds + noise(seed, 2 * number + 1)))
    return size * (0.75 * first + 0.25 * second)


def smooth(share: float) -> float:
    """Go from 0 to 1 without an edge at either end: 3u² - 2u³, u kept in 0 to 1."""
    u = min(1.0, max(0.0, share))
    return u * u * (3 - 2 * u)


def is_time(value: object) -> bool:
    """Whether a value can be told as seconds, within reason: one of numpy's can, too."""
    return isinstance(value, Real) and bool(abs(value) <= _MOST_SECONDS)  # type: ignore[operator]
