"""A driver for whoever knows the visemes already: a text-to-speech engine's timing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from avatarpool.lipsync.face import Face, Mouth, Pace, ease
from avatarpool.lipsync.visemes import VISEMES, blend
from avatarpool.protocol.keyframes import FRAME_MS, FRAMES_PER_SECOND, Keyframe

_PACE = Pace(  # in a keyframe
    opening=0.8, closing=0.65, pressing=1.0, parting=0.8, shaping=0.65
)
_SILENCE = VISEMES.index("sil")
# Lips that meet for a quarter of a keyframe are seen to have met.
_SHORTEST_CLOSURE = 0.25
_MOST_VISEMES = 100_000


@dataclass(frozen=True, slots=True)
class TimedViseme:
    """A viseme from its time until the next time that a timeline names.

    Attributes:
        time_ms: From the start of the request's audio.
        viseme: One of `VISEMES`.
        weight: How much of it shows, 0 to 1; the rest is silence, or what
            else the timeline names for the same time.

    Raises:
        ValueError: There is no such viseme, time or weight.
    """

    time_ms: float
    viseme: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.viseme not in VISEMES:
            raise ValueError(f"{self.viseme!r} is none of the visemes {' '.join(VISEMES)}")
        if not 0.0 <= self.time_ms < math.inf:
            raise ValueError(f"time {self.time_ms!r} ms is not 0 or more")
        if not 0.0 <= self.weight <= 1.0:
            raise ValueError(f"weight {self.weight!r} is not between 0 and 1")


class VisemeDriver:
    """Shows timed visemes, whatever the audio; a `Driver`.

    The audio says only how many keyframes there are. Each is held back until a
    sample beyond its 40 ms, or the end, is known. To have a service animate
    every request by one timeline, give it `partial(VisemeDriver, timeline)`.

    Args:
        timeline: In any order; before its first time there is silence.
        sample_rate: Samples per second.
        seed: Decides blinks and head motion.
    """

    def __init__(self, timeline: Sequence[TimedViseme], sample_rate: int, seed: int = 0) -> None:
        self._shapes = _shapes(timeline)
        self._current = 0
        self._sample_rate = sample_rate
        self._samples = 0
        self._given = 0  # keyframes
        self._mouth = Mouth()
        self._face = Face(seed)

    def feed(self, pcm: bytes) -> list[Keyframe]:
        """Take whole samples; return the keyframes that the audio goes beyond."""
        self._samples += len(pcm) // 2
        return self._keyframes((self._samples - 1) * FRAMES_PER_SECOND // self._sample_rate)

    def finish(self) -> list[Keyframe]:
        """Return the last keyframe, if there was any audio."""
        return self._keyframes(-(-self._samples * FRAMES_PER_SECOND // self._sample_rate))

    def _keyframes(self, until: int) -> list[Keyframe]:
        keyframes = []
        for frame in range(self._given, until):
            target = self._target(frame * FRAME_MS)
            self._mouth = ease(self._mouth, target, _PACE)
            keyframes.append(self._face.pose(self._mouth, min(1.0, 2.0 * target.jaw)))
            self._given = frame + 1
        return keyframes

    def _target(self, start_ms: float) -> Mouth:
        """Return the mean of the shapes in these 40 ms, but the firmest closure."""
        weights = [0.0] * len(VISEMES)
        press = 0.0
        now, end = start_ms, start_ms + FRAME_MS
        while now < end:
            _, shape = self._shapes[self._current]
            is_last = self._current + 1 == len(self._shapes)
            until = end if is_last else min(end, self._shapes[self._current + 1][0])
            share = (until - now) / FRAME_MS
            weights = [w + share * s for w, s in zip(weights, shape, strict=True)]
            if share >= _SHORTEST_CLOSURE:
                press = max(press, blend(shape).press)
            if until < end:
                self._current += 1
            now = until
        mouth = blend(weights)
        return mouth._replace(press=max(mouth.press, press))


def read_timeline(text: str) -> tuple[TimedViseme, ...]:
    """Read the JSON of a timeline: ``[[0, "sil"], [80, "PP"], [160, "aa", 0.8]]``.

    Each entry has a time in milliseconds, a viseme and, unless it is 1, a
    weight.

    Raises:
        ValueError: It is something else; the message says where.
    """
    try:
        entries = json.loads(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    if not isinstance(entries, list) or not 0 < len(entries) <= _MOST_VISEMES:
        raise ValueError(f"a timeline is a list of 1 to {_MOST_VISEMES} visemes")
    return tuple(_timed(number, entry) for number, entry in enumerate(entries, start=1))


def _timed(number: int, entry: object) -> TimedViseme:
    match entry:
        case [int() | float() as time_ms, str() as viseme]:
            weight = 1.0
        case [int() | float() as time_ms, str() as viseme, int() | float() as weight]:
            pass
        case _:
            raise ValueError(f"viseme {number} is not [time in ms, name] or [time, name, weight]")
    try:
        return TimedViseme(time_ms, viseme, weight)
    except ValueError as error:
        raise ValueError(f"viseme {number}: {error}") from error


def _shapes(timeline: Sequence[TimedViseme]) -> list[tuple[float, list[float]]]:
    """Return what shows from when on: a weight for each viseme, 1 in all."""
    silent = [1.0 if i == _SILENCE else 0.0 for i in range(len(VISEMES))]
    shapes = [(0.0, silent)]
    in_order = sorted(timeline, key=lambda timed: timed.time_ms)
    for time_ms, together in groupby(in_order, key=lambda timed: timed.time_ms):
        weights = [0.0] * len(VISEMES)
        for timed in together:
            weights[VISEMES.index(timed.viseme)] += timed.weight
        total = sum(weights)
        if total > 1.0:
            weights = [weight / total for weight in weights]
        else:
            weights[_SILENCE] += 1.0 - total
        shapes.append((time_ms, weights))
    return shapes
