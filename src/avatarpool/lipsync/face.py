"""From how open the mouth is to a whole face: lids, gaze, head, expression.

FLAME's own expression basis is statistical and names nothing, so the first
coefficients are the local service's own: `avatarpool.blendshapes.local` names them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from avatarpool.blendshapes.local import COEFFICIENTS, JAW_RADIANS
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

EXPRESSIONS = 100
JAW_STEP_RADIANS = 0.1
"""The jaw turns by no more from one keyframe to the next: 2.5 rad/s."""

# A blink, frame by frame (40 ms each): 0 open, 1 closed.
_BLINK = (0.5, 1.0, 1.0, 0.7, 0.3)
_BLINK_GAP_SHAPE = 3.0
_BLINK_GAP_SCALE = 1.3
_SHORTEST_BLINK_GAP = 0.3

_SWAY_HERTZ = (0.13, 0.21, 0.29, 0.11, 0.17, 0.37)
_ORIGIN = (0.0, 0.0, 0.0)
_REST = (0.0,) * (EXPRESSIONS - len(COEFFICIENTS))


class Mouth(NamedTuple):
    """The mouth in one frame, every value 0 to 1 but `spread`, -1 to 1."""

    jaw: float = 0.0
    spread: float = 0.0
    press: float = 0.0
    roll: float = 0.0
    funnel: float = 0.0
    raised: float = 0.0


# What the basis has of a mouth, in its order.
_in_basis = itemgetter(*map(Mouth._fields.index, COEFFICIENTS))


@dataclass(frozen=True, slots=True)
class Pace:
    """Share of the way to its target that a mouth goes in one step.

    Attributes:
        opening: Of the jaw.
        closing: Of the jaw.
        pressing: Of lips that come together.
        parting: Of lips that let go.
        shaping: Of all else.
    """

    opening: float
    closing: float
    pressing: float
    parting: float
    shaping: float


def ease(now: Mouth, target: Mouth, pace: Pace) -> Mouth:
    """Return the mouth one step on its way to the target."""
    jaw_share = pace.opening if target.jaw > now.jaw else pace.closing
    press_share = pace.pressing if target.press > now.press else pace.parting
    return Mouth(
        jaw=now.jaw + (target.jaw - now.jaw) * jaw_share,
        spread=now.spread + (target.spread - now.spread) * pace.shaping,
        press=now.press + (target.press - now.press) * press_share,
        roll=now.roll + (target.roll - now.roll) * pace.shaping,
        funnel=now.funnel + (target.funnel - now.funnel) * pace.shaping,
        raised=now.raised + (target.raised - now.raised) * pace.shaping,
    )


def ramp(value: float, low: float, high: float) -> float:
    """Return 0 up to the first bound, 1 from the second on, and straight between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


class Face:
    """Poses the face, one frame of 40 ms after the other.

    Args:
        seed: Decides when it blinks and how it sways.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # motion, not secrets
        self._phases = [self._random.uniform(0.0, math.tau) for _ in _SWAY_HERTZ]
        self._frame = 0
        self._blink_step = len(_BLINK)  # past its end: the eyes are open
        self._next_blink = self._random.uniform(1.0, 4.0)
        self._head = _ORIGIN
        self._jaw = 0.0

    def pose(self, mouth: Mouth, loudness: float) -> Keyframe:
        """Return the next frame.

        Args:
            mouth: The mouth in it.
            loudness: 0 to 1; the head nods with it.
        """
        time = self._frame / FRAMES_PER_SECOND
        self._frame += 1
        lid = self._lid(time)
        sway = [
            math.sin(math.tau * hertz * time + phase)
            for hertz, phase in zip(_SWAY_HERTZ, self._phases, strict=True)
        ]
        wanted = (
            0.020 * sway[0] + 0.035 * loudness * sway[5],
            0.030 * sway[1] + 0.010 * sway[3],
            0.012 * sway[2],
        )
        # Every request starts from rest and eases into its sway.
        x, y, z = (a + (b - a) * 0.15 for a, b in zip(self._head, wanted, strict=True))
        self._head = (x, y, z)
        # Pressed lips hold the jaw, however loud the voice behind them.
        jaw = JAW_RADIANS * mouth.jaw * (1.0 - 0.6 * mouth.press)
        step = min(JAW_STEP_RADIANS, max(-JAW_STEP_RADIANS, jaw - self._jaw))
        self._jaw += step
        gaze = (0.02 * sway[4], 0.03 * sway[3], 0.0)
        return Keyframe(
            translation=_ORIGIN,
            rotation=self._head,
            neck_pose=(0.4 * x, 0.4 * y, 0.4 * z),
            jaw_pose=(self._jaw, 0.0, 0.0),
            eye_pose=gaze + gaze,
            eye_lid=(lid, lid),
            expression=(*_in_basis(mouth), *_REST),
        )

    def _lid(self, time: float) -> float:
        if self._blink_step >= len(_BLINK):
            if time < self._next_blink:
                return 0.0
            self._blink_step = 0
        lid = _BLINK[self._blink_step]
        self._blink_step += 1
        if self._blink_step == len(_BLINK):
            gap = self._random.gammavariate(_BLINK_GAP_SHAPE, _BLINK_GAP_SCALE)
            self._next_blink = time + _SHORTEST_BLINK_GAP + gap
        return lid
