"""ARKit's blend shapes of a keyframe."""

from __future__ import annotations

from avatarpool.blendshapes.basis import JAW_OPEN, Basis, unit
from avatarpool.blendshapes.names import ARKIT, ROTATIONS
from avatarpool.blendshapes.rotation import angles, product, quaternion
from avatarpool.protocol.keyframes import Keyframe

FULL_GAZE = 0.6
"""Radians by which an eye turns for a look of 1: some 35 degrees, which is as far as eyes go."""

_FULL_SIDE = 0.2  # radians by which the jaw turns aside for a jawLeft of 1

_ORDER = (*ARKIT, *ROTATIONS)


def arkit(keyframe: Keyframe, basis: Basis | None = None) -> dict[str, float]:
    """Return ARKit's weights in a keyframe, and the rotations of head and eyes.

    Values that the keyframe lacks count as 0.

    Args:
        keyframe: Any service's.
        basis: Whose expression coefficients these are. Without one, jaw, lids, eyes
            and head are there, and whatever else cannot be known is absent, not 0.

    Returns:
        Of ARKit's 52 names those that are known, 0 to 1, in the order of `ARKIT`; then
        yaw, pitch and roll of head and eyes in radians (`ROTATIONS`): to the person's
        left, down, and the top of the head to the person's right are positive. The
        head's are those of head and neck together, an eye's are relative to the head.
    """
    known = _measured(keyframe, basis)
    if basis is not None:
        known |= {name: shape.weight(keyframe) for name, shape in basis.shapes.items()}
    return {name: known[name] for name in _ORDER if name in known}


def jaw_open(keyframe: Keyframe, basis: Basis | None = None) -> float:
    """Return how far the jaw is open, 0 to 1."""
    angle = keyframe.jaw_pose[0] if keyframe.jaw_pose else 0.0
    return unit(angle / (JAW_OPEN if basis is None else basis.jaw_open))


def _measured(keyframe: Keyframe, basis: Basis | None) -> dict[str, float]:
    side = keyframe.jaw_pose[1] / _FULL_SIDE if len(keyframe.jaw_pose) > 1 else 0.0
    head = product(quaternion(keyframe.rotation), quaternion(keyframe.neck_pose))
    left = angles(quaternion(keyframe.eye_pose[:3]))
    right = angles(quaternion(keyframe.eye_pose[3:6]))
    lids = (*keyframe.eye_lid[:2], 0.0, 0.0)
    return {
        "jawOpen": jaw_open(keyframe, basis),
        "jawLeft": unit(side),
        "jawRight": unit(-side),
        "eyeBlinkLeft": unit(lids[0]),
        "eyeBlinkRight": unit(lids[1]),
        "eyeLookOutLeft": unit(left.yaw / FULL_GAZE),
        "eyeLookInLeft": unit(-left.yaw / FULL_GAZE),
        "eyeLookInRight": unit(right.yaw / FULL_GAZE),
        "eyeLookOutRight": unit(-right.yaw / FULL_GAZE),
        "eyeLookDownLeft": unit(left.pitch / FULL_GAZE),
        "eyeLookUpLeft": unit(-left.pitch / FULL_GAZE),
        "eyeLookDownRight": unit(right.pitch / FULL_GAZE),
        "eyeLookUpRight": unit(-right.pitch / FULL_GAZE),
    } | dict(zip(ROTATIONS, (*angles(head), *left, *right), strict=True))
