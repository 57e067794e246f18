"""Rotations: from axis-angle, as keyframes have them, to yaw, pitch and roll.

Axes are FLAME's, which are those of ARKit's faces too: x to the person's left, y
up, z out of the face. Yaw turns about y (positive to the person's left), pitch
about x (positive down), roll about z (positive: the top to the person's right).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Quaternion(NamedTuple):
    """A rotation."""

    w: float
    x: float
    y: float
    z: float


class Angles(NamedTuple):
    """A rotation in radians: first the yaw, then the pitch, then the roll, each of the turned."""

    yaw: float
    pitch: float
    roll: float


def quaternion(axis_angle: Sequence[float]) -> Quaternion:
    """Return an axis-angle's quaternion; values that it lacks, or that are none, count as 0."""
    x, y, z = (*axis_angle[:3], 0.0, 0.0, 0.0)[:3]
    angle = math.hypot(x, y, z)
    if not 0.0 < angle < math.inf:
        return Quaternion(1.0, 0.0, 0.0, 0.0)
    share = math.sin(angle / 2) / angle
    return Quaternion(math.cos(angle / 2), x * share, y * share, z * share)


def product(outer: Quaternion, inner: Quaternion) -> Quaternion:
    """Return the rotation that is the inner one, turned by the outer one (Hamilton's product)."""
    a, b, c, d = outer
    w, x, y, z = inner
    return Quaternion(
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def angles(rotation: Quaternion) -> Angles:
    """Return the angles of a rotation, from the entries of its matrix Ry Rx Rz."""
    w, x, y, z = rotation
    return Angles(
        yaw=math.atan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)),
        pitch=math.asin(min(1.0, max(-1.0, 2 * (w * x - y * z)))),
        roll=math.atan2(2 * (x * y + w * z), 1 - 2 * (x * x + z * z)),
    )
